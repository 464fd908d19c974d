"""Claims of rank1 and the rules of their verdicts, fixed before any result of the study.

1. *A rank-1 adapter recovers 73 to 90 % of full fine-tuning.* On the mix, all maps, with g the gain over the base:
   `supported` when g_1 - 0.73 g_full is surely above 0 and g_1 - 0.90 g_full surely below; `refuted` when the first
   is surely below 0 or the second surely above.
2. *MLP adapters matter more than attention adapters.* Gain of rank 1 on the MLP maps alone less that on the attention
   maps alone: `supported` when surely above 0, `refuted` when surely below.
3. *What is learnt is the reasoning in the traces.* Half of g_1 less the gain of rank 1 trained on shuffled traces:
   `supported` when surely above 0, `refuted` when surely below.

Surely: the whole 95 % interval, seeds and items crossed. Fewer than five seeds: `underpowered`. A full fine-tune whose
gain is not surely above 2 points leaves claims 1 and 3 `undecided`; rates that are not tuned (`confounded`) leave all
so. P-values are corrected together by Holm.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rankscope.rank.records import ClaimCard, SkillFindings
from rankscope.stats.interval import Interval
from rankscope.studies.evidence import (
    DECIDED,
    LEVEL,
    MIN_SEEDS,
    Evidence,
    Term,
    confounded_words,
    few_words,
    p_value_of,
    points_words,
    power_words,
    seed_resolution,
)
from rankscope.studies.rank1 import ALL_MAPS, MIX

PAPER = "arXiv 2511.06739"
BAND = (0.73, 0.90)
WORTH = 0.02
"""A full fine-tune that gains less leaves nothing to recover."""
RANK_1 = "rank 1"
Judge = Callable[[float], str]


def rank1_claims(evidence: Evidence, command: str) -> tuple[ClaimCard, ...]:
    """A card per claim whose skills the study has."""
    found = {skill.name: skill for skill in evidence.skills}
    mix = found.get(f"{MIX}, {ALL_MAPS}")
    cards = []
    if mix is not None:
        cards.append(_recovery_card(evidence, mix, command))
    mlp, attention = (found.get(f"{MIX}, {place}") for place in ("MLP", "attention"))
    if mlp is not None and attention is not None:
        cards.append(_parts_card(evidence, mlp, attention, command))
    shuffled = found.get(f"{MIX}, shuffled traces")
    if mix is not None and shuffled is not None:
        cards.append(_traces_card(evidence, mix, shuffled, command))
    return tuple(cards)


def _side(interval: Interval) -> int:
    """1 where the whole interval is above 0, -1 where it is below, else 0."""
    if interval.low is not None and interval.low > 0:
        return 1
    return -1 if interval.high is not None and interval.high < 0 else 0


def _by_side(interval: Interval) -> str:
    return {1: "supported", -1: "refuted", 0: "undecided"}[_side(interval)]


def _recovery_card(evidence: Evidence, mix: SkillFindings, command: str) -> ClaimCard:
    parts: dict[float, list[Term]] = {share: [(mix, RANK_1, 1.0), (mix, "full", -share)] for share in BAND}

    def verdict_at(level: float) -> str:
        low, high = (_side(evidence.contrast_at(part, level)) for part in parts.values())
        if low > 0 and high < 0:
            return "supported"
        return "refuted" if low < 0 or high > 0 else "undecided"

    found = next((one for one in mix.recovery if one.arm == RANK_1), None)
    told = "not told" if found is None or found.ratio is None else _share(found.ratio)
    return _card(
        claim="a rank-1 adapter recovers 73 to 90 % of full fine-tuning",
        source=f"{PAPER}: 73 to 90 % of reasoning benchmarks",
        rule=(
            "With g the gain over the base on the mix: g_1 - 0.73 g_full surely above 0 and g_1 - 0.90 g_full surely "
            "below 0 supports it; the first surely below or the second surely above 0 refutes it."
        ),
        estimate=f"recovery of rank 1, all maps: {told}",
        verdict_at=verdict_at,
        skills=(mix,),
        needs_full=(evidence, mix),
        because=_scores_words(mix),
        command=command,
        measured={f"g_1 - {share} g_full": evidence.contrast_at(part, LEVEL) for share, part in parts.items()},
    )


def _parts_card(evidence: Evidence, mlp: SkillFindings, attention: SkillFindings, command: str) -> ClaimCard:
    terms: list[Term] = [(mlp, RANK_1, 1.0), (attention, RANK_1, -1.0)]
    return _card(
        claim="MLP adapters matter more than attention adapters",
        source=f"{PAPER}: adapters on MLP maps matter more",
        rule="Gain of rank 1 on MLP maps alone less that on attention maps alone: surely above 0 supports it, surely "
        "below refutes it.",
        estimate=f"difference of gains: {points_words(evidence.contrast_at(terms, LEVEL))}",
        verdict_at=lambda level: _by_side(evidence.contrast_at(terms, level)),
        skills=(mlp, attention),
        needs_full=None,
        because=f"MLP: {_scores_words(mlp)} Attention: {_scores_words(attention)}",
        command=command,
        measured={"difference of gains": evidence.contrast_at(terms, LEVEL)},
    )


def _traces_card(evidence: Evidence, mix: SkillFindings, shuffled: SkillFindings, command: str) -> ClaimCard:
    terms: list[Term] = [(mix, RANK_1, 0.5), (shuffled, RANK_1, -1.0)]
    return _card(
        claim="what a rank-1 adapter learns is the reasoning in the traces",
        source=f"{PAPER} trains no such control",
        rule="Half of the gain of rank 1 less its gain from shuffled traces: surely above 0 supports it, surely below "
        "refutes it.",
        estimate=f"half of the gain less the control's: {points_words(evidence.contrast_at(terms, LEVEL))}",
        verdict_at=lambda level: _by_side(evidence.contrast_at(terms, level)),
        skills=(mix, shuffled),
        needs_full=(evidence, mix),
        because=f"True traces: {_scores_words(mix)} Shuffled: {_scores_words(shuffled)}",
        command=command,
        measured={"half of the gain less the control's": evidence.contrast_at(terms, LEVEL)},
    )


def _card(
    claim: str,
    source: str,
    rule: str,
    estimate: str,
    verdict_at: Judge,
    skills: Sequence[SkillFindings],
    needs_full: tuple[Evidence, SkillFindings] | None,
    because: str,
    command: str,
    measured: Mapping[str, Interval],
) -> ClaimCard:
    n_seeds = min(skill.n_seeds for skill in skills)
    forbidden = _forbidden(skills, needs_full)
    verdict = verdict_at(LEVEL)
    if n_seeds < MIN_SEEDS:
        verdict, because = "underpowered", f"{few_words(n_seeds)} {because}"
    elif forbidden and verdict in DECIDED:
        verdict, because = "undecided", f"It would be {verdict}, but {forbidden}. {because}"
    decidable = n_seeds >= MIN_SEEDS and not forbidden
    return ClaimCard(
        claim=claim,
        source=source,
        rule=rule,
        estimate=estimate,
        verdict=verdict,
        because=because,
        limits=_limits(skills),
        command=command,
        p_value=p_value_of(verdict_at) if decidable else None,
        power="" if verdict in DECIDED else _power(measured),
    )


def _power(measured: Mapping[str, Interval]) -> str:
    """What the seeds could see of each contrast that decides."""
    told = [(name, found) for name, one in measured.items() if (found := seed_resolution(np.array(one.by_seed)))]
    return power_words(told) or "One seed says nothing about the spread over seeds, so not how many would decide it."


def _forbidden(skills: Sequence[SkillFindings], needs_full: tuple[Evidence, SkillFindings] | None) -> str | None:
    """What forbids a verdict though the intervals allow one."""
    if confounded := confounded_words(skills):
        return confounded
    if needs_full is None:
        return None
    evidence, mix = needs_full
    gain = evidence.gain_at(mix, "full", LEVEL)
    return None if gain.low is not None and gain.low > WORTH else "full fine-tuning gains too little to recover"


def _share(interval: Interval) -> str:
    ends = ["–" if end is None else f"{end:.0%}" for end in (interval.low, interval.high)]
    return f"{interval.estimate:.0%} [{ends[0]}, {ends[1]}]"


def _scores_words(skill: SkillFindings) -> str:
    told = ", ".join(f"{point.arm} {point.score.estimate:.1%}" for point in skill.curve)
    return f"Base {skill.base_score:.1%}, {told}."


def _limits(skills: Sequence[SkillFindings]) -> tuple[str, ...]:
    return (
        f"One base of 0.8 million parameters, five synthetic skills in equal shares, {skills[0].budget}.",
        "Scored on items without a wrong step, which can not be foreseen; training sees them in a quarter of items.",
        *(f"{skill.name}: {flag}" for skill in skills for flag in skill.flags),
    )


def rank1_answer(skills: tuple[SkillFindings, ...], claims: tuple[ClaimCard, ...]) -> tuple[str, ...]:
    """Recovery by skill, the claims, the controls."""
    by_name = {skill.name: skill for skill in skills}
    told = []
    for name, skill in by_name.items():
        found = next((one for one in skill.recovery if one.arm == RANK_1), None)
        if skill.mode == "reasoning" and found is not None and found.ratio is not None:
            told.append(f"{name} {_share(found.ratio)}")
    first = (f"Recovery of rank 1 (gain over the base, full fine-tuning is 100 %): {'; '.join(told)}.",) if told else ()
    controls = tuple(f"Control, {skill.name.partition(', ')[2]}: {_scores_words(skill)}" for skill in skills
                     if skill.mode == "control")  # fmt: skip
    return (*first, *(f'"{claim.claim[0].upper()}{claim.claim[1:]}": {claim.verdict}.' for claim in claims), *controls)
