"""Claims of hash_rank and the rules that judge them, declared before the results; later changes: docs/hash_rank.md.

A rule reads conditions: the three placements at the middle level, in the declared order of PRIMARY, and the further
levels of difficulty. The first placement that can be told decides, at the level of its confidence set, so a verdict has
the error of one set; the other conditions can only veto it.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from rankscope.rank.records import ClaimCard, SkillFindings
from rankscope.stats.interval import Interval
from rankscope.studies.claims import PAPER_RANGE, doubts
from rankscope.studies.evidence import (
    DECIDED,
    LEVEL,
    MIN_SEEDS,
    STUCK,
    Evidence,
    few_words,
    incomparable_words,
    p_value_of,
    points_words,
    resolution_words,
    sets_power,
)
from rankscope.studies.hash_rank import TWINS
from rankscope.studies.hash_rank_power import low_rank_power, ratio_power
from rankscope.studies.hash_rank_ratios import (
    COUNT,
    Measure,
    Ratio,
    count_ratio,
    functional_ends,
    functional_item_variance,
    functional_ratio,
    largest_functional,
    required_ratio,
    threshold_counts,
)
from rankscope.studies.hash_rank_twins import (
    PRIMARY,
    Pair,
    equal_rate_pair,
    pairs_of,
    repeat_pair,
    score_words,
    unmatched,
)

PAPER = "arXiv 2412.00029"
LOW_RANK = 8
"""Directions per map that still count as a low-rank space: a sixteenth of the width of tiny-gpt2."""
WORTH = 0.02
"""Gain that counts as an improvement: two points."""
RATIO_RULE = (
    "Ratio HashHop over HashChain of the {quantity}, in one mode, at three placements (c_proj as in the paper, all "
    "maps, attention) and at every level of difficulty that qualifies (base at most 40 %, full at least 90 %, twins "
    "within 3 points), as {interval}. A condition favours the claim when its whole interval lies within 1.5 to 4, "
    "and contradicts it when it lies wholly below 1.5. The first placement that can be told, in that order, decides: "
    "supported when it favours, no other condition contradicts and at least half of the others favour too; refuted "
    "when it contradicts and no other favours; undecided otherwise, and always when the same task measured twice gives "
    "a ratio whose interval excludes 1, or (for the paper's count) when shuffled labels give half to twice the count. "
    "Supported only if that repeat's interval lies below 1.5, so that it could have told the two apart. "
    "Not told: where learning rates were not tuned, precisions or largest ranks differ, a required rank is not "
    "estimated or fewer than two ranks were trained, an adapter has no gain, or none on some draw of items. "
    "Underpowered below five seeds. The verdict must survive Holm's correction over the claims of the study."
)
LOW_RANK_RULE = (
    "Required rank at q = 0.9 of HashChain, 95 % set, in the first placement that can be told (c_proj, all maps, "
    "attention), at a level that qualifies. Supported when the whole set, and the functional rank of the largest "
    f"adapter in every seed, are at most {LOW_RANK}; refuted when the whole set lies above {LOW_RANK}; undecided "
    "otherwise. Underpowered below five seeds. Holm's correction as for the other claims. What holds of HashHop too is "
    "no mark of reasoning, and is said beside it."
)
LORA_RULE = (
    "Gain over the base of the adapter of largest rank, in the paper's placement (c_proj; all maps in direct mode), "
    "95 % interval over seeds and items. Supported when all of it lies above 2 points, refuted when all of it lies "
    "below; undecided otherwise, and where the level does not qualify. Underpowered below five seeds. Holm's "
    "correction as for the other claims. The rank is fixed beforehand; the best of several is never taken."
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


def hash_rank_claims(evidence: Evidence, command: str) -> tuple[ClaimCard, ...]:
    """A card per declared claim, in matched mode or in the direct form's; none in the pilot of difficulty.

    Nor where no placement has both twins, as while `dense` has diverged in every seed of one of them.
    """
    found = {mode: pairs_of(evidence, mode) for mode in ("matched", "direct")}
    mode = next((mode for mode, pairs in found.items() if any(place in pairs for place in PRIMARY)), None)
    if mode is None:
        return ()
    cards = (
        *(ratio_card(claim, evidence, mode, command) for claim in RATIO_CLAIMS),
        low_rank_card(evidence, mode, command),
        *(lora_card(evidence, mode, name, word, command) for name, word in LORA_WORDS.items()),
    )
    missing = [place for place in PRIMARY if place not in found[mode]] if mode == "matched" else []
    return tuple(in_part(card, _missing_words(evidence, missing)) for card in cards) if missing else cards


def _missing_words(evidence: Evidence, places: list[str]) -> str:
    """Which placements lack a pair: those of another form, or whose dense training diverged in every seed."""
    trained = {skill.name for skill in evidence.skills if skill.mode == "matched"}
    lost = [place for place in places if any(f"{name}, {place}" in trained for name in TWINS)]
    untrained = [place for place in places if place not in lost]
    return " ".join(
        [f"This form does not train {' and '.join(untrained)}."] * bool(untrained)
        + [f"Dense training diverged in every seed on {' and '.join(lost)}."] * bool(lost)
    )


def in_part(card: ClaimCard, missing: str) -> ClaimCard:
    """The card of a form that has some placements only: it tells what it found and decides nothing."""
    part = f"{missing} Without all three placements it decides nothing."
    power = "More seeds alone would not decide it: placements are missing."
    if card.power:
        power = f"{power} Of what was trained alone: {card.power}"
    if card.verdict not in DECIDED:
        return card.override(because=f"{part} {card.because}", p_value=None, power=power)
    because = f"By what was trained it would be {card.verdict}. {part} {card.because}"
    return card.override(verdict="undecided", because=because, p_value=None, power=power)


LORA_WORDS = {"HashHop": "planning", "HashChain": "reasoning"}


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
    n_seeds = min(skill.n_seeds for pair in pairs.values() for skill in pair)
    repeat = f" The same task twice, all maps: {twice.words}." if twice else ""
    if claim.measure is functional_ratio:
        repeat += shared_budget_words(evidence, pairs) + equal_rate_words(evidence)
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
        limits=_limits(evidence, mode),
        command=command,
        p_value=p_value_of(at) if tellable else None,
        power="" if verdict in DECIDED else _ratio_power(claim, evidence, pairs, ratios, primary, doubt),
    )


def _decider(primary: str) -> str:
    return f"First placement that can be told: {primary}." if primary else "No placement can be told."


def same_task_twice(measure: Measure, evidence: Evidence) -> Ratio | None:
    """The ratio of HashHop to itself with other seeds, which is 1 but for what seeds do; None where not repeated."""
    pair = repeat_pair(evidence)
    if pair is None:
        return None
    why = incomparable_words(pair)
    return Ratio(untold=why) if why else measure(evidence, pair, LEVEL)


def shared_budget_words(evidence: Evidence, pairs: dict[str, Pair]) -> str:
    """Ratios of functional ranks when sites share one budget, beside the claim, which asks for the same k in each.

    Empty where no condition was cut that way.
    """
    measure = partial(functional_ratio, control="global")
    ratios, twice = ratios_at(measure, evidence, pairs, LEVEL), same_task_twice(measure, evidence)
    ratios |= {"the same task twice": twice} if twice else {}
    told = "; ".join(f"{name} {ratio.words}" for name, ratio in ratios.items() if not ratio.untold)
    return f" With one budget shared among the sites by singular value, which decides nothing: {told}." if told else ""


def equal_rate_words(evidence: Evidence) -> str:
    """Ratios of functional ranks where both tasks were trained at one learning rate; empty where that was not tried."""
    told = []
    for one in evidence.skills:
        pair = equal_rate_pair(evidence, one)
        if pair:
            ratio = functional_ratio(evidence, pair, LEVEL)
            told.append(f"{one.name.partition(', ')[2]} at {one.curve[0].lr:g} {ratio.words}")
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
    if not primary or doubt:
        return f"More seeds alone would not decide it: {doubt or 'no placement can be told'}."
    stand = ratios[primary].stand
    if stand == "open":
        return _power_at(claim, evidence, pairs[primary])
    others = {place: ratio.stand for place, ratio in ratios.items() if place != primary and not ratio.untold}
    against = [place for place, other in others.items() if other not in (stand, "open")]
    if against:
        return (
            f"More seeds alone would not decide it: {primary} {stand} the claim, and {' and '.join(against)} "
            f"{'stands' if len(against) == 1 else 'stand'} against that."
        )
    still_open = [f"{place}: {_power_at(claim, evidence, pairs[place])}" for place in others if others[place] == "open"]
    return f"{primary} {stand} the claim, but half of the other conditions would have to. {' '.join(still_open)}"


def _power_at(claim: RatioClaim, evidence: Evidence, pair: Pair) -> str:
    """What more seeds could do under one condition."""
    if claim.measure is required_ratio:
        return sets_power(pair)
    if claim.measure is functional_ratio:
        low_S, high_S, _ = functional_ends(pair)
        return ratio_power(low_S, high_S, functional_item_variance(evidence, pair) or 0.0)
    ratio_S = np.divide(*(np.array(threshold_counts(skill)[1], dtype=float) for skill in pair))
    return ratio_power(ratio_S, ratio_S)


def low_rank_card(evidence: Evidence, mode: str, command: str) -> ClaimCard:
    """`reasoning lives in low-rank spaces`."""
    pairs = pairs_of(evidence, mode)
    told = [place for place in PRIMARY if place in pairs and not _untold(pairs[place])]
    n_seeds = min(skill.n_seeds for pair in pairs.values() for skill in pair)

    def at(level: float) -> str:
        return low_rank_verdict(evidence, pairs[told[0]][1], level) if told else "undecided"

    verdict = at(LEVEL)
    if told:
        planning, reasoning = pairs[told[0]]
        estimate = f"{told[0]}: {_rank_words(reasoning)}"
        because = f"HashHop in the same place: {_rank_words(planning)}."
        power = low_rank_power(reasoning, LOW_RANK)
    else:
        estimate, power = "no placement can be told", "More seeds alone would not decide it: no placement can be told."
        because = "; ".join(f"{place}: {_untold(pair)}" for place, pair in pairs.items() if place in PRIMARY)
    if n_seeds < MIN_SEEDS:
        verdict, because = "underpowered", f"{few_words(n_seeds)} {because}"
    return ClaimCard(
        claim="reasoning lives in low-rank spaces",
        source=f"{PAPER}: reasoning primarily operates in low-rank spaces",
        rule=LOW_RANK_RULE,
        estimate=estimate,
        verdict=verdict,
        because=because,
        limits=_limits(evidence, mode),
        command=command,
        p_value=p_value_of(at) if told and n_seeds >= MIN_SEEDS else None,
        power="" if verdict in DECIDED else power,
    )


def _untold(pair: Pair) -> str:
    """Why HashChain's required rank says nothing in a place; empty where it can be told."""
    found = pair[1].required[0].verdict
    return unmatched(pair) or (found if found in STUCK else doubts(pair[1]) or "")


