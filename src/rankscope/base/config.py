"""The one base class of everything a user configures."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen record of what was asked: unknown keys are refused, nothing changes after construction.

    Sub-classes put one doc string under each field. Values derived from a config (total steps,
    resolved sites) belong to the manifest, never back into the config.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def override(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again (pydantic's own `model_copy` would not)."""
        return type(self).model_validate(self.model_dump() | changes)
