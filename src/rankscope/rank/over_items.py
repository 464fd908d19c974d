"""Intervals for single trainings: what other items would give. What another seed would give stays open."""

import numpy as np
from jaxtyping import Float

from rankscope.base.errors import BadInput
from rankscope.rank.functional import LEVEL, TruncationCurve, has_gain, smallest_kept
from rankscope.stats.interval import Interval
from rankscope.stats.over_items import t_ends
from rankscope.stats.proportion import clopper_pearson

ONE_TRAINING = "over items only, one training"
DRAWS = 2000
_HELD_AT_ONCE = 2**22
"""Counts of drawn items in memory at a time."""


def mean_over_items(values_N: Float[np.ndarray, " N"], level: float = LEVEL) -> Interval:
    """The mean of one training's values with its t interval over items.

    Check: 0, 0, 1, 1 has mean 0.5 and standard error 1 / sqrt(12).
    Raises: BadInput for fewer than two items.
    """
    n_items = _n_items(values_N)
    return _interval(*t_ends(values_N, level), level, f"t, {ONE_TRAINING}", n_items)


def difference_over_items(
    scores_N: Float[np.ndarray, " N"], others_N: Float[np.ndarray, " N"], level: float = LEVEL, share: bool = False
) -> Interval:
    """The mean of scores - others, paired by item, with its interval over items.

    `share` says that scores are 0 or 1. Then, where no item differs, those that would may still be as many as the
    exact binomial bound allows, in either direction; and where all others are 0, the difference is a plain share.
    """
    ahead_N = scores_N - others_N
    n_items = _n_items(ahead_N)
    if share and not ahead_N.any():
        bound = clopper_pearson(0, n_items, level)[1]
        return _interval(0.0, -bound, bound, level, f"exact binomial, no item differs, {ONE_TRAINING}", n_items)
    if share and not others_N.any():
        low, high = clopper_pearson(int(ahead_N.sum()), n_items, level)
        return _interval(float(ahead_N.mean()), low, high, level, f"exact binomial, {ONE_TRAINING}", n_items)
    return mean_over_items(ahead_N, level)


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
    n_items = _n_items(reference_N)
    drawn_SD = _drawn_ranks(curve.ks, gain_SKN, q, draws, seed)
    tail = (1 - level) / 2
    low_S, high_S = np.quantile(drawn_SD, (tail, 1 - tail), axis=1, method="inverted_cdf")
    found_S = smallest_kept(curve.ks, gain_SKN.mean(2), q)
    method = f"percentile bootstrap, {ONE_TRAINING}"
    return tuple(
        _interval(float(found), low, high, level, method, n_items) if gains else None
        for found, low, high, gains in zip(found_S, low_S, high_S, has_gain(gain_SKN[:, -1]), strict=True)
    )


def _drawn_ranks(
    ks: tuple[float, ...], gain_SKN: Float[np.ndarray, "S K N"], q: float, draws: int, seed: int
) -> Float[np.ndarray, "S D"]:
    """Functional ranks on resampled items. Gains are summed by whole counts, so those of 0 and 1 are exact."""
    random, n_items = np.random.default_rng(seed), gain_SKN.shape[2]
    parts = []
    for start in range(0, draws, step := max(1, _HELD_AT_ONCE // n_items)):
        counts_MN = random.multinomial(n_items, np.full(n_items, 1 / n_items), size=min(step, draws - start))
        sums_SMK = np.einsum("skn,mn->smk", gain_SKN, counts_MN.astype(float), optimize=True)
        parts.append(np.stack([smallest_kept(ks, sums_MK, q) for sums_MK in sums_SMK]))
    return np.concatenate(parts, axis=1)


def _n_items(values_N: np.ndarray) -> int:
    if len(values_N) < 2:
        raise BadInput(f"An interval over items needs at least two of them, not {len(values_N)}. Score more items.")
    return len(values_N)


def _interval(estimate: float, low: float, high: float, level: float, method: str, n_items: int) -> Interval:
    return Interval(
        estimate=estimate,
        low=float(low),
        high=float(high),
        level=level,
        method=method,
        n_seeds=1,
        n_items=n_items,
        by_seed=(estimate,),
    )
