"""Roles shifted around a circle within their items: the null of role scores, in standard deviations over items.

In the terms of `auroc.py`, U - W / 2 = sum over tokens of (L - n+ / n) (R - (n + 1) / 2), since centred ranks sum to 0
at every position. With s_i what the tokens of item i add to it,

    z = sum of s_i / root of sum of s_i^2,

so that tokens of one item may depend on each other in any way, and roles that are nearly fixed by position are judged
by the pairs that they leave.
Source: Liang and Zeger 1986 for the variance.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from rankscope.interpret.auroc import Ranked

_VALUES_AT_ONCE = 2**18
"""Of shifts x roles x directions: what stays in a processor's cache."""


def z_GF(ranked: Ranked, label_GM: Bool[np.ndarray, "G M"]) -> Float32[np.ndarray, "G F"]:
    """The labels as they are, in z; 0 where it can not vary."""
    return _z_SGF(ranked, label_GM, np.zeros((1, len(ranked.items_N)), dtype=np.int64))[0]


def shift_p(
    ranked: Ranked,
    label_GM: Bool[np.ndarray, "G M"],
    seen_GF: Float[np.ndarray, "G F"],
    random: np.random.Generator,
    n_shifts: int,
) -> Float[np.ndarray, "G F"]:
    """(1 + shifted sequences whose |z| is at least as large as that seen) / (1 + shifts)."""
    length_N = np.diff(ranked.items_N, append=label_GM.shape[1])
    at_least_GF = np.ones(seen_GF.shape)
    n_at_once = max(1, _VALUES_AT_ONCE // seen_GF.size)
    for first in range(0, n_shifts, n_at_once):
        n_now = min(n_at_once, n_shifts - first)
        offset_SN = random.integers(0, length_N, (n_now, len(length_N)))
        at_least_GF += (np.abs(_z_SGF(ranked, label_GM, offset_SN)) >= np.abs(seen_GF) - 1e-5).sum(0)
    return at_least_GF / (1 + n_shifts)


def _z_SGF(
    ranked: Ranked, label_GM: Bool[np.ndarray, "G M"], offset_SN: Int[np.ndarray, "S N"]
) -> Float32[np.ndarray, "S G F"]:
    """Shifted labels, in z: token t of item i takes the label of the token offset_SN[:, i] further on."""
    n_shifts, n_roles, n_directions = len(offset_SN), len(label_GM), ranked.centred_MF.shape[1]
    stratum_M = np.empty(len(ranked.order_M), dtype=np.int64)
    stratum_M[ranked.order_M] = np.repeat(np.arange(len(ranked.n_P)), ranked.n_P)
    spans = list(zip(ranked.items_N, np.append(ranked.items_N[1:], len(stratum_M)), strict=True))
    turned = [
        _turned(label_GM[:, low:high], offset_S) for (low, high), offset_S in zip(spans, offset_SN.T, strict=True)
    ]
    n_with_PSG = np.zeros((len(ranked.n_P), n_shifts, n_roles), dtype=np.float32)
    for (low, high), label_TSG in zip(spans, turned, strict=True):
        n_with_PSG[stratum_M[low:high]] += label_TSG
    share_PSG = n_with_PSG / ranked.n_P[:, None, None].astype(np.float32)
    excess_KF = np.zeros((n_shifts * n_roles, n_directions), dtype=np.float32)
    squares_KF = np.zeros_like(excess_KF)
    for (low, high), label_TSG in zip(spans, turned, strict=True):
        left_TK = (label_TSG - share_PSG[stratum_M[low:high]]).reshape(high - low, -1)
        added_KF = left_TK.T @ ranked.centred_MF[low:high]
        excess_KF += added_KF
        squares_KF += np.square(added_KF, out=added_KF)
    z_KF = excess_KF / np.sqrt(np.where(squares_KF > 0, squares_KF, np.inf), dtype=np.float32)
    return z_KF.reshape(n_shifts, n_roles, n_directions)


def _turned(label_GT: Bool[np.ndarray, "G T"], offset_S: Int[np.ndarray, " S"]) -> Bool[np.ndarray, "T S G"]:
    """One item's labels, shifted around by each offset."""
    n_tokens = label_GT.shape[1]
    return label_GT.T[(np.arange(n_tokens)[:, None] + offset_S) % n_tokens]
