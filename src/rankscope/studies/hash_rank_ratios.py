"""Ratios HashHop / HashChain of each kind of rank, with an interval at any level, or why there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from rankscope.rank.paper_records import SATURATED
from rankscope.rank.records import Control, FunctionalRank, RequiredRank, SkillFindings
from rankscope.rank.required import rank_ratio
from rankscope.stats.crossed import item_variance
from rankscope.studies.claims import PAPER_RANGE, doubts
from rankscope.studies.evidence import SHARES, STUCK, Evidence
from rankscope.studies.hash_rank_twins import Pair

COUNT = "N(1e-3)"
"""The paper's own count: singular values above a thousandth of the largest."""
EQUALS_NOMINAL = f"{COUNT} equals the nominal rank"
SAME_AS_NULL = 2.0
"""A count within this factor of the shuffled labels' does not see the task."""

SEEN_AND_NULL = ("HashChain, all maps", "HashChain, shuffled labels")


@dataclass(frozen=True)
class Ratio:
    """A ratio HashHop / HashChain of some rank under one condition; or why there is none."""

    low: float | None = None
    high: float | None = None
    estimate: float | None = None
    untold: str = ""

    @property
    def stand(self) -> str:
        """`favours`, `contradicts` or `open`; `untold` where there is no ratio."""
        if self.untold:
            return "untold"
        if self.high is not None and self.high < PAPER_RANGE[0]:
            return "contradicts"
        inside = self.low is not None and self.high is not None
        favours = inside and (self.low or 0) >= PAPER_RANGE[0] and (self.high or 0) <= PAPER_RANGE[1]
        return "favours" if favours else "open"

    @property
    def words(self) -> str:
        """`2.1 [1.6, 3]`, or why it can not be told."""
        if self.untold:
            return f"can not be told ({self.untold})"
        ends = ["–" if end is None else f"{end:.3g}" for end in (self.low, self.high)]
        return f"{'' if self.estimate is None else f'{self.estimate:.3g} '}[{ends[0]}, {ends[1]}]"


Measure = Callable[[Evidence, Pair, float], Ratio]
"""(evidence, (HashHop, HashChain), level) -> their ratio."""


def required_ratio(evidence: Evidence, pair: Pair, level: float) -> Ratio:
    """Of required ranks at q = 0.9, from two sets of that level."""
    stuck = [f"{skill.name} {skill.required[0].verdict}" for skill in pair if skill.required[0].verdict in STUCK]
    doubt = doubts(*pair)
    if stuck or doubt:
        return Ratio(untold=", ".join(stuck) or str(doubt))
    if any(len(skill.required[0].by_rank) < 2 for skill in pair):
        return Ratio(untold="fewer than two ranks are there to compare")
    planning, reasoning = (evidence.required_at(skill, level) for skill in pair)
    return ratio_of_sets(planning, reasoning)


def ratio_of_sets(planning: RequiredRank, reasoning: RequiredRank) -> Ratio:
    """Of two required ranks that can be told."""
    found = rank_ratio(planning, reasoning)
    return Ratio(found.low, found.high, found.estimate)


@dataclass(frozen=True)
class Cut:
    """How an adapter is cut to find its functional rank."""

    control: Control = "energy"
    """`energy`: every site the same budget. `global`: one budget shared among them."""
    q: float = SHARES[0]
    """Share of the gain that must be kept."""


USUAL_CUT = Cut()
"""The one that claims are judged by."""


def functional_ratio(evidence: Evidence, pair: Pair, level: float, cut: Cut = USUAL_CUT) -> Ratio:
    """Of the functional ranks of the largest adapters, paired by seed.

    A functional rank is the smallest of the budgets tried: the need lies above the budget before it.
    """
    found = [largest_functional(skill, cut.q) for skill in pair]
    if any(one is None or one.no_gain or 0 in one.by_seed for one in found):
        return Ratio(untold="an adapter without a gain")
    if len(arms := {one.arm for one in found if one}) > 1:
        return Ratio(untold=f"the largest adapters left are {' and '.join(sorted(arms))}")
    if not all(_uses(one, cut) for one in found if one):
        return Ratio(untold=f"no {cut.control} budget was tried")
    if unpaired := _unpaired([_uses(one, cut) for one in found if one]):
        return Ratio(untold=unpaired)
    item_var = functional_item_variance(evidence, pair, cut)
    if item_var is None:
        return Ratio(untold="an adapter without a gain on some draws of items")
    return seed_ratio(*functional_ends(pair, cut), level, item_var)


def functional_item_variance(evidence: Evidence, pair: Pair, cut: Cut = USUAL_CUT) -> float | None:
    """Variance of the mean logarithm of the ratio that more seeds would not shrink; None where a draw has no gain."""
    drawn_2SD = [evidence.functional_SD(skill, cut.control, cut.q) for skill in pair]
    if any((drawn_SD == 0).any() for drawn_SD in drawn_2SD):
        return None
    log_SD = np.log(drawn_2SD[0]) - np.log(drawn_2SD[1])
    return item_variance(log_SD) if len(log_SD) > 1 else 0.0


def _unpaired(by_seed: Sequence[Sequence[float]]) -> str:
    """That seeds can not be paired, as while a study runs whose other half was taken from an earlier one."""
    counts = [len(values) for values in by_seed]
    return "" if len(set(counts)) == 1 else f"measured over {counts[0]} and {counts[1]} seeds"


