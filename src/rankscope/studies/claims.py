"""Claim cards of first_look, by rules fixed before any result was seen."""

from rankscope.rank.records import ClaimCard, RequiredRank, SkillFindings
from rankscope.rank.required import RankRatio, rank_ratio
from rankscope.studies.evidence import (
    DECIDED,
    MIN_SEEDS,
    STUCK,
    Evidence,
    few_words,
    improved_in_most,
    incomparable_words,
    p_value_of,
    sets_power,
)
from rankscope.studies.first_look import CLAIM, RULE

PAPER_RANGE = (1.5, 4.0)


def first_look_claims(evidence: Evidence, command: str) -> tuple[ClaimCard, ...]:
    """`reasoning needs less rank than planning`, judged in matched mode; none when that was not run."""
    planning, reasoning = evidence.skill("matched", "HashHop"), evidence.skill("matched", "HashChain")
    if planning is None or reasoning is None:
        return ()
    ratio = rank_ratio(planning.required[0], reasoning.required[0])
    n_seeds = min(planning.n_seeds, reasoning.n_seeds)
    verdict, because = judge(ratio, n_seeds, planning.required[0], reasoning.required[0])
    doubt = doubts(planning, reasoning)
    if verdict in DECIDED and doubt:
        verdict, because = "undecided", f"It would be {verdict}, but {doubt}. {because}"
    card = ClaimCard(
        claim=CLAIM,
        source="arXiv 2412.00029: reasoning needs 2-3x lower rank than planning",
        rule=RULE,
        estimate=_estimate_words(ratio),
        verdict=verdict,
        because=because,
        limits=_limits(planning, reasoning),
        command=command,
        p_value=None if doubt else p_value_of(lambda level: verdict_at(evidence, planning, reasoning, level)),
        power="" if verdict in DECIDED else sets_power(evidence, (planning, reasoning)),
    )
    return (card,)


def verdict_at(evidence: Evidence, planning: SkillFindings, reasoning: SkillFindings, level: float) -> str:
    """The rule's verdict on sets of another level. What forbids a comparison at the usual level forbids it at any."""
    if any(skill.required[0].verdict in STUCK for skill in (planning, reasoning)):
        return "undecided"
    sets = [evidence.required_at(skill, level) for skill in (planning, reasoning)]
    return judge(rank_ratio(*sets), min(planning.n_seeds, reasoning.n_seeds), *sets)[0]


def judge(ratio: RankRatio, n_seeds: int, planning: RequiredRank, reasoning: RequiredRank) -> tuple[str, str]:
    """Verdict and reason from the ratio HashHop / HashChain, by RULE."""
    sets = f"HashHop: {planning.sentence} HashChain: {reasoning.sentence}"
    if n_seeds < MIN_SEEDS:
        return "underpowered", f"{few_words(n_seeds)} {sets}"
    blocked = {*STUCK, "underpowered"}
    if planning.verdict in blocked or reasoning.verdict in blocked:
        return "undecided", f"A required rank could not be told. {sets}"
    if ratio.low is not None and ratio.low > 1:
        inside = ratio.high is not None and ratio.low >= PAPER_RANGE[0] and ratio.high <= PAPER_RANGE[1]
        size = ", within the paper's 2-3 times" if inside else ", the paper's size of it undecided"
        return "supported", f"The whole ratio lies above 1{size}. {sets}"
    if ratio.high is not None and ratio.high <= 1:
        return "refuted", f"The whole ratio lies at or below 1. {sets}"
    return "undecided", f"The ratio's interval holds 1. {sets}"


def doubts(*skills: SkillFindings) -> str | None:
    """What forbids a verdict though the sets allow one: rates that are not tuned, or a failing rank still improving."""
    if confounded := incomparable_words(skills):
        return confounded
    return unsettled_words(*skills)


def unsettled_words(*skills: SkillFindings) -> str | None:
    """In which skills a failing rank was still improving; None where in none."""
    unsettled = [skill.name for skill in skills if fails_while_improving(skill)]
    return f"in {' and '.join(unsettled)} the largest rank that fails was still improving" if unsettled else None


def fails_while_improving(skill: SkillFindings) -> bool:
    """Whether the largest rank shown insufficient, on which the set's lower end rests, improved in most seeds."""
    failing = [rank for rank, found in skill.required[0].by_rank.items() if found == "insufficient"]
    point = next((point for point in skill.curve if failing and point.rank == max(failing)), None)
    return improved_in_most(skill, point)


def _estimate_words(ratio: RankRatio) -> str:
    low = "no lower bound" if ratio.low is None else f"{ratio.low:.3g}"
    high = "no upper bound" if ratio.high is None else f"{ratio.high:.3g}"
    point = "" if ratio.estimate is None else f"{ratio.estimate:.3g}, "
    return f"required rank HashHop / HashChain: {point}interval {low} to {high} (level {ratio.level:.0%})"


def _limits(planning: SkillFindings, reasoning: SkillFindings) -> tuple[str, ...]:
    return (
        f"One base of 0.8 million parameters, one map size, all maps adapted, {planning.budget}.",
        f"Full fine-tuning reaches {_full(planning)} (HashHop) and {_full(reasoning)} (HashChain).",
        "HashHop is judged on items that end at a leaf, as HashChain always does: seeing it can replace counting.",
        "HashHop asks for 1 or 2 hops; the shortest chain of HashChain has 1 to 3.",
        "Required rank is an upper bound set by this optimiser and budget: more steps may need less rank.",
        *(f"{skill.name}: {flag}" for skill in (planning, reasoning) for flag in skill.flags),
    )


def _full(skill: SkillFindings) -> str:
    point = skill.point("full")
    return "nothing, having diverged," if point is None else f"{point.score.estimate:.1%}"
