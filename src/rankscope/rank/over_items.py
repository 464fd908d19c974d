"""Intervals for single trainings: what other items would give. What another seed would give stays open."""

import numpy as np
from jaxtyping import Float

from rankscope.rank.functional import LEVEL, TruncationCurve, has_gain, smallest_kept
from rankscope.stats.interval import Interval
from rankscope.stats.over_items import ONE_TRAINING, of_one_training, two_or_more

DRAWS = 2000
_HELD_AT_ONCE = 2**22
"""Counts of drawn items in memory at a time."""


def functional_rank_over_items(
    curve: TruncationCurve,
    reference_N: Float[np.ndarray, " N"],
    q: float = 0.9,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[Interval | None, ...]:
    """Each training's functional rank with its percentile interval over items; None for one without a gain.

    A replicate draws items with replacement, the same ones for every budget and for the reference, and reads the
    smallest budget from which every larger one keeps q off their mean gains; a replicate without a gain counts as 0.
    Both ends are budgets that were tried. Nothing here speaks of other trainings.
    """
    gain_SKN = curve.scores_SKN - reference_N
    n_items = two_or_more(reference_N)
    drawn_SD = drawn_functional_ranks(curve, reference_N, q, draws, seed)
    tail = (1 - level) / 2
    low_S, high_S = np.quantile(drawn_SD, (tail, 1 - tail), axis=1, method="inverted_cdf")
    found_S = smallest_kept(curve.ks, gain_SKN.mean(2), q)
    method = f"percentile bootstrap, {ONE_TRAINING}"
    return tuple(
        of_one_training(float(found), low, high, level, method, n_items) if gains else None
        for found, low, high, gains in zip(found_S, low_S, high_S, has_gain(gain_SKN[:, -1]), strict=True)
    )


def drawn_functional_ranks(
    curve: TruncationCurve, reference_N: Float[np.ndarray, " N"], q: float = 0.9, draws: int = DRAWS, seed: int = 0
) -> Float[np.ndarray, "S D"]:
    """Functional ranks on resampled items, 0 without a gain; the same items in every seed, and in every curve on them.

    Gains are summed by whole counts, so those of 0 and 1 are exact.
    """
    gain_SKN = curve.scores_SKN - reference_N
    random, n_items = np.random.default_rng(seed), gain_SKN.shape[2]
    parts = []
    for start in range(0, draws, step := max(1, _HELD_AT_ONCE // n_items)):
        counts_MN = random.multinomial(n_items, np.full(n_items, 1 / n_items), size=min(step, draws - start))
        sums_SMK = np.einsum("skn,mn->smk", gain_SKN, counts_MN.astype(float), optimize=True)
        parts.append(np.stack([smallest_kept(curve.ks, sums_MK, q) for sums_MK in sums_SMK]))
    return np.concatenate(parts, axis=1)