def low_rank_verdict(evidence: Evidence, skill: SkillFindings, level: float) -> str:
    """By LOW_RANK_RULE, seeds and Holm aside."""
    required, functional = evidence.required_at(skill, level), largest_functional(skill)
    within = functional is not None and max(functional.by_seed) <= LOW_RANK
    if required.high is not None and required.high <= LOW_RANK and within:
        return "supported"
    below = [rank for rank in required.by_rank if required.low is not None and rank < required.low]
    return "refuted" if max(below, default=0) >= LOW_RANK else "undecided"


def _rank_words(skill: SkillFindings) -> str:
    found = largest_functional(skill)
    by_seed = "not measured" if found is None else ", ".join(map(str, found.by_seed))
    return f"{skill.required[0].sentence} Functional rank of the largest adapter by seed: {by_seed}"


def lora_card(evidence: Evidence, mode: str, name: str, word: str, command: str) -> ClaimCard:
    """`LoRA improves planning` (or reasoning) `over its base`."""
    pairs = pairs_of(evidence, mode)
    place = next(place for place in PRIMARY if place in pairs)
    skill = pairs[place][list(TWINS).index(name)]
    arm = f"rank {max(point.rank or 0 for pair in pairs.values() for one in pair for point in one.curve)}"
    dead = "" if skill.point(arm) else f"{arm} diverged in every seed"
    why = dead or unmatched(pairs[place])

    def at(level: float) -> str:
        return "undecided" if why else lora_verdict(evidence.gain_at(skill, arm, level))

    few = skill.n_seeds < MIN_SEEDS
    verdict = "underpowered" if few else at(LEVEL)
    told = [few_words(skill.n_seeds)] * few + [f"It can not be told: {why}."] * bool(why)
    scores = f"Base {skill.base_score:.1%}, {arm} {score_words(skill, arm)}, full fine-tuning"
    gain = dead or points_words(evidence.gain_at(skill, arm, LEVEL))
    return ClaimCard(
        claim=f"LoRA improves {word} over its base",
        source=f"{PAPER}: adapters raise {word} scores over the base's",
        rule=LORA_RULE,
        estimate=f"gain of {arm}, {place}: {gain}",
        verdict=verdict,
        because=" ".join([*told, f"{scores} {score_words(skill, 'full')}."]),
        limits=_limits(evidence, mode),
        command=command,
        p_value=None if few or why else p_value_of(at),
        power="" if verdict in DECIDED else _lora_power(evidence, skill, arm, why),
    )


