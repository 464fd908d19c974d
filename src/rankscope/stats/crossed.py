"""Intervals when seeds and items are crossed: every seed is scored on the same test items."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped
from scipy import special

from rankscope.base.errors import BadInput
from rankscope.stats.interval import Interval
from rankscope.stats.proportion import clopper_pearson

BOOTSTRAP_FROM_SEEDS = 10
"""From this many seeds on the crossed bootstrap replaces the t interval."""

Side = Literal["two", "lower", "upper"]
Scores = Shaped[np.ndarray, "..."]
"""Scores as they come, bool or number: [seeds, items], or [items] for one seed. See check_scores."""


@dataclass(frozen=True)
class Moments:
    """Means of K quantities over seeds and items, and the covariance of those means."""

    mean_K: Float[np.ndarray, " K"]
    seed_KK: Float[np.ndarray, "K K"]
    """Part that shrinks with more seeds: (seed variance + residual / items) / seeds."""
    item_KK: Float[np.ndarray, "K K"]
    """Part that only more items shrink: item variance / items."""
    n_seeds: int
    n_items: int

    def margin_KK(self, tail: float) -> Float[np.ndarray, "K K"]:
        """Squares and products of the distance from a mean to its end at probability `tail`.

        The seed part is multiplied by t**2 with S - 1 degrees of freedom, the item part with N - 1: a
        little wide in between, where Satterthwaite's approximation is a little narrow.
        Source: Cochran 1964, for a sum of two independent variance estimates.
        """
        t_seed, t_item = special.stdtrit([self.n_seeds - 1, max(self.n_items - 1, 1)], tail)
        return np.asarray(t_seed**2 * self.seed_KK + t_item**2 * self.item_KK)


def check_scores(scores_SN: Scores, name: str = "scores") -> Float[np.ndarray, "S N"]:
    """The array as float64 [seeds, items]; a vector of items counts as one seed. BadInput when empty or not finite."""
    scores_SN = np.atleast_2d(np.asarray(scores_SN, dtype=np.float64))
    if scores_SN.ndim != 2 or scores_SN.size == 0:
        raise BadInput(f"{name} must be [seeds, items] with at least one of each, not shape {scores_SN.shape}.")
    if not np.isfinite(scores_SN).all():
        raise BadInput(
            f"{name} holds {int((~np.isfinite(scores_SN)).sum())} values that are not finite. "
            "Leave out seeds that diverged; a missing score is not a number to average."
        )
    return scores_SN


def crossed_moments(values_KSN: Float[np.ndarray, "K S N"]) -> Moments:
    """Means and their covariance under two-way random effects (seeds x items, one value per cell).

    Var(mean) = seed / S + item / N + residual / (S N), by the mean squares of the two-way layout; the item
    part is cut to its positive part, the seed part is the plain variance of seed means. Needs two seeds.
    Source: Searle, Casella and McCulloch 1992, chapter 4.
    """
    K, S, N = values_KSN.shape
    if S < 2:
        raise BadInput(f"A variance over seeds needs at least 2 seeds, not {S}. Train more seeds.")
    mean_K = values_KSN.mean((1, 2))
    seed_KS = values_KSN.mean(2) - mean_K[:, None]
    item_KN = values_KSN.mean(1) - mean_K[:, None]
    rest_KM = (values_KSN - mean_K[:, None, None] - seed_KS[:, :, None] - item_KN[:, None, :]).reshape(K, S * N)
    seeds_KK = N * seed_KS @ seed_KS.T / (S - 1)
    items_KK = S * item_KN @ item_KN.T / max(N - 1, 1)
    residual_KK = rest_KM @ rest_KM.T / (max(N - 1, 1) * (S - 1))
    values_K, vectors_KK = np.linalg.eigh(items_KK - residual_KK)
    positive_KK = (vectors_KK * np.clip(values_K, 0.0, None)) @ vectors_KK.T
    return Moments(mean_K, seeds_KK / (S * N), positive_KK / (S * N), S, N)


def item_variance(drawn_SD: Float[np.ndarray, "S D"]) -> float:
    """Variance of a mean over seeds that only more items shrink, of any statistic, from draws that seeds share.

    A statistic per seed on resampled items varies by item and residual, its mean over seeds by item and a seed's share
    of the residual; the difference leaves the item part, cut to its positive part as in `crossed_moments`.
    """
    n_seeds = len(drawn_SD)
    if n_seeds < 2:
        raise BadInput(f"Telling items from seeds needs at least 2 seeds, not {n_seeds}. Train more seeds.")
    of_mean, of_one = float(drawn_SD.mean(0).var()), float(drawn_SD.var(1).mean())
    return max(0.0, (n_seeds * of_mean - of_one) / (n_seeds - 1))


def _ends(end: Callable[[float], float], level: float, side: Side) -> tuple[float | None, float | None]:
    """Lower and upper end from the function that gives the end at a probability."""
    tail = (1 - level) / 2 if side == "two" else 1 - level
    return (end(tail) if side != "upper" else None), (end(1 - tail) if side != "lower" else None)


def _t_end(moments: Moments, p: float) -> float:
    """End of the crossed t interval at probability p, for the first quantity."""
    return float(moments.mean_K[0] + np.sign(p - 0.5) * np.sqrt(moments.margin_KK(p)[0, 0]))


def _drawn_weights(random: np.random.Generator, n: int, draws: int) -> Float[np.ndarray, "D M"]:
    """How often each of n units is drawn in n draws with replacement, as a share; one row per replicate."""
    cells = random.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
    return np.bincount(cells.ravel(), minlength=n * draws).reshape(draws, n) / n


def _bootstrap_means(c_SN: Float[np.ndarray, "S N"], draws: int, seed: int) -> Float[np.ndarray, " D"]:
    """Means of c over resampled seeds and resampled items, one item draw for all seeds."""
    S, N = c_SN.shape
    random = np.random.default_rng(seed)
    seeds_DS, items_DN = _drawn_weights(random, S, draws), _drawn_weights(random, N, draws)
    return np.asarray(np.einsum("dn,dn->d", seeds_DS @ c_SN, items_DN))


def _bootstrap_end(moments: Moments, drawn_D: Float[np.ndarray, " D"], p: float) -> float:
    """End at probability p: the shape of the bootstrap, the size of the crossed t.

    Resampling both seeds and items counts the residual variance three times (Owen 2007), so the draws are
    standardised, and their quantile takes the place of the normal one.
    """
    spread = float(drawn_D.std())
    mean = float(moments.mean_K[0])
    if spread == 0:
        return mean
    quantile = float(np.quantile((drawn_D - drawn_D.mean()) / spread, p)) / float(special.ndtri(p))
    return mean + quantile * (_t_end(moments, p) - mean)


def _constant_ends(
    value: float, N: int, level: float, side: Side, share: bool
) -> tuple[tuple[float | None, float | None], str]:
    """Ends, and how they were made, when every cell holds the same value; a share counts all seeds as one."""
    low, high, how = value, value, "constant"
    if share and value in (0.0, 1.0):
        low, high = clopper_pearson(int(value) * N, N, level if side == "two" else 2 * level - 1)
        how = "exact binomial over items, no variation seen"
    return ((None if side == "upper" else low), (None if side == "lower" else high)), how


def crossed_interval(
    c_SN: Scores, level: float = 0.95, side: Side = "two", draws: int = 2000, seed: int = 0, share: bool = False
) -> Interval:
    """Interval for the mean of a per-cell quantity over the populations of seeds and of items.

    Shapes: c_SN holds one value per (seed, item): a score, a gain, or any contrast of arms paired by seed.
    `level` is the confidence of the two-sided interval, or of the single bound when `side` is lower or upper.
    `share` says that the cells are scores between 0 and 1, shares of items right; a gain or contrast is not.
    Below 10 seeds: t interval on seed-level values with the item variance added (two-way random effects).
    From 10 seeds: crossed bootstrap of the shape, with the size of that t interval.
    One seed: both ends None. All cells equal: both ends are that value, `constant`; but a share of 0 or 1 in
    every cell has the exact binomial interval over items.
    Raises: BadInput for empty or non-finite input, and for a share outside 0 to 1.
    """
    c_SN = check_scores(c_SN)
    if share and (c_SN.min() < 0 or c_SN.max() > 1):
        raise BadInput(
            f"Shares lie between 0 and 1, not {c_SN.min():g} to {c_SN.max():g}. Leave `share` out for gains, "
            "contrasts and nats."
        )
    S, N = c_SN.shape
    constant = bool(np.ptp(c_SN) == 0)
    mean = float(c_SN[0, 0] if constant else c_SN.mean())
    ends: tuple[float | None, float | None] = (None, None)
    if S == 1:
        how = "one seed: no interval over seeds"
    elif constant:
        ends, how = _constant_ends(mean, N, level, side, share)
    elif S < BOOTSTRAP_FROM_SEEDS:
        moments = crossed_moments(c_SN[None])
        ends, how = _ends(lambda p: _t_end(moments, p), level, side), "crossed t"
    else:
        moments, drawn_D = crossed_moments(c_SN[None]), _bootstrap_means(c_SN, draws, seed)
        ends, how = _ends(lambda p: _bootstrap_end(moments, drawn_D, p), level, side), "crossed bootstrap"
    one_sided = "" if side == "two" else f", one-sided {side}"
    return Interval(
        estimate=mean,
        low=ends[0],
        high=ends[1],
        level=level,
        method=f"{how}, {S} {'seed' if S == 1 else 'seeds'} x {N} items{one_sided}",
        n_seeds=S,
        n_items=N,
        by_seed=tuple(c_SN.mean(1).tolist()),
    )
