"""What the learning rate does to a statement about rank: scores by rate and rank, and the need that one rate shows."""

import math
from itertools import pairwise

from rankscope.rank.records import RateMap


def tuned_need(found: RateMap, q: float = 0.9) -> int | None:
    """The smallest rank from which all larger ones reach q of dense's gain, every arm at its own best rate."""
    best = {arm: max(scores) for arm, by_rate in found.scores.items() if (scores := _sound(by_rate))}
    return _need(found, {rank: best[arm] for arm, rank in found.ranks.items() if arm in best}, q)


def fixed_need(found: RateMap, rate: float, q: float = 0.9) -> int | None:
    """The same with one rate for every rank, against dense at its best; scores between tried rates are interpolated.

    None where no rank is enough, or where a rank was not tried on both sides of that rate.
    """
    scores = {rank: score_at(found.scores[arm], rate) for arm, rank in found.ranks.items()}
    known = {rank: score for rank, score in scores.items() if score is not None}
    return _need(found, known, q) if len(known) == len(scores) else None


def score_at(by_rate: dict[str, float | None], rate: float) -> float | None:
    """Linear in the logarithm of the rate between tried ones; None outside them, and beside one that diverged."""
    tried = sorted((float(rate), score) for rate, score in by_rate.items())
    for tried_rate, score in tried:
        if tried_rate == rate:
            return score
    for (low, at_low), (high, at_high) in pairwise(tried):
        if low < rate < high:
            if at_low is None or at_high is None:
                return None
            share = math.log(rate / low) / math.log(high / low)
            return at_low + share * (at_high - at_low)
    return None


def shared_rates(found: RateMap) -> tuple[float, ...]:
    """Rates tried for some rank that lie within what was tried for every rank, ascending."""
    tried = [sorted(map(float, found.scores[arm])) for arm in found.ranks]
    if not tried:
        return ()
    low, high = max(rates[0] for rates in tried), min(rates[-1] for rates in tried)
    return tuple(sorted({rate for rates in tried for rate in rates if low <= rate <= high}))


def _sound(by_rate: dict[str, float | None]) -> list[float]:
    return [score for score in by_rate.values() if score is not None]


def _need(found: RateMap, score_by_rank: dict[int, float], q: float) -> int | None:
    dense = _sound(found.scores.get("dense", {}))
    if not dense:
        return None
    bar = found.base_score + q * (max(dense) - found.base_score)
    need = None
    for rank in sorted(score_by_rank, reverse=True):
        if score_by_rank[rank] < bar:
            break
        need = rank
    return need
