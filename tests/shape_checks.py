"""The run-time type checker of the tests: beartype, called by jaxtyping's import hook for every function of rankscope."""

from typing import Any, Self

from beartype import BeartypeConf, beartype

_CONF = BeartypeConf(is_pep484_tower=True)


def checked(function: Any, *args: Any, **kwargs: Any) -> Any:
    """`function` with its arguments and result checked.

    The hook decorates methods one by one, where beartype can not tell what `Self` is; those are left unchecked. An
    int passes for a float, as it does for the static checker.
    """
    if Self in getattr(function, "__annotations__", {}).values():
        return function
    return beartype(function, *args, conf=_CONF, **kwargs)
