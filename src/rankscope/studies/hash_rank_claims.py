"""Claims of hash_rank and the rules that judge them, declared before the results; what was known: docs/hash_rank.md.

A rule reads conditions: the three placements at the middle level, in the declared order of PRIMARY, and the further
levels of difficulty. Claims 1 to 3, on ratios of ranks: hash_rank_ratio_claims.py. Here are the other three, and the
cards of all six.
"""

from rankscope.rank.records import ClaimCard, SkillFindings
from rankscope.stats.interval import Interval
from rankscope.studies.claims import doubts
from rankscope.studies.evidence import (
    DECIDED,
    FROM_THE_BAR,
    LEVEL,
    MIN_SEEDS,
    STUCK,
    Evidence,
    at_the_bar,
    blocked_words,
    few_words,
    p_value_of,
    points_words,
    resolution_words,
)
from rankscope.studies.hash_rank import TWINS
from rankscope.studies.hash_rank_limits import card_limits
from rankscope.studies.hash_rank_power import low_rank_power
from rankscope.studies.hash_rank_ratio_claims import RATIO_CLAIMS, ratio_card
from rankscope.studies.hash_rank_ratios import largest_functional
from rankscope.studies.hash_rank_twins import PAPER, PRIMARY, Pair, pairs_of, score_words, seeds_of, unmatched

LOW_RANK = 8
"""Directions per map that still count as a low-rank space: a sixteenth of the width of tiny-gpt2."""
WORTH = 0.02
"""Gain that counts as an improvement: two points."""
LORA_WORDS = {"HashHop": "planning", "HashChain": "reasoning"}
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
    power = blocked_words("placements are missing")
    if card.power:
        power = f"{power} Of what was trained alone: {card.power}"
    if card.verdict not in DECIDED:
        return card.override(because=f"{part} {card.because}", p_value=None, power=power)
    because = f"By what was trained it would be {card.verdict}. {part} {card.because}"
    return card.override(verdict="undecided", because=because, p_value=None, power=power)


def low_rank_card(evidence: Evidence, mode: str, command: str) -> ClaimCard:
    """`reasoning lives in low-rank spaces`."""
    pairs = pairs_of(evidence, mode)
    told = [place for place in PRIMARY if place in pairs and not _untold(pairs[place])]
    n_seeds = pairs[told[0]][1].n_seeds if told else seeds_of(pairs)

    def at(level: float) -> str:
        return low_rank_verdict(evidence, pairs[told[0]][1], level) if told else "undecided"

    verdict = at(LEVEL)
    if told:
        planning, reasoning = pairs[told[0]]
        estimate = f"{told[0]}: {_rank_words(reasoning)}"
        because = f"HashHop in the same place: {_rank_words(planning)}."
        power = low_rank_power(evidence, reasoning, LOW_RANK)
    else:
        estimate = "no placement can be told"
        reasoning_there = [pairs[place][1] for place in PRIMARY if place in pairs]
        power = blocked_words(estimate, at_the_bar(evidence, reasoning_there), unit=FROM_THE_BAR)
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
        limits=card_limits(evidence, mode),
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
        limits=card_limits(evidence, mode),
        command=command,
        p_value=None if few or why else p_value_of(at),
        power="" if verdict in DECIDED else _lora_power(evidence, skill, arm, why),
    )


def _lora_power(evidence: Evidence, skill: SkillFindings, arm: str, why: str) -> str:
    found = evidence.contrast_power([(skill, arm, 1.0)], beyond=WORTH) if skill.point(arm) else None
    measured = f"Measured from {100 * WORTH:.0f} points"
    if why:
        return blocked_words(why, [(measured, found)])
    return "" if found is None else f"{measured}: {resolution_words(found, 100, 'points')}"


def lora_verdict(gain: Interval) -> str:
    """By LORA_RULE, seeds and Holm aside."""
    if gain.low is not None and gain.low > WORTH:
        return "supported"
    return "refuted" if gain.high is not None and gain.high < WORTH else "undecided"
