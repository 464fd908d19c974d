"""Whether an ablation moves the model more than a random shift of its size would: p-values before any correction.

Two things were drawn: items (and adapters), and shifts. The first is answered by the interval of the excess, the
second by what shifts differ among themselves: an update that is itself a random draw exceeds the mean of a few others
in nearly every second case, on however many items. The larger p-value of the two is given, so both have to hold.

    d_f = mean over adapters of (log KL(taken out) - mean log KL(K shifts)),  t = d_f / root of (v (1 + 1 / K) / S)

v is the variance of log KL among the shifts of one ablation, pooled over the ablations of a unit, which makes up for
few shifts of each. Logarithms take the size away that parts differ by; the log of a sum of a few squares has its longer
tail below, so that t errs on the safe side.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from rankscope.stats.crossed import crossed_interval
from rankscope.stats.interval import Interval
from rankscope.stats.over_items import mean_over_items
from rankscope.stats.smallest_error import smallest_error


def over_cells(values_SN: Float[np.ndarray, "S N"], level: float = 0.95) -> Interval:
    """Mean with its interval: over items for one adapter, else over seeds and items crossed."""
    return mean_over_items(values_SN[0], level) if len(values_SN) == 1 else crossed_interval(values_SN, level)


def p_over_cells(excess_SN: Float[np.ndarray, "S N"]) -> float:
    """One-sided: half of the smallest error of the two-sided interval above 0."""

    def above(level: float) -> bool:
        low = over_cells(excess_SN, level).low
        return low is not None and low > 0

    return smallest_error(above) / 2


def p_over_draws(
    kl_FS: Float[np.ndarray, "F S"], random_FSK: Float[np.ndarray, "F S K"], floor_FS: Float[np.ndarray, "F S"]
) -> Float[np.ndarray, " F"]:
    """For F ablations of a unit on S adapters, the chance that one more random shift is as large.

    KL not above the resolution counts as the resolution, and v is of shifts that are all above it. With none such, a KL
    above it has the chance of being the largest of all draws.
    """
    _, n_adapters, n_draws = random_FSK.shape
    lowest_FS = np.maximum(floor_FS, np.finfo(float).tiny)
    log_FSK = np.log(np.maximum(random_FSK, lowest_FS[..., None]))
    ahead_F = (np.log(np.maximum(kl_FS, lowest_FS)) - log_FSK.mean(-1)).mean(-1)
    resolved_FS = (random_FSK > floor_FS[..., None]).all(-1)
    freedom = int(resolved_FS.sum()) * (n_draws - 1)
    if freedom == 0:
        return np.where(ahead_F > 0, 1 / (random_FSK.size + 1), 1.0)
    variance = log_FSK[resolved_FS].var(-1).sum() * n_draws / freedom
    error = np.sqrt(max(variance, np.finfo(float).tiny) * (1 + 1 / n_draws) / n_adapters)
    return np.asarray(stats.t.sf(ahead_F / error, freedom))


def family_chances(
    kl_FSN: Sequence[Float[np.ndarray, "S N"]],
    random_FSKN: Sequence[Float[np.ndarray, "S K N"]],
    floor_FS: Sequence[Float[np.ndarray, " S"]],
) -> list[float]:
    """p-values of the ablations of one unit: the larger of that over items and adapters, and that over draws."""
    drawn_F = p_over_draws(
        np.stack([kl_SN.mean(-1) for kl_SN in kl_FSN]),
        np.stack([random_SKN.mean(-1) for random_SKN in random_FSKN]),
        np.stack(list(floor_FS)),
    )
    over_F = [p_over_cells(kl_SN - random_SKN.mean(1)) for kl_SN, random_SKN in zip(kl_FSN, random_FSKN, strict=True)]
    return [max(float(drawn), over) for drawn, over in zip(drawn_F, over_F, strict=True)]
