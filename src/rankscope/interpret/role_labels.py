"""Roles as labels of tokens: which tokens have one, and which may be scored for it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from rankscope.capture.tokens import Tokens

SURFACE, TAG = "surface", "tag"


@dataclass(frozen=True)
class RoleLabels:
    """G roles of M tokens."""

    names: tuple[str, ...]
    """`surface:key`, `tag:on_path`, ..."""
    label_GM: Bool[np.ndarray, "G M"]
    scored_GM: Bool[np.ndarray, "G M"]
    """Where the prefix determines whether a token has the role; a suffix of every item."""


def role_labels(tokens: Tokens, surfaces: tuple[str, ...], tags: tuple[str, ...]) -> RoleLabels:
    """Every surface but the first, which stands for none, scored everywhere; every tag, scored where it is known."""
    everywhere_M = np.ones(len(tokens), dtype=bool)
    found = [
        (f"{SURFACE}:{name}", tokens.surface == number, everywhere_M) for number, name in enumerate(surfaces) if number
    ]
    for g, name in enumerate(tags):
        known_M = _bit(tokens.known, g)
        found.append((f"{TAG}:{name}", _bit(tokens.tags, g) & known_M, known_M))
    return RoleLabels(
        names=tuple(name for name, _, _ in found),
        label_GM=np.array([label for _, label, _ in found], dtype=bool).reshape(len(found), len(tokens)),
        scored_GM=np.array([scored for _, _, scored in found], dtype=bool).reshape(len(found), len(tokens)),
    )


def _bit(bits_M: np.ndarray, g: int) -> Bool[np.ndarray, " M"]:
    return np.asarray((bits_M >> np.uint32(g)) & np.uint32(1) == 1)
