"""Roles: what a token is in an item, known by construction."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt32

SURFACES = ("none", "mark", "key", "value", "query", "number", "step", "separator", "answer", "stop")
"""Exactly one per token. `mark`: Map:, Start:, Hops:, Task:, Target:, answer. `query`: the start asked about."""

TAGS = ("on_path", "distractor", "branch", "leaf", *(f"hop_{k}" for k in range(1, 9)))
"""Any number per token. `hop_k`: the node k edges from the asked start along the asked path."""


@dataclass(frozen=True)
class RoleTable:
    """Surface and tags of each token of N items."""

    surface_NT: UInt8[np.ndarray, "N T"]
    """Index into SURFACES."""
    tags_NT: UInt32[np.ndarray, "N T"]
    """Bit g set when the token has tag TAGS[g]."""
    known_from_NG: Int[np.ndarray, "N G"]
    """First token whose prefix determines tag g in this item; a tag is scored only from there."""

    def has(self, tag: str) -> Bool[np.ndarray, "N T"]:
        """Where a tag is set."""
        return (self.tags_NT >> np.uint32(TAGS.index(tag))) & np.uint32(1) == 1

    def scored(self, tag: str) -> Bool[np.ndarray, "N T"]:
        """Where a tag may be scored: from known_from on."""
        return np.arange(self.tags_NT.shape[1]) >= self.known_from_NG[:, TAGS.index(tag), None]

    def names(self, item: int, token: int) -> tuple[str, list[str]]:
        """Surface and tag names of one token."""
        bits = int(self.tags_NT[item, token])
        return SURFACES[self.surface_NT[item, token]], [tag for g, tag in enumerate(TAGS) if bits >> g & 1]
