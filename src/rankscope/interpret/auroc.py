"""AUROC within positions: only tokens at the same place in their items are compared with each other.

With n+ and n- tokens with and without a role at position p, L = 1 for those with it and 0 for the others, and R the
midrank of a value among all n tokens there,

    U - W / 2 = sum over tokens of L (R - (n + 1) / 2),        W = sum over p of n+ n-,        AUROC = U / W.

What depends on position alone is tied within every position and has an AUROC of 1/2; a role that is fixed by position
has W = 0 and none. At one position every item has one token, so the tokens that are compared come from different items.
Source: van Elteren 1960, with strata weighted by their pairs.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy import stats


@dataclass(frozen=True)
class Ranked:
    """Values of M tokens, item by item, as ranks within their strata."""

    order_M: Int[np.ndarray, " M"]
    """Rows by stratum."""
    starts_P: Int[np.ndarray, " P"]
    """Where each stratum starts in that order."""
    items_N: Int[np.ndarray, " N"]
    """First row of each item."""
    centred_MF: Float32[np.ndarray, "M F"]
    """R - (n + 1) / 2."""

    @classmethod
    def of(
        cls, values_MF: Float[np.ndarray, "M F"], stratum_M: Int[np.ndarray, " M"], item_M: Int[np.ndarray, " M"]
    ) -> "Ranked":
        """Ranks of every column within strata; the tokens of an item stand together."""
        order_M = np.argsort(stratum_M, kind="stable")
        starts_P = _starts(stratum_M[order_M])
        centred_MF = np.empty(values_MF.shape, dtype=np.float32)
        for first, last in zip(starts_P, np.append(starts_P[1:], len(order_M)), strict=True):
            rows = order_M[first:last]
            centred_MF[rows] = stats.rankdata(values_MF[rows], axis=0) - (last - first + 1) / 2
        return cls(order_M, starts_P, _starts(item_M), centred_MF)

    @property
    def n_P(self) -> Int[np.ndarray, " P"]:
        """Tokens per stratum."""
        return np.diff(self.starts_P, append=len(self.order_M))

    def n_with_GP(self, label_GM: Bool[np.ndarray, "G M"]) -> Int[np.ndarray, "G P"]:
        """Tokens with each label per stratum."""
        return np.add.reduceat(label_GM[:, self.order_M], self.starts_P, axis=1, dtype=np.int64)

    def auroc_GF(self, label_GM: Bool[np.ndarray, "G M"]) -> Float[np.ndarray, "G F"]:
        """Chance that a token with the label has a larger value than one without at its position; NaN without pairs."""
        n_with_GP = self.n_with_GP(label_GM)
        pairs_G = (n_with_GP * (self.n_P - n_with_GP)).sum(1).astype(np.float64)
        excess_GF = label_GM.astype(np.float64) @ self.centred_MF
        return 0.5 + excess_GF / np.where(pairs_G > 0, pairs_G, np.nan)[:, None]


def _starts(name_M: np.ndarray) -> Int[np.ndarray, " N"]:
    return np.flatnonzero(np.diff(name_M, prepend=name_M[:1] - 1))


def influence_N(
    value_M: Float[np.ndarray, " M"],
    label_M: Bool[np.ndarray, " M"],
    stratum_M: Int[np.ndarray, " M"],
    row_of_item_M: Int[np.ndarray, " M"],
    n_items: int,
) -> tuple[float, Float[np.ndarray, " N"]]:
    """AUROC within strata, and its derivative by every item's weight.

    With weights w, AUROC(w) is about AUROC + sum over items of (w_i - 1) x derivative_i, for weights that sum to the
    number of items. The derivatives sum to 0.
    """
    dU_M, dW_M = np.zeros(len(value_M)), np.zeros(len(value_M))
    order_M = np.argsort(stratum_M, kind="stable")
    borders = np.flatnonzero(np.diff(stratum_M[order_M])) + 1
    for rows in np.split(order_M, borders):
        with_, without = rows[label_M[rows]], rows[~label_M[rows]]
        dU_M[with_], dW_M[with_] = _placements(value_M[with_], value_M[without]), len(without)
        dU_M[without] = len(with_) - _placements(value_M[without], value_M[with_])
        dW_M[without] = len(with_)
    W = float(dW_M[label_M].sum())
    auroc = float(dU_M[label_M].sum()) / W
    return auroc, np.bincount(row_of_item_M, (dU_M - auroc * dW_M) / W, minlength=n_items)


def _placements(of_K: np.ndarray, among_J: np.ndarray) -> Float[np.ndarray, " K"]:
    """How many values of `among` lie below each of `of`, ties by half."""
    sorted_J = np.sort(among_J)
    below_K = np.searchsorted(sorted_J, of_K, "left") + np.searchsorted(sorted_J, of_K, "right")
    return np.asarray(below_K / 2)
