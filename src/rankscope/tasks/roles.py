"""Roles: what a token is in an item, known by construction."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt32

from rankscope.base.errors import BadInput

SURFACES = ("none", "mark", "key", "value", "query", "number", "step", "separator", "answer", "stop")
"""Of map tasks, exactly one per token. `mark`: Map:, Start:, Hops:, Task:, Target:, answer. `query`: the start asked
about."""

TAGS = ("on_path", "distractor", "branch", "leaf", *(f"hop_{k}" for k in range(1, 9)))
"""Of map tasks, any number per token. `hop_k`: the node k edges from the asked start along the asked path."""

FORM_TAGS = ("after_wait", "correction", "repeat", "step_first")
"""Tags of shipped tasks that follow from the kind of token or its place in the text. All others, and those that a file
brings, count as reasoning: they follow from the problem that the item poses."""

MAX_TAGS, MAX_SURFACES = 32, 256
"""Tags are bits of a uint32, surfaces are numbers in a uint8."""

NEVER = 2**31
"""As a place from which a tag is known: past the end of every text."""


@dataclass(frozen=True)
class RoleTable:
    """Surface and tags of each token of N items. Raises BadInput for more tags or surfaces than it can hold."""

    surface_NT: UInt8[np.ndarray, "N T"]
    """Index into `surfaces`."""
    tags_NT: UInt32[np.ndarray, "N T"]
    """Bit g set when the token has tag `tags[g]`."""
    known_from_NG: Int[np.ndarray, "N G"]
    """First token whose prefix determines tag g in this item; a tag is scored only from there."""
    surfaces: tuple[str, ...] = SURFACES
    """Names of the surfaces; the first is that of tokens without one, such as padding."""
    tags: tuple[str, ...] = TAGS
    """Names of the tags."""

    def __post_init__(self) -> None:
        for kind, names, most in (("tags", self.tags, MAX_TAGS), ("surfaces", self.surfaces, MAX_SURFACES)):
            if len(names) > most:
                raise BadInput(f"A role table holds at most {most} {kind}, not {len(names)}. Leave some out.")

    def has(self, tag: str) -> Bool[np.ndarray, "N T"]:
        """Where a tag is set."""
        return (self.tags_NT >> np.uint32(self.tags.index(tag))) & np.uint32(1) == 1

    def scored(self, tag: str) -> Bool[np.ndarray, "N T"]:
        """Where a tag may be scored: from known_from on."""
        return np.arange(self.tags_NT.shape[1]) >= self.known_from_NG[:, self.tags.index(tag), None]

    def names(self, item: int, token: int) -> tuple[str, list[str]]:
        """Surface and tag names of one token."""
        bits = int(self.tags_NT[item, token])
        return self.surfaces[self.surface_NT[item, token]], [tag for g, tag in enumerate(self.tags) if bits >> g & 1]

    def take(self, rows: Any) -> "RoleTable":
        """The given rows, in that order."""
        return replace(
            self,
            surface_NT=self.surface_NT[rows],
            tags_NT=self.tags_NT[rows],
            known_from_NG=self.known_from_NG[rows],
        )


def concatenate_roles(parts: list[RoleTable]) -> RoleTable:
    """Tables of the same surfaces and tags one after another, padded to the longest."""
    assert len({(part.surfaces, part.tags) for part in parts}) == 1, "tables of different roles"
    width = max(part.surface_NT.shape[1] for part in parts)

    def joined(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.pad(array, ((0, 0), (0, width - array.shape[1]))) for array in arrays])

    return replace(
        parts[0],
        surface_NT=joined([part.surface_NT for part in parts]),
        tags_NT=joined([part.tags_NT for part in parts]),
        known_from_NG=np.concatenate([part.known_from_NG for part in parts]),
    )