def functional_ends(pair: Pair, cut: Cut = USUAL_CUT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per seed the lowest and highest ratio of functional ranks that the budgets tried leave open, and that seen."""
    (above, most), (above_other, most_other) = (_needs(skill, cut) for skill in pair)
    with np.errstate(divide="ignore"):
        return above / most_other, most / above_other, most / most_other


def count_ratio(evidence: Evidence, pair: Pair, level: float) -> Ratio:
    """Of the paper's threshold counts of the largest adapters, means over sites, paired by seed."""
    counts = [threshold_counts(skill) for skill in pair]
    if len(ranks := {nominal for nominal, _ in counts}) > 1:
        return Ratio(untold=f"the largest adapters left are rank {' and rank '.join(map(str, sorted(ranks)))}")
    if any(nominal * SATURATED <= min(by_seed) for nominal, by_seed in counts):
        return Ratio(untold=EQUALS_NOMINAL)
    if any(min(by_seed) <= 0 for _, by_seed in counts):
        return Ratio(untold="an adapter that is zero")
    if unpaired := _unpaired([by_seed for _, by_seed in counts]):
        return Ratio(untold=unpaired)
    if blind := count_blindness(evidence):
        return Ratio(untold=blind)
    planning_S, reasoning_S = (np.array(by_seed) for _, by_seed in counts)
    ratio_S = planning_S / reasoning_S
    return seed_ratio(ratio_S, ratio_S, ratio_S, level)


def count_blindness(evidence: Evidence) -> str:
    """Why the count does not see the task: it is about the same where labels are shuffled; empty where it does."""
    pair = [next((one for one in evidence.skills if one.name == name and one.spectral), None) for name in SEEN_AND_NULL]
    if pair[0] is None or pair[1] is None:
        return ""
    (largest, seen_S), (other, null_S) = (threshold_counts(skill) for skill in pair if skill is not None)
    seen, null = float(np.mean(seen_S)), float(np.mean(null_S))
    same = largest == other and null > 0 and 1 / SAME_AS_NULL <= seen / null <= SAME_AS_NULL
    return f"it does not see the task: {seen:.3g} on HashChain, {null:.3g} on shuffled labels" if same else ""


def seed_ratio(low_S: np.ndarray, high_S: np.ndarray, seen_S: np.ndarray, level: float, item_var: float = 0.0) -> Ratio:
    """A ratio paired by seed, from the lowest and highest that each seed leaves possible: t intervals on its logarithm.

    `item_var` is the variance of the mean logarithm that seeds share, being scored on the same items; it is added as in
    `crossed_interval`. The spread over seeds is taken no smaller than what rounding to the budgets tried can hide, a
    twelfth of the squared distance between the ends (that of a uniform error), so that equal values in all seeds are
    no certainty.
    """
    n_seeds = len(seen_S)
    if n_seeds < 2:
        return Ratio(estimate=float(seen_S[0]))
    with np.errstate(divide="ignore"):
        low, high, seen = (np.log(values_S) for values_S in (low_S, high_S, seen_S))
    spread = max(float(seen.std(ddof=1)), hidden_spread(low_S, high_S)) / n_seeds**0.5
    t_seed, t_item = stats.t.ppf((1 + level) / 2, [n_seeds - 1, np.inf])
    half = float(np.hypot(t_seed * spread, t_item * item_var**0.5))
    ends = (float(np.exp(low.mean() - half)), float(np.exp(high.mean() + half)))
    return Ratio(ends[0] or None, ends[1] if np.isfinite(ends[1]) else None, float(np.exp(seen.mean())))


def hidden_spread(low_S: np.ndarray, high_S: np.ndarray) -> float:
    """Standard deviation of a logarithm that is uniform between two ends, as rounding may hide it; 0 without ends."""
    with np.errstate(divide="ignore"):
        range_S = np.log(high_S) - np.log(low_S)
    return float(np.mean(np.where(np.isfinite(range_S), range_S, 0.0))) / 12**0.5


def largest_functional(skill: SkillFindings, q: float = USUAL_CUT.q) -> FunctionalRank | None:
    """Functional rank of the skill's largest adapter, by the share of its gain that must be kept."""
    found = [one for one in skill.functional if one.q == q]
    ranks = {point.arm: point.rank or 0 for point in skill.curve}
    return max(found, key=lambda one: ranks[one.arm], default=None)


def _uses(found: FunctionalRank, cut: Cut) -> tuple[float, ...]:
    """Functional rank by seed, by cuts that give every site the same budget, or share one."""
    return found.global_by_seed if cut.control == "global" else found.by_seed


def _needs(skill: SkillFindings, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """Per seed the budget tried just before the functional rank (the need lies above it), and that rank itself.

    Both shares of the gain are read off one curve, which stands with the first.
    """
    found, with_curve = largest_functional(skill, cut.q), largest_functional(skill)
    assert found is not None
    assert with_curve is not None
    tried, uses = sorted({point.k for point in with_curve.curve if point.control == cut.control}), _uses(found, cut)
    before = [max((k for k in tried if k < rank), default=0.0) for rank in uses]
    return np.array(before), np.array(uses, dtype=float)


def threshold_counts(skill: SkillFindings) -> tuple[int, tuple[float, ...]]:
    """Nominal rank of the largest adapter, and its paper's count by seed (a mean over sites)."""
    largest = max(skill.spectral, key=lambda one: one.nominal_rank)
    return largest.nominal_rank, largest.estimators[COUNT].by_seed
