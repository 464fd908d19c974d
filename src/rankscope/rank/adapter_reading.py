"""What truncation says about existing adapters: functional rank by every score, with controls and intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float

from rankscope.rank.adapter_records import AdapterReading, ScoreName, ScoreReading
from rankscope.rank.functional import TruncationCurve, functional_rank, has_gain, truncation_curve
from rankscope.rank.over_items import functional_rank_over_items
from rankscope.rank.records import Control
from rankscope.rank.required import reference_scores
from rankscope.stats.interval import Interval
from rankscope.stats.over_items import difference_over_items, mean_over_items


def adapter_reading(
    frames: Sequence[pl.DataFrame],
    columns: Sequence[ScoreName],
    shares: Sequence[float],
    guess_N: Float[np.ndarray, " N"] | None,
    nominal_rank: int,
    matrix_rank: int,
) -> AdapterReading:
    """Everything read off the `truncation_curves` of each adapter, all scored on the same items.

    shares: values of q, the primary one first. guess_N: chance of the exact output by guessing, where there is any.
    Raises: BadInput for fewer than two items, or adapters that were scored on other items or cuts.
    """
    readings = [
        score_reading(frames, column, shares, guess_N if column == "exact_output" else None, matrix_rank)
        for column in columns
    ]
    readings.sort(key=lambda reading: not reading.gains)
    return AdapterReading(
        nominal_rank=nominal_rank,
        matrix_rank=matrix_rank,
        ks=tuple(frames[0]["k"].unique().sort().to_list()),
        n_adapters=len(frames),
        n_items=readings[0].n_items,
        scores=tuple(readings),
    )


def score_reading(
    frames: Sequence[pl.DataFrame],
    column: ScoreName,
    shares: Sequence[float],
    guess_N: Float[np.ndarray, " N"] | None,
    matrix_rank: int,
) -> ScoreReading:
    """What one score says; see `adapter_reading`."""
    names: list[Control] = frames[0]["control"].unique(maintain_order=True).to_list()
    curves = {name: truncation_curve(frames, name, column) for name in names}
    energy = curves["energy"]
    base_N = energy.scores_SKN[0, 0]
    reference_N = reference_scores(base_N, guess_N)
    whole_SN = energy.scores_SKN[:, -1]
    found = [functional_rank("adapter", curves, reference_N, q) for q in shares]
    lead = order_lead(curves, found[0].median or 0, matrix_rank)
    return ScoreReading(
        score=column,
        n_items=len(reference_N),
        base=float(base_N.mean()),
        reference=float(reference_N.mean()),
        whole=tuple(whole_SN.mean(1).tolist()),
        gain=tuple(gain_over_items(whole_N, reference_N, share=column == "exact_output") for whole_N in whole_SN),
        functional=(found[0], *(other.override(curve=()) for other in found[1:])),
        over_items=tuple(functional_rank_over_items(energy, reference_N, q) for q in shares),
        order_tells=None if lead is None else lead.low is not None and lead.low > 0,
        order_lead=lead,
    )


def gain_over_items(
    scores_N: Float[np.ndarray, " N"], reference_N: Float[np.ndarray, " N"], share: bool = False
) -> Interval:
    """One adapter's gain with its interval over items. Its low end is above 0 just where `has_gain` finds a gain.

    Where the reference is 0 on all items, `difference_over_items` takes it for 0 on all others too, and a single item
    right would be a gain. Where `has_gain` finds none, the t interval that it decides by stands instead. `share` says
    that scores are 0 or 1. Check: of 20 items 3 right gives 15 % [-2.1, 32.1], 4 right gives 20 % [5.7, 43.7].
    Raises: BadInput for fewer than two items.
    """
    found = difference_over_items(scores_N, reference_N, share=share)
    gains_N = scores_N - reference_N
    if found.low is None or found.low <= 0 or has_gain(gains_N[None])[0]:
        return found
    plain = mean_over_items(gains_N)
    assert plain.low is not None
    assert plain.high is not None
    return plain.override(low=max(plain.low, -1.0), high=min(plain.high, 1.0))


def order_lead(curves: Mapping[Control, TruncationCurve], highest_k: float, matrix_rank: int) -> Interval | None:
    """How far `energy` is ahead of `random`, as a mean over the cuts up to highest_k, with its t interval over items.

    None without such a cut; a cut to the rank of the whole update is none.
    """
    if "random" not in curves:
        return None
    energy, random = curves["energy"], curves["random"]
    inner = [index for index, k in enumerate(energy.ks) if 0 < k <= highest_k and k < matrix_rank]
    if not inner:
        return None
    return mean_over_items((energy.scores_SKN - random.scores_SKN)[:, inner].mean((0, 1)))
