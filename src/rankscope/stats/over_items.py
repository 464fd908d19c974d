"""Intervals over items alone, for a given set of trainings: they say nothing about other seeds."""

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

from rankscope.base.errors import BadInput
from rankscope.stats.interval import Interval
from rankscope.stats.proportion import clopper_pearson, wilson

LEVEL = 0.95
ONE_TRAINING = "over items only, one training"


def share_over_items(right_SN: Shaped[np.ndarray, "S N"]) -> Interval:
    """Mean of scores that are 0 or 1 per seed and item: Wilson's interval for one seed, else t over items' means."""
    n_seeds, n_items = _shape(right_SN)
    by_seed = tuple(float(mean) for mean in right_SN.mean(1))
    if n_seeds == 1:
        low, high = wilson(int(right_SN.sum()), n_items, LEVEL)
        estimate, method = by_seed[0], f"Wilson over {n_items} items, one seed"
    else:
        estimate, low, high = t_ends(right_SN.mean(0))
        low, high, method = max(low, 0.0), min(high, 1.0), f"t over {n_items} items, seeds as they are"
    return Interval(
        estimate=estimate, low=low, high=high, method=method, n_seeds=n_seeds, n_items=n_items, by_seed=by_seed
    )


def paired_over_items(first_SN: Shaped[np.ndarray, "S N"], second_SN: Shaped[np.ndarray, "S2 M"]) -> Interval:
    """Mean of first less second on the same items, by the t interval of the items' differences."""
    n_seeds, n_items = _shape(first_SN)
    if first_SN.shape[1] != second_SN.shape[1]:
        raise BadInput(f"Paired scores need the same items, not {first_SN.shape[1]} and {second_SN.shape[1]}.")
    estimate, low, high = t_ends(first_SN.mean(0) - second_SN.mean(0))
    method = f"paired t over {n_items} items"
    return Interval(estimate=estimate, low=low, high=high, method=method, n_seeds=n_seeds, n_items=n_items)


def unpaired_over_items(first_SN: Shaped[np.ndarray, "S N"], second_SN: Shaped[np.ndarray, "S2 M"]) -> Interval:
    """Mean of first less second on different items: Welch's t interval."""
    n_seeds, n_items = _shape(first_SN)
    first_N, second_M = first_SN.astype(float).mean(0), second_SN.astype(float).mean(0)
    a, b = first_N.var(ddof=1) / len(first_N), second_M.var(ddof=1) / len(second_M)
    estimate = float(first_N.mean() - second_M.mean())
    half = 0.0
    if a + b > 0:
        freedom = (a + b) ** 2 / (a**2 / (len(first_N) - 1) + b**2 / (len(second_M) - 1))
        half = float(stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(a + b))
    method = f"Welch over {len(first_N)} and {len(second_M)} other items"
    return Interval(
        estimate=estimate, low=estimate - half, high=estimate + half, method=method, n_seeds=n_seeds, n_items=n_items
    )


def _shape(values_SN: np.ndarray) -> tuple[int, int]:
    if values_SN.ndim != 2 or values_SN.shape[0] < 1 or values_SN.shape[1] < 2:
        raise BadInput(f"Scores must be [seeds, items] with at least two items, not shape {values_SN.shape}.")
    return int(values_SN.shape[0]), int(values_SN.shape[1])


def t_ends(values_N: np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean and the ends of its t interval over items."""
    values_N = values_N.astype(float)
    mean = float(values_N.mean())
    half = float(stats.t.ppf((1 + level) / 2, len(values_N) - 1) * values_N.std(ddof=1) / np.sqrt(len(values_N)))
    return mean, mean - half, mean + half


def mean_over_items(values_N: Float[np.ndarray, " N"], level: float = LEVEL) -> Interval:
    """The mean of one training's values with its t interval over items.

    Check: 0, 0, 1, 1 has mean 0.5 and standard error 1 / sqrt(12).
    Raises: BadInput for fewer than two items.
    """
    n_items = two_or_more(values_N)
    return of_one_training(*t_ends(values_N, level), level, f"t, {ONE_TRAINING}", n_items)


def difference_over_items(
    scores_N: Float[np.ndarray, " N"], others_N: Float[np.ndarray, " N"], level: float = LEVEL, share: bool = False
) -> Interval:
    """The mean of scores - others, paired by item, with its interval over items.

    `share` says that scores are 0 or 1. Then, where no item differs, those that would may still be as many as the
    exact binomial bound allows, in either direction; and where all others are 0, the difference is a plain share.
    """
    ahead_N = scores_N - others_N
    n_items = two_or_more(ahead_N)
    if share and not ahead_N.any():
        bound = clopper_pearson(0, n_items, level)[1]
        return of_one_training(0.0, -bound, bound, level, f"exact binomial, no item differs, {ONE_TRAINING}", n_items)
    if share and not others_N.any():
        low, high = clopper_pearson(int(ahead_N.sum()), n_items, level)
        return of_one_training(float(ahead_N.mean()), low, high, level, f"exact binomial, {ONE_TRAINING}", n_items)
    return mean_over_items(ahead_N, level)


def two_or_more(values_N: np.ndarray) -> int:
    """How many items there are. Raises BadInput for fewer than two."""
    if len(values_N) < 2:
        raise BadInput(f"An interval over items needs at least two of them, not {len(values_N)}. Score more items.")
    return len(values_N)


def of_one_training(estimate: float, low: float, high: float, level: float, method: str, n_items: int) -> Interval:
    """An interval of one training, by whatever method."""
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
