"""Claims 1 to 3 of hash_rank, on ratios of three kinds of rank, and the rule that judges them, declared beforehand.

The first placement that can be told decides, at the level of its confidence set, so a verdict has the error of one set;
the other conditions can only veto it. Later changes to the rule: docs/hash_rank.md.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from rankscope.rank.records import ClaimCard
from rankscope.studies.claims import PAPER_RANGE
from rankscope.studies.evidence import (
    DECIDED,
    FROM_THE_BAR,
    LEVEL,
    MIN_SEEDS,
    SHARES,
    Evidence,
    at_the_bar,
    blocked_words,
    few_words,
    incomparable_words,
    p_value_of,
    sets_power,
)
from rankscope.studies.hash_rank_limits import card_limits
from rankscope.studies.hash_rank_power import ratio_power
from rankscope.studies.hash_rank_ratios import (
    COUNT,
    EQUALS_NOMINAL,
    Cut,
    Measure,
    Ratio,
    count_ratio,
    functional_ends,
    functional_item_variance,
    functional_ratio,
    required_ratio,
    threshold_counts,
)
from rankscope.studies.hash_rank_twins import (
    PAPER,
    PRIMARY,
    Pair,
    equal_rate_pairs,
    largest_repeats,
    pairs_of,
    repeat_pair,
    seeds_of,
    unmatched,
)

RATIO_RULE = (
    "Ratio HashHop over HashChain of the {quantity}, in one mode, at three placements (c_proj as in the paper, all "
    "maps, attention) and at every level of difficulty that qualifies (base at most 40 %, full at least 90 %, twins "
    "within 3 points), as {interval}. A condition favours the claim when its whole interval lies within 1.5 to 4, "
    "and contradicts it when it lies wholly below 1.5. The first placement that can be told, in that order, decides: "
    "supported when it favours, no other condition contradicts and at least half of the others favour too; refuted "
    "when it contradicts and no other favours; undecided otherwise, and always when the same task measured twice gives "
    "a ratio whose interval excludes 1, or (for the paper's count) when shuffled labels give half to twice the count. "
    "Supported only if that repeat's interval lies below 1.5, so that it could have told the two apart. "
    "Not told: where learning rates were not tuned, precisions or largest ranks differ, a required rank can not be "
    "told or fewer than two ranks were trained, an adapter has no gain, or none on some draw of items. "
    "Underpowered below five seeds. The verdict must survive Holm's correction over the claims of the study."
)


@dataclass(frozen=True)
class RatioClaim:
    """One of the claims about a ratio."""

    claim: str
    source: str
    quantity: str
    measure: Measure
    interval: str = "a 95 % interval, paired by seed"


RATIO_CLAIMS = (
    RatioClaim(
        "reasoning needs 2-3 times lower required rank than planning",
        f"{PAPER}: reasoning needs 2-3x lower rank",
        "required rank at q = 0.9",
        required_ratio,
        "the ratio of two 95 % sets, divided crosswise (so 90 % for both ends together)",
    ),
    RatioClaim(
        "reasoning uses 2-3 times lower functional rank than planning",
        f"{PAPER}, read as what a trained adapter uses",
        "functional rank at q = 0.9 of the largest adapter",
        functional_ratio,
    ),
    RatioClaim(
        "reasoning has a 2-3 times lower count of singular values above a thousandth of the largest",
        f"{PAPER}: its own effective rank",
        f"paper's count {COUNT} of the largest adapter",
        count_ratio,
    ),
)


def ratios_at(measure: Measure, evidence: Evidence, pairs: dict[str, Pair], level: float) -> dict[str, Ratio]:
    """The ratio under every condition."""
    return {
        place: Ratio(untold=why)
        if (why := unmatched(pair) or incomparable_words(pair))
        else measure(evidence, pair, level)
        for place, pair in pairs.items()
    }


def ratio_verdict(ratios: dict[str, Ratio]) -> tuple[str, str]:
    """Verdict, and the placement that decides, by RATIO_RULE; seeds, the repeat and Holm aside."""
    primary = next((place for place in PRIMARY if place in ratios and not ratios[place].untold), "")
    if not primary:
        return "undecided", ""
    stand = ratios[primary].stand
    others = [ratio.stand for place, ratio in ratios.items() if place != primary and not ratio.untold]
    if stand == "favours" and "contradicts" not in others and 2 * others.count("favours") >= len(others):
        return "supported", primary
    if stand == "contradicts" and "favours" not in others:
        return "refuted", primary
    return "undecided", primary


def ratio_card(claim: RatioClaim, evidence: Evidence, mode: str, command: str) -> ClaimCard:
    """The card of a claim about a ratio."""
    pairs = pairs_of(evidence, mode)
    ratios = ratios_at(claim.measure, evidence, pairs, LEVEL)
    verdict, primary = ratio_verdict(ratios)
    told = "; ".join(f"{place} {ratio.words}" for place, ratio in ratios.items())
    twice = same_task_twice(claim.measure, evidence)
    n_seeds = seeds_of(pairs)
    repeat = f" The same task twice, all maps: {twice.words}." if twice else ""
    if claim.measure is functional_ratio:
        for how, cut in OTHER_CUTS.items():
            repeat += other_cut_words(evidence, pairs, how, cut)
        repeat += largest_repeat_words(evidence) + equal_rate_words(evidence)
    exceeds = " It surely exceeds 1." if primary and (ratios[primary].low or 0) > 1 else ""
    because = f"{_decider(primary)}{exceeds} Ratios by condition: {told}.{repeat}"
    doubt = repeat_doubt(twice, verdict)
    if n_seeds < MIN_SEEDS:
        verdict, because = "underpowered", f"{few_words(n_seeds)} {because}"
    elif doubt and verdict in DECIDED:
        verdict, because = "undecided", f"It would be {verdict}, but {doubt}. {because}"

    def at(level: float) -> str:
        nearer = ratios_at(claim.measure, evidence, {primary: pairs[primary]}, level)
        return ratio_verdict(ratios | nearer)[0]

    tellable = primary and not doubt and n_seeds >= MIN_SEEDS
    return ClaimCard(
        claim=claim.claim,
        source=claim.source,
        rule=RATIO_RULE.format(quantity=claim.quantity, interval=claim.interval),
        estimate=f"{claim.quantity}, HashHop / HashChain"
        + (f", {primary}: {ratios[primary].words}" if primary else ": no condition can be told"),
        verdict=verdict,
        because=because,
        limits=card_limits(evidence, mode),
        command=command,
        p_value=p_value_of(at) if tellable else None,
        power="" if verdict in DECIDED else _ratio_power(claim, evidence, pairs, ratios, primary, doubt),
    )


def _decider(primary: str) -> str:
    return f"First placement that can be told: {primary}." if primary else "No placement can be told."


def same_task_twice(measure: Measure, evidence: Evidence) -> Ratio | None:
    """The ratio of HashHop to itself with other seeds, which is 1 but for what seeds do; None where not repeated."""
    pair = repeat_pair(evidence)
    return None if pair is None else _repeat_ratio(measure, evidence, pair)


def _repeat_ratio(measure: Measure, evidence: Evidence, pair: Pair) -> Ratio:
    why = incomparable_words(pair)
    return Ratio(untold=why) if why else measure(evidence, pair, LEVEL)


OTHER_CUTS = {
    "With one budget shared among the sites by singular value": Cut(control="global"),
    f"For {100 * SHARES[1]:.0f} % of the gain": Cut(q=SHARES[1]),
}
"""How else adapters are cut, beside the claim, which asks for 90 % of the gain and the same k at every site."""


def other_cut_words(evidence: Evidence, pairs: dict[str, Pair], how: str, cut: Cut) -> str:
    """Ratios of functional ranks by another cut than the claim's; empty where no condition was cut that way."""
    measure = partial(functional_ratio, cut=cut)
    ratios, twice = ratios_at(measure, evidence, pairs, LEVEL), same_task_twice(measure, evidence)
    ratios |= {"the same task twice": twice} if twice else {}
    told = "; ".join(f"{name} {ratio.words}" for name, ratio in ratios.items() if not ratio.untold)
    return f" {how}, which decides nothing: {told}." if told else ""


