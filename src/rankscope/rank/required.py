"""Required rank: the smallest rank whose training reaches q of dense's gain, as a set that the data can not narrow.

Every statement is a contrast, per (seed, item), of arms paired by seed and scored on the same items:
score_r - q * score_dense - (1 - q) * reference, which is gain_r - q * gain_dense. Scores may be shares of
items or -KL in nats; nothing needs them to be bounded.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.rank.records import RequiredRank, RequiredVerdict, Resolution, SufficiencyVerdict
from rankscope.stats.crossed import Scores, check_scores, crossed_interval, crossed_moments
from rankscope.stats.interval import Interval
from rankscope.stats.power import minimum_detectable_effect, seeds_needed

ENOUGH_SEEDS = 5
"""Below this many seeds every required rank is `underpowered`."""


class RankRatio(Config):
    """Required rank of one skill over that of another; ends are None where a side is unbounded."""

    estimate: float | None
    """Ratio of the ranks read off the mean curves; None when one of them reaches no sufficient rank."""
    low: float | None
    high: float | None
    level: float
    """Confidence that both sets hold at once (their errors added)."""


def reference_scores(base_N: Scores, chance_N: Scores | None) -> Float[np.ndarray, " N"]:
    """Per-item scores that gain is measured from: the base's or chance's, whichever mean is larger."""
    reference_N = check_scores(base_N, "base scores")[0]
    if chance_N is None:
        return reference_N
    chance_N = np.broadcast_to(check_scores(chance_N, "chance levels")[0], reference_N.shape)
    return chance_N if chance_N.mean() > reference_N.mean() else reference_N


def _checked(scores_SN: Scores, name: str, like_SN: np.ndarray) -> Float[np.ndarray, "S N"]:
    scores_SN = check_scores(scores_SN, name)
    if scores_SN.shape != like_SN.shape:
        raise BadInput(
            f"{name} has {scores_SN.shape} seeds x items, expected {like_SN.shape}: arms are compared on the same "
            "seeds and items. Keep the seeds that finished in every arm."
        )
    return scores_SN


def gain_contrast(
    score_SN: Scores,
    compared_SN: Scores,
    reference_N: Scores,
    q: float,
) -> Float[np.ndarray, "S N"]:
    """Contrast gain - q * compared gain, per seed and item; both gains are measured from the same reference."""
    compared_SN = check_scores(compared_SN, "compared scores")
    score_SN = _checked(score_SN, "scores", compared_SN)
    reference_N = _checked(reference_N, "reference", compared_SN[:1])[0]
    return score_SN - q * compared_SN - (1 - q) * reference_N


def gain_interval(score_SN: Scores, reference_N: Scores, level: float = 0.95) -> Interval:
    """Gain over the reference (see reference_scores) with its crossed interval."""
    score_SN = check_scores(score_SN)
    return crossed_interval(score_SN - _checked(reference_N, "reference", score_SN[:1]), level)


def sufficiency(contrast: Interval) -> SufficiencyVerdict:
    """Sufficient when gain_r - q * gain_dense has a low end of at least 0, insufficient with a high end below 0."""
    if contrast.low is not None and contrast.low >= 0:
        return "sufficient"
    if contrast.high is not None and contrast.high < 0:
        return "insufficient"
    return "undecided"


def _set_ends(by_rank: dict[int, SufficiencyVerdict]) -> tuple[int | None, int | None]:
    """Ends of the set over trained ranks; a rank between two trained ones counts as the larger."""
    ranks = sorted(by_rank)
    open_ranks = [r for r in ranks if by_rank[r] != "insufficient"]
    high = None
    for r in reversed(ranks):
        if by_rank[r] != "sufficient":
            break
        high = r
    if not open_ranks:
        return ranks[-1] + 1, None
    low = open_ranks[0]
    return (None if low == ranks[0] > 1 else low), high


def _set_verdict(by_rank: dict[int, SufficiencyVerdict], high: int | None) -> RequiredVerdict:
    ranks = sorted(by_rank)
    if high == ranks[0] > 1:
        return "censored below"
    if set(by_rank.values()) == {"insufficient"}:
        return "not reached"
    return "underpowered" if high is None else "estimated"


def contrast_resolution(contrast_SN: Scores, level: float = 0.95) -> Resolution | None:
    """What these seeds and items could see of a contrast, and what they saw; None with one seed.

    Shapes: contrast_SN holds one value per (seed, item), as `gain_contrast` gives it.
    """
    contrast_SN = check_scores(contrast_SN)
    S = len(contrast_SN)
    if S < 2:
        return None
    moments = crossed_moments(contrast_SN[None])
    seen, item_var = float(moments.mean_K[0]), float(moments.item_KK[0, 0])
    seed_sd = float(np.sqrt(moments.seed_KK[0, 0] * S))
    return resolution_of(seen, S, seed_sd, item_var, level)


def resolution_of(seen: float, n_seeds: int, seed_sd: float, item_var: float, level: float = 0.95) -> Resolution:
    """What a contrast's spread over seeds, and the variance that seeds do not shrink, let its seeds see."""
    needed = seeds_needed(seen, seed_sd, item_var, level)
    return Resolution(
        n_seeds=n_seeds,
        seen=seen,
        detectable=minimum_detectable_effect(seed_sd, n_seeds, item_var, level),
        more_seeds=None if needed is None else max(needed - n_seeds, 1),
    )


