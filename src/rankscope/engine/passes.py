"""How a step's batch goes through: in one pass, in passes that fit into memory, in passes of like length."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

PASS_TOKENS = 128
"""What one more pass costs, in tokens: a split that saves no more padding than this is left."""


@dataclass(frozen=True)
class Passes:
    """How to cut a batch."""

    most_items: int | None = None
    """Items that a pass may take; None for as many as there are."""
    by_length: bool = False
    """Whether items of like length go together, cut further where shorter ones would be read with much padding."""

    def of(self, length_N: Int[np.ndarray, " N"]) -> list["Part"]:
        """The passes, all items once: with `by_length` those of the least cost, else equal ones, not trimmed."""
        n_items = len(length_N)
        most = min(self.most_items or n_items, n_items)
        if not self.by_length:
            width = int(length_N.max())
            return [Part(np.arange(first, min(first + most, n_items)), width) for first in range(0, n_items, most)]
        order_N = np.argsort(-length_N, kind="stable")
        return [
            Part(np.sort(order_N[some]), int(length_N[order_N[some.start]]))
            for some in _cheapest(length_N[order_N], most)
        ]


@dataclass(frozen=True)
class Part:
    """One pass."""

    items_M: Int[np.ndarray, " M"]
    """Places in the batch, ascending."""
    n_tokens: int
    """As many are read of each."""


WHOLE = Passes()


def _cheapest(length_N: Int[np.ndarray, " N"], most: int) -> list[slice]:
    """Lengths descend. By dynamic programming over where the last pass begins; a pass costs items times tokens."""
    n_items = len(length_N)
    cost_N = np.zeros(n_items + 1)
    begin_N = np.zeros(n_items + 1, dtype=int)
    for end in range(1, n_items + 1):
        first_M = np.arange(max(0, end - most), end)
        cost_M = cost_N[first_M] + (end - first_M) * length_N[first_M] + PASS_TOKENS
        best = int(cost_M.argmin())
        begin_N[end], cost_N[end] = first_M[best], cost_M[best]
    found, end = [], n_items
    while end > 0:
        found.append(slice(int(begin_N[end]), end))
        end = int(begin_N[end])
    return found[::-1]