def largest_repeat_words(evidence: Evidence) -> str:
    """Ratios of functional ranks of one task to itself, where its largest adapter alone was trained twice."""
    pairs = largest_repeats(evidence).items()
    told = [f"{place} {_repeat_ratio(functional_ratio, evidence, pair).words}" for place, pair in pairs]
    return f" The same task twice elsewhere, which decides nothing: {'; '.join(told)}." if told else ""


def equal_rate_words(evidence: Evidence) -> str:
    """Ratios of functional ranks where both tasks were trained at one learning rate; empty where that was not tried."""
    told = [
        f"{place} at {rate:g} {functional_ratio(evidence, pair, LEVEL).words}"
        for place, rate, pair in equal_rate_pairs(evidence)
    ]
    return f" With both tasks at one learning rate, which decides nothing: {'; '.join(told)}." if told else ""


def repeat_doubt(twice: Ratio | None, verdict: str) -> str:
    """Why the same task measured twice, or that it was not, forbids the verdict; empty where it does not."""
    if twice is None:
        return "the same task was not measured twice" if verdict == "supported" else ""
    if not holds_one(twice):
        return "the same task measured twice gives a ratio that excludes 1"
    if verdict == "supported" and (twice.high is None or twice.high >= PAPER_RANGE[0]):
        return f"the same task measured twice could differ by {PAPER_RANGE[0]:g} as well"
    return ""