def _seeds_missing(
    resolution: dict[int, Resolution],
    by_rank: dict[int, SufficiencyVerdict],
    high: int | None,
    min_seeds: int,
    S: int,
) -> int | None:
    """Seeds missing for the ranks that keep the set open, at least those up to `min_seeds`."""
    undecided = [r for r, verdict in by_rank.items() if verdict == "undecided"]
    if not undecided:
        return max(min_seeds - S, 0) or None
    deciding = [max(undecided)] if high is None else undecided
    more = [resolution[r].more_seeds if r in resolution else None for r in deciding]
    if min_seeds > S:
        return max([min_seeds - S, *(n for n in more if n is not None)])
    known = [n for n in more if n is not None]
    return max(known) if len(known) == len(more) else None


def set_words(low: int | None, high: int | None) -> str:
    """A set by its ends: `4`, `between 4 and 8`, `at most 2`, or that these data do not bound it."""
    if low is not None and low == high:
        return f"{low}"
    if low is None:
        return "not bounded by these data" if high is None else f"at most {high}"
    return f"at least {low}" if high is None else f"between {low} and {high}"


def _sentence(
    verdict: RequiredVerdict,
    ends: tuple[int | None, int | None],
    ranks: list[int],
    q: float,
    dense_gain: Interval,
    min_seeds: int,
    seeds_missing: int | None,
    not_converged: bool,
    on_curve: int | None,
) -> str:
    """The verdict in plain words. `on_curve`: the rank that the mean scores alone give."""
    share, words, level = f"{q:.0%} of dense's gain", set_words(*ends), f"{dense_gain.level:.0%}"
    more = (
        f" About {seeds_missing} more seed{'' if seeds_missing == 1 else 's'} would be needed."
        if seeds_missing
        else " More seeds alone would not decide it; more items or ranks further apart would."
    )
    few = dense_gain.n_seeds < min_seeds
    limit = ", and was still improving when its budget ended: at this budget" if not_converged else ":"
    no_gain = f"training gains {dense_gain.estimate:.3g}, not clearly more than nothing: no gain to ask a rank for."
    shown = f"the rank that reaches {share} is {words}." if _has_headroom(dense_gain) else f"dense {no_gain}"
    seeds = (
        f"{dense_gain.n_seeds} seed{'' if dense_gain.n_seeds == 1 else 's'}, fewer than {min_seeds}: too few to tell"
    )
    if dense_gain.n_seeds == 1 and _has_headroom(dense_gain):
        reach = f"rank {on_curve} is the smallest from which all reach" if on_curve else "no rank reaches"
        too_few = f"{seeds}, and without an interval. By its scores {reach} {share}."
    else:
        too_few = f"{seeds}. As far as they show, {shown}"
    return {
        "no headroom": f"Dense {no_gain}",
        "placement-limited": f"Dense training of these sites stays below {q:.0%} of full fine-tuning's gain{limit} "
        f"the placement is the limit, whatever the rank. The rank that reaches {share} is {words}.",
        "not converged": "Some training was still improving when its budget ended, so this is a statement about the "
        f"budget: the rank that reaches {share} is {words}.",
        "underpowered": (
            too_few
            if few
            else f"No rank is clearly enough for {share} with all larger ones; the required rank is {words}."
        )
        + more,
        "censored below": f"Rank {ranks[0]}, the lowest trained, already reaches {share}; the required rank is at most "
        f"{ranks[0]} and these ranks can not tell how far below.",
        "not reached": f"No rank up to {ranks[-1]} reaches {share}, which dense training of the same sites does by "
        f"definition; the required rank is {set_words(*ends)}.",
        "estimated": f"The rank that reaches {share} is {words} ({level} set).",
    }[verdict]


