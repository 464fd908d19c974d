"""The run-time type checker of the tests: beartype, put on every function of rankscope by jaxtyping's import hook."""

from typing import Any, Self

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception

_CONF = BeartypeConf(is_pep484_tower=True)


def checked(function: Any, *args: Any, **kwargs: Any) -> Any:
    """`function` with its arguments and result checked; an int passes for a float, as for the static checker.

    The hook decorates methods one by one, where beartype can not tell what `Self` is, nor can it check a protocol that
    is not `runtime_checkable`: such a hint counts as Any, and a function that has one inside another is left unchecked.
    """
    hints = getattr(function, "__annotations__", {})
    for name in [name for name, hint in hints.items() if _is_uncheckable(hint)]:
        hints[name] = Any
    try:
        return beartype(function, *args, conf=_CONF, **kwargs)
    except (BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception):
        return function


def _is_uncheckable(hint: Any) -> bool:
    return hint is Self or (getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False))