def holds_one(ratio: Ratio) -> bool:
    """Whether the interval holds 1; a side that is unbounded, or a ratio that can not be told, excludes nothing."""
    return (ratio.low is None or ratio.low <= 1) and (ratio.high is None or ratio.high >= 1)


def _ratio_power(
    claim: RatioClaim, evidence: Evidence, pairs: dict[str, Pair], ratios: dict[str, Ratio], primary: str, doubt: str
) -> str:
    """What keeps the claim undecided, and what seeds could do about it."""
    if not primary:
        there = [skill for place in PRIMARY if place in pairs for skill in pairs[place]]
        sees = at_the_bar(evidence, there) if claim.measure is required_ratio else ()
        return blocked_words(f"no placement can be told{_no_contrast(ratios)}", sees, unit=FROM_THE_BAR)
    if doubt:
        return f"{blocked_words(doubt)} {primary}: {_power_at(claim, evidence, pairs[primary])}"
    stand = ratios[primary].stand
    if stand == "open":
        return _power_at(claim, evidence, pairs[primary])
    others = {place: ratio.stand for place, ratio in ratios.items() if place != primary and not ratio.untold}
    against = [place for place, other in others.items() if other not in (stand, "open")]
    if against:
        stands = "stands" if len(against) == 1 else "stand"
        why = blocked_words(f"{primary} {stand} the claim, and {' and '.join(against)} {stands} against that")
        return f"{why} {primary}: {_power_at(claim, evidence, pairs[primary])}"
    still_open = [f"{place}: {_power_at(claim, evidence, pairs[place])}" for place in others if others[place] == "open"]
    return f"{primary} {stand} the claim, but half of the other conditions would have to. {' '.join(still_open)}"


def _no_contrast(ratios: dict[str, Ratio]) -> str:
    """That a count which equals the nominal rank leaves nothing to see, whatever the number of seeds."""
    same = any(ratio.untold == EQUALS_NOMINAL for ratio in ratios.values())
    return "; a count that equals the nominal rank in every seed leaves no contrast to see" * same


def _power_at(claim: RatioClaim, evidence: Evidence, pair: Pair) -> str:
    """What more seeds could do under one condition."""
    if claim.measure is required_ratio:
        return sets_power(evidence, pair)
    if claim.measure is functional_ratio:
        low_S, high_S, _ = functional_ends(pair)
        return ratio_power(low_S, high_S, functional_item_variance(evidence, pair) or 0.0)
    ratio_S = np.divide(*(np.array(threshold_counts(skill)[1], dtype=float) for skill in pair))
    return ratio_power(ratio_S, ratio_S)
