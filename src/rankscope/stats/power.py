"""How many seeds a contrast needs, and what a number of seeds can see."""

import math

from scipy import stats

from rankscope.base.errors import BadInput

MAX_SEEDS = 1000
"""Beyond this many seeds a contrast counts as undecidable by seeds."""


def minimum_detectable_effect(
    seed_sd: float, n_seeds: int, item_var: float = 0.0, level: float = 0.95, power: float = 0.8
) -> float:
    """Smallest true contrast that n_seeds seeds tell from 0 with the given power.

    seed_sd is the standard deviation of the contrast between seeds, item_var the part of the mean's
    variance that more seeds do not shrink. Quantiles are those of the interval that decides (crossed.py): t with
    n_seeds - 1 degrees of freedom on the seed part, normal on the items, of which there are many.
    Source: the usual sum of two quantiles, as in Cohen 1988.
    """
    if n_seeds < 2 or seed_sd < 0 or item_var < 0:
        raise BadInput(f"Need n_seeds >= 2, seed_sd >= 0, item_var >= 0, not {n_seeds}, {seed_sd}, {item_var}.")
    t_seed, t_item = (
        float(stats.t.ppf((1 + level) / 2, df) + stats.t.ppf(power, df)) for df in (n_seeds - 1, math.inf)
    )
    return math.sqrt(t_seed**2 * seed_sd**2 / n_seeds + t_item**2 * item_var)


def times_as_many(p: float, wanted_p: float, power: float = 0.8) -> float:
    """How many times as much data would bring a two-sided p-value down to `wanted_p` with the given power.

    Were the effect as large as it was seen, by the normal approximation: its quantile grows with the root of the data.
    Raises BadInput unless both lie between 0 and 1.
    """
    if not 0 < p < 1 or not 0 < wanted_p < 1:
        raise BadInput(f"Need p-values between 0 and 1, not {p} and {wanted_p}.")
    seen, wanted = (float(stats.norm.isf(one / 2)) for one in (p, wanted_p))
    return ((wanted + float(stats.norm.ppf(power))) / seen) ** 2


def seeds_needed(
    contrast: float, seed_sd: float, item_var: float = 0.0, level: float = 0.95, power: float = 0.8
) -> int | None:
    """Fewest seeds (2 or more) that would tell `contrast` from 0; None when no number up to 1000 would.

    None means that more items or a larger contrast is needed, not more seeds.
    """

    def enough(n_seeds: int) -> bool:
        return abs(contrast) > minimum_detectable_effect(seed_sd, n_seeds, item_var, level, power)

    low, high = 2, MAX_SEEDS
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