def _has_headroom(dense_gain: Interval) -> bool:
    """Whether dense's gain is above 0; of one seed, which has no interval, its mean."""
    least = dense_gain.estimate if dense_gain.n_seeds == 1 else dense_gain.low
    return least is not None and least > 0


def _first_verdict(
    S: int,
    min_seeds: int,
    dense_gain: Interval,
    dense_to_full: Interval | None,
    not_converged: bool,
) -> RequiredVerdict | None:
    """The verdict that takes precedence over what the ranks say, if any."""
    if min_seeds > S:
        return "underpowered"
    if not _has_headroom(dense_gain):
        return "no headroom"
    if dense_to_full is not None and sufficiency(dense_to_full) == "insufficient":
        return "placement-limited"
    return "not converged" if not_converged else None


def required_rank(
    scores_by_rank: Mapping[int, Scores],
    dense_SN: Scores,
    full_SN: Scores | None,
    reference_N: Scores,
    q: float = 0.9,
    not_converged: bool = False,
    min_seeds: int = ENOUGH_SEEDS,
    level: float = 0.95,
) -> RequiredRank:
    """The set of trained ranks that can not be excluded as the smallest sufficient one, and the verdict.

    Shapes: every score [seeds, items], seeds paired across arms; reference_N from reference_scores.
    A rank is sufficient when the lower end of the two-sided `level` interval of gain_r - q * gain_dense is at
    least 0 (a one-sided 97.5 % bound at 0.95), insufficient when the upper end is below 0, else undecided.
    `low` is the smallest trained rank not insufficient; None when that is the lowest trained rank and above 1, so
    that lower ones stay possible; the largest trained rank plus 1 when every trained rank is insufficient. `high` is
    the smallest trained rank from which all larger ones are sufficient; None when there is none.
    When the lower end of dense's gain is not above 0 there is no gain to share: then, whatever the verdict, every
    rank is undecided and both ends are None. Where there is one, rank 0 is too little, so that the need is at least 1.
    Verdict, the first that holds: `underpowered` (fewer than min_seeds), `no headroom`, `placement-limited` (dense
    below q of full), `not converged`, `censored below` (the lowest rank and all above suffice, and it is above 1), `not
    reached` (every rank is insufficient), `underpowered` (no `high`), `estimated`.
    Raises: BadInput when there is no rank, q is not in (0, 1], or seeds or items do not pair.
    """
    if not scores_by_rank or not 0 < q <= 1 or min(scores_by_rank) < 1:
        raise BadInput(
            f"Need at least one trained rank >= 1 and 0 < q <= 1, not ranks {sorted(scores_by_rank)}, q {q}."
        )
    ranks = sorted(scores_by_rank)
    contrasts = {r: gain_contrast(scores_by_rank[r], dense_SN, reference_N, q) for r in ranks}
    intervals = {r: crossed_interval(contrast_SN, level) for r, contrast_SN in contrasts.items()}
    dense_gain = gain_interval(dense_SN, reference_N, level)
    headroom = _has_headroom(dense_gain)
    by_rank = {r: sufficiency(interval) if headroom else "undecided" for r, interval in intervals.items()}
    dense_to_full = (
        None if full_SN is None else crossed_interval(gain_contrast(dense_SN, full_SN, reference_N, q), level)
    )
    ends = _set_ends(by_rank) if headroom else (None, None)
    first = _first_verdict(dense_gain.n_seeds, min_seeds, dense_gain, dense_to_full, not_converged)
    verdict = first or _set_verdict(by_rank, ends[1])
    resolution = {
        r: found
        for r in ranks
        if by_rank[r] == "undecided" and (found := contrast_resolution(contrasts[r], level)) is not None
    }
    on_curve = _rank_on_curve({r: interval.estimate for r, interval in intervals.items()})
    seeds_missing = None
    if verdict == "underpowered" or (verdict == "estimated" and ends[0] != ends[1]):
        seeds_missing = _seeds_missing(resolution, by_rank, ends[1], min_seeds, dense_gain.n_seeds)
    return RequiredRank(
        q=q,
        verdict=verdict,
        low=ends[0],
        high=ends[1],
        by_rank=by_rank,
        contrast=intervals,
        sentence=_sentence(verdict, ends, ranks, q, dense_gain, min_seeds, seeds_missing, not_converged, on_curve),
        seeds_missing=seeds_missing,
        resolution=resolution if headroom else {},
    )