def _lora_power(evidence: Evidence, skill: SkillFindings, arm: str, why: str) -> str:
    if why:
        return f"More seeds alone would not decide it: {why}."
    found = evidence.contrast_power([(skill, arm, 1.0)], beyond=WORTH)
    return "" if found is None else f"Measured from {100 * WORTH:.0f} points: {resolution_words(found, 100, 'points')}"


def lora_verdict(gain: Interval) -> str:
    """By LORA_RULE, seeds and Holm aside."""
    if gain.low is not None and gain.low > WORTH:
        return "supported"
    return "refuted" if gain.high is not None and gain.high < WORTH else "undecided"


def _cut_on(skill: SkillFindings) -> tuple[str, ...]:
    """On how many items functional ranks are read, where those are not all."""
    found = largest_functional(skill)
    n_items = skill.n_cut_on(found.arm) if found else skill.n_items
    return (f"Functional ranks are read on {n_items} of the {skill.n_items} test items.",) * (n_items < skill.n_items)


def _limits(evidence: Evidence, mode: str) -> tuple[str, ...]:
    some = next(pair for pair in pairs_of(evidence, mode).values())[0]
    flags = (f"{skill.name}: {flag}" for skill in evidence.skills if skill.mode == mode for flag in skill.flags)
    further = ("Learning rates of the further levels are those tuned at the middle one.",)
    return (
        f"One base that knows one-hop lookup and nothing else; {mode} mode; {some.budget}.",
        "HashHop is judged on items that end at a leaf, as HashChain always does: seeing it can replace counting.",
        *_cut_on(some),
        "Required rank is an upper bound set by this optimiser and budget: more steps may need less rank.",
        *(further if set(pairs_of(evidence, mode)) - set(PRIMARY) else ()),
        *flags,
    )
