"""What a planted skill's teacher is: the base plus an update of known rank."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from rankscope.base.config import Config
from rankscope.base.errors import BadInput, UnknownName, near_matches


class PlantedSpec(Config):
    """What is planted, where, and how strongly."""

    k: PositiveInt = 2
    """Rank of the update at every site."""
    placement: tuple[str, ...] | None = None
    """Globs over module paths; by default the base's last linear map (the last layer's down-projection)."""
    nats: PositiveFloat = 0.1
    """Least KL(teacher || base) per scored token, from which the strength is derived; exceeded by up to a half."""
    strength: PositiveFloat | None = None
    """Root mean square of the update's output, relative to that of the map's own output (bias left out); by default
    the smallest power of 2^(1/4) that reaches `nats`."""
    decay: Literal["equal"] | Annotated[float, Field(gt=0, lt=1)] = "equal"
    """`equal` strength for all directions, or the ratio of each direction's strength to the one before."""
    samples: PositiveInt | None = None
    """Noise in training: imitate the shares of this many tokens drawn from the teacher at each position, instead of
    its whole distribution. Scores are against the whole one always."""
    seed: NonNegativeInt = 0
    """Which directions are drawn."""

    @classmethod
    def parse(cls, knobs: Mapping[str, str]) -> "PlantedSpec":
        """The spec from a task name's knobs, all text; globs of the placement are joined by `+`."""
        for name in knobs:
            if name not in cls.model_fields:
                raise UnknownName(f"A planted skill has no knob {name!r}. {near_matches(name, cls.model_fields)}")
        values: dict[str, Any] = dict(knobs)
        if "placement" in values:
            values["placement"] = tuple(values["placement"].split("+"))
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            raise BadInput(f"Knob {name} of a planted skill can not be {values[name]!r}: {first['msg']}.") from None
