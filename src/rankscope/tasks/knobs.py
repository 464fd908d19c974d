"""Knobs of a task from the text of its name."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import ValidationError

from rankscope.base.config import Config
from rankscope.base.errors import BadInput, UnknownName, near_matches

Knobs = TypeVar("Knobs", bound=Config)


def parse_knobs(
    kind: type[Knobs], name: str, values: Mapping[str, str | None], more_names: Iterable[str] = ()
) -> Knobs:
    """Knobs of the task of that name. Raises UnknownName for a knob, BadInput for a value or a mix of them.

    `more_names` are names besides the fields that an error may propose.
    """
    for key in values:
        if key not in kind.model_fields:
            raise UnknownName(f"{name} has no knob {key!r}. {near_matches(key, [*kind.model_fields, *more_names])}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"Knob {first['loc'][0]} of {name}" if first["loc"] else name
        reason = first["msg"].removeprefix("Value error, ").removesuffix(".")
        raise BadInput(f"{where} can not be so: {reason}.") from None
