"""Recovery: how much of full fine-tuning's gain an adapter reaches, or why that can not be told."""

import numpy as np

from rankscope.rank.records import Recovery
from rankscope.rank.required import gain_contrast
from rankscope.stats.crossed import Scores, check_scores, crossed_interval, crossed_moments
from rankscope.stats.fieller import fieller
from rankscope.stats.interval import Interval

SMALLEST_GAIN = 0.02
"""Recovery is refused when full fine-tuning's gain may be smaller than this."""


def gain_ratio(
    adapter_SN: Scores,
    full_SN: Scores,
    reference_N: Scores,
    level: float = 0.95,
) -> Interval:
    """gain(adapter) / gain(full) with Fieller's interval on the crossed variances; needs two seeds.

    Ends are None when the full gain does not differ from 0 at this level. Never clipped at 1. An adapter that is
    right on no item, or on all, need not be so on others: its exact binomial bound over items widens the interval.
    """
    gains_KSN = np.stack([check_scores(scores_SN) - np.asarray(reference_N) for scores_SN in (adapter_SN, full_SN)])
    moments = crossed_moments(gains_KSN)
    margin_KK = moments.margin_KK((1 + level) / 2)
    adapter, full = moments.mean_K.tolist()
    low, high = fieller(adapter, full, margin_KK[0, 0], margin_KK[1, 1], margin_KK[0, 1], quantile=1.0)
    below, above = _hidden(adapter_SN, gains_KSN[0], level)
    by_seed_KS = gains_KSN.mean(2)
    return Interval(
        estimate=adapter / full,
        low=None if low is None else low - below / full,
        high=None if high is None else high + above / full,
        level=level,
        method=f"Fieller, crossed, {moments.n_seeds} seeds x {moments.n_items} items",
        n_seeds=moments.n_seeds,
        n_items=moments.n_items,
        by_seed=tuple((by_seed_KS[0] / by_seed_KS[1]).tolist()) if (by_seed_KS[1] != 0).all() else (),
    )


def _hidden(scores_SN: Scores, gain_SN: Scores, level: float) -> tuple[float, float]:
    """How far the mean of shares that are all 0, or all 1, may lie below and above what was seen; else 0."""
    if np.ptp(gain_SN) > 0 or not np.isin(scores_SN, (0, 1)).all():
        return 0.0, 0.0
    exact = crossed_interval(scores_SN, level, share=True)
    ends = (exact.estimate if end is None else end for end in (exact.low, exact.high))
    low, high = ends
    return exact.estimate - low, high - exact.estimate


def _refusal(full_SN: Scores, reference_N: Scores) -> str | None:
    """Why recovery can not be told, or None."""
    gain_SN = full_SN - np.asarray(reference_N)
    bound = crossed_interval(gain_SN, level=0.99, side="lower")
    if bound.low is None:
        return "One seed gives no interval for full fine-tuning's gain, so no share of it. Train more seeds."
    if bound.low < SMALLEST_GAIN:
        return (
            f"Full fine-tuning gains {bound.estimate:.3g}, but its 99 % lower bound is {bound.low:.3g}, under "
            f"{SMALLEST_GAIN:g}: a share of so small a gain means nothing."
        )
    return None


def recovery(
    adapter_SN: Scores,
    full_SN: Scores,
    reference_N: Scores,
    arm: str,
    q: float = 0.9,
    level: float = 0.95,
) -> Recovery:
    """gain(adapter) / gain(full) with Fieller's interval, refused when the full gain is too small to divide by.

    Shapes: scores [seeds, items], paired; reference_N from reference_scores. Refused, with the reason, when
    the 99 % lower bound of the full gain is under 0.02 (2 points, or 0.02 nats). Never clipped at 100 %.
    The contrast gain_adapter - q * gain_full stands beside it either way.
    """
    contrast_SN = gain_contrast(adapter_SN, full_SN, reference_N, q)
    refused = _refusal(check_scores(full_SN), reference_N)
    return Recovery(
        arm=arm,
        ratio=None if refused else gain_ratio(adapter_SN, full_SN, reference_N, level),
        refused=refused,
        contrast=crossed_interval(contrast_SN, level),
        q=q,
    )