def holds(found: RequiredRank, truth: int) -> bool:
    """Whether the set holds that rank."""
    return (found.low or 0) <= truth and (found.high is None or truth <= found.high)


def doublings(found: RequiredRank, largest: int) -> float:
    """Width of the set in doublings of the rank; an open end reaches one doubling past the largest rank tried."""
    low = found.low or 1
    high = found.high if found.high is not None else 2 * largest
    return float(np.log2(max(high, low) / low))


def _rank_on_curve(contrast_by_rank: dict[int, float]) -> int | None:
    """Smallest rank from which all larger ones have a contrast of at least 0."""
    found = None
    for r in sorted(contrast_by_rank, reverse=True):
        if contrast_by_rank[r] < 0:
            break
        found = r
    return found


def _over(a: int | None, b: int | None) -> float | None:
    return None if a is None or b is None else a / b


def lowest_need(found: RequiredRank) -> int | None:
    """Smallest need that the set leaves possible: one more than the largest trained rank below `low`."""
    if found.low is None:
        return None
    return max((r + 1 for r in found.by_rank if r < found.low), default=found.low)


def rank_ratio(a: RequiredRank, b: RequiredRank) -> RankRatio:
    """Required rank of a over that of b: low = lowest(a) / b.high, high = a.high / lowest(b), None where unbounded.

    A set names trained ranks, and a need between two of them counts as the larger: a low of 4 on ranks 1, 2, 4
    says only that 2 is too few, so the need may be 3. lowest is thus one more than the largest trained rank
    below the set's low, or that low itself when no rank below it was trained. Of `high` the need is at most that.
    Check: on ranks 1, 2, 4, 8, {4} over {4} is 3/4 to 4/3, and {8} over {4} is 5/4 to 8/3.
    One-sided sets give one-sided ratios: a set censored below bounds nothing from below, a rank not reached
    nothing from above. The level is one minus the two sets' errors added: two 97.5 % sets give 95 %.
    """
    levels = [next(iter(found.contrast.values())).level for found in (a, b)]
    on_curve = [_rank_on_curve({r: c.estimate for r, c in found.contrast.items()}) for found in (a, b)]
    return RankRatio(
        estimate=_over(*on_curve),
        low=_over(lowest_need(a), b.high),
        high=_over(a.high, lowest_need(b)),
        level=1 - sum(1 - level for level in levels),
    )
