"""Claims of rank1 and the rules of their verdicts, fixed before any result of the study.

1. *A rank-1 adapter recovers 73 to 90 % of full fine-tuning.* On the mix, all maps, with g the gain in exact output
   over the base: `supported` when g_1 - 0.73 g_full is surely above 0 and g_1 - 0.90 g_full surely below; `refuted`
   when the first is surely below 0 or the second surely above.
2. *A rank-1 adapter learns more on MLP maps than on attention maps.* Gain of rank 1 trained on the MLP maps alone less
   that on the attention maps alone: `supported` when surely above 0, `refuted` when surely below.
3. *What a rank-1 adapter learns is the reasoning in the traces.* By right answers after the model's own trace, since an
   adapter that has seen the steps of other items can not write the right ones: half of g_1 less the gain of rank 1
   trained on shuffled traces with right answers. `supported` when surely above 0, `refuted` when surely below.
4. and 5. *Adapter directions are as interpretable as MLP neurons*, and *fire for reasoning-specific tokens*: by the
   rules of interpret/role_claims.py, over the rank-1 adapters of all maps.

Surely: the whole 95 % interval, seeds and items crossed. Fewer than five seeds: `underpowered`. Undecided whatever the
interval: rates that are not tuned (`confounded`); an arm of the contrast that was still improving in most seeds; an arm
that diverged in every seed; for claims 1 and 3 a full fine-tune that gains too little to recover. P-values are
corrected together by Holm.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rankscope.rank.records import ClaimCard, CurvePoint, Recovery, SkillFindings
from rankscope.stats.interval import Interval
from rankscope.studies.evidence import (
    DECIDED,
    LEVEL,
    MIN_SEEDS,
    PRIMARY,
    Evidence,
    Term,
    blocked_words,
    few_words,
    improved_in_most,
    incomparable_words,
    p_value_of,
    points_words,
    power_words,
)
from rankscope.studies.rank1 import ALL_MAPS, MIX, SHUFFLED
from rankscope.studies.role_cards import role_cards

PAPER = "arXiv 2511.06739"
BAND = (0.73, 0.90)
RANK_1 = "rank 1"
ANSWERS = "answer_correct"
Contrasts = Mapping[str, Sequence[Term]]
"""What a contrast is called -> its terms."""


@dataclass(frozen=True)
class Question:
    """A claim, the contrasts of gains that decide it, and how."""

    claim: str
    source: str
    rule: str
    contrasts: Contrasts
    verdict_of: Callable[[Sequence[Interval]], str]
    """The contrasts' intervals, in order -> verdict."""
    score: str = PRIMARY
    recovers: SkillFindings | None = None
    """The skill whose full fine-tune must gain enough to be recovered; None where none is needed."""
    limits: tuple[str, ...] = ()

    @property
    def skills(self) -> tuple[SkillFindings, ...]:
        """Every skill that it rests on, once."""
        return tuple({skill.key: skill for skill, _ in self.arms.values()}.values())

    @property
    def arms(self) -> dict[str, tuple[SkillFindings, CurvePoint | None]]:
        """`rank 1 of mix, all maps` -> its skill and what it reached, None where it diverged in every seed."""
        return {
            f"{arm} of {skill.name}": (skill, skill.point(arm))
            for terms in self.contrasts.values()
            for skill, arm, _ in terms
        }

    def intervals(self, evidence: Evidence, level: float) -> list[Interval]:
        """Every contrast at that level."""
        return [evidence.contrast_at(terms, level, self.score) for terms in self.contrasts.values()]


def rank1_claims(evidence: Evidence, command: str) -> tuple[ClaimCard, ...]:
    """A card per claim whose skills the study has."""
    found = {skill.name: skill for skill in evidence.skills}
    mix, mlp, attention, shuffled = (found.get(f"{MIX}, {place}") for place in (ALL_MAPS, "MLP", "attention", SHUFFLED))
    questions = []
    if mix is not None:
        questions.append(_recovery_question(mix))
    if mlp is not None and attention is not None:
        questions.append(_places_question(mlp, attention))
    if mix is not None and shuffled is not None:
        questions.append(_traces_question(mix, shuffled))
    cards = tuple(_card(evidence, question, command) for question in questions)
    return (*cards, *(role_cards(evidence, mix, RANK_1, command) if mix is not None else ()))


def _recovery_question(mix: SkillFindings) -> Question:
    def verdict_of(contrasts: Sequence[Interval]) -> str:
        low, high = map(_side, contrasts)
        if low > 0 and high < 0:
            return "supported"
        return "refuted" if low < 0 or high > 0 else "undecided"

    return Question(
        claim="a rank-1 adapter recovers 73 to 90 % of full fine-tuning",
        source=f"{PAPER}: 73 to 90 % of reasoning benchmarks",
        rule=(
            "With g the gain over the base on the mix: g_1 - 0.73 g_full surely above 0 and g_1 - 0.90 g_full surely "
            "below 0 supports it; the first surely below or the second surely above 0 refutes it."
        ),
        contrasts={f"g_1 - {share} g_full": [(mix, RANK_1, 1.0), (mix, "full", -share)] for share in BAND},
        verdict_of=verdict_of,
        recovers=mix,
    )


def _places_question(mlp: SkillFindings, attention: SkillFindings) -> Question:
    return Question(
        claim="a rank-1 adapter learns more on MLP maps than on attention maps",
        source=f"{PAPER} finds MLP adapters to matter more, by leaving parts of one adapter out",
        rule="Gain of rank 1 trained on MLP maps alone less that on attention maps alone: surely above 0 supports it, "
        "surely below refutes it.",
        contrasts={"difference of gains": [(mlp, RANK_1, 1.0), (attention, RANK_1, -1.0)]},
        verdict_of=lambda contrasts: _by_side(contrasts[0]),
        limits=("Each part is trained alone; on the MLP's wider maps rank 1 has a third more values to train.",),
    )


def _traces_question(mix: SkillFindings, shuffled: SkillFindings) -> Question:
    return Question(
        claim="what a rank-1 adapter learns is the reasoning in the traces",
        source=f"{PAPER} trains no such control",
        rule="By right answers after the model's own trace: half of the gain of rank 1 less its gain from traces whose "
        "steps are another item's and whose answers are right. Surely above 0 supports it, surely below refutes it.",
        contrasts={"half of the gain less the control's": [(mix, RANK_1, 0.5), (shuffled, RANK_1, -1.0)]},
        verdict_of=lambda contrasts: _by_side(contrasts[0]),
        score=ANSWERS,
        recovers=mix,
        limits=("The control trains at the rates tuned for true traces.",),
    )


def _side(interval: Interval) -> int:
    """1 where the whole interval is above 0, -1 where it is below, else 0."""
    if interval.low is not None and interval.low > 0:
        return 1
    return -1 if interval.high is not None and interval.high < 0 else 0


def _by_side(interval: Interval) -> str:
    return {1: "supported", -1: "refuted", 0: "undecided"}[_side(interval)]


def _card(evidence: Evidence, question: Question, command: str) -> ClaimCard:
    n_seeds = min(skill.n_seeds for skill in question.skills)
    lost, doubt = _lost(question), _doubt(question)
    verdict = "undecided" if lost else question.verdict_of(question.intervals(evidence, LEVEL))
    because = " ".join(
        f"{skill.name[0].upper()}{skill.name[1:]}: {_scores_words(skill, question.score)}." for skill in question.skills
    )
    if n_seeds < MIN_SEEDS:
        verdict, because = "underpowered", f"{few_words(n_seeds)} {because}"
    elif lost or (doubt and verdict in DECIDED):
        would = "" if lost else f"It would be {verdict}, but "
        verdict, because = "undecided", f"{would}{lost or doubt}. {because}"
    decidable = n_seeds >= MIN_SEEDS and not lost and not doubt

    def verdict_at(level: float) -> str:
        return question.verdict_of(question.intervals(evidence, level))

    return ClaimCard(
        claim=question.claim,
        source=question.source,
        rule=question.rule,
        estimate="not measured" if lost else _estimate(evidence, question),
        verdict=verdict,
        because=because,
        limits=_limits(question),
        command=command,
        p_value=p_value_of(verdict_at) if decidable else None,
        power="" if verdict in DECIDED else _power(evidence, question, lost or doubt),
    )


def _lost(question: Question) -> str:
    """Which trainings are missing because they diverged in every seed; empty where none is."""
    gone = [name for name, (_, point) in question.arms.items() if point is None]
    return f"{' and '.join(gone)} diverged in every seed" if gone else ""


def _doubt(question: Question) -> str:
    """What forbids a verdict though the intervals allow one; empty where nothing does."""
    if confounded := incomparable_words(question.skills):
        return confounded
    improving = [name for name, (skill, point) in question.arms.items() if improved_in_most(skill, point)]
    if improving:
        were = "was" if len(improving) == 1 else "were"
        return f"{' and '.join(improving)} {were} still improving in most seeds when the budget ended"
    refused = next((one.refused for one in question.recovers.recovery), None) if question.recovers else None
    return f"there is too little to recover ({refused})" if refused else ""


def _estimate(evidence: Evidence, question: Question) -> str:
    """The contrasts in points, after the recovery itself where that is what is asked."""
    told = [
        f"{name}: {points_words(evidence.contrast_at(terms, LEVEL, question.score))}"
        for name, terms in question.contrasts.items()
    ]
    if question.recovers is None or question.score != PRIMARY:
        return "; ".join(told)
    found = next((one.ratio for one in question.recovers.recovery if one.arm == RANK_1), None)
    return "; ".join((f"recovery of rank 1: {'not told' if found is None else _share(found)}", *told))


def _power(evidence: Evidence, question: Question, doubt: str) -> str:
    """What these seeds and items could see of each contrast that decides, or that seeds are not what is missing."""
    told = [
        (name, found)
        for name, terms in question.contrasts.items()
        if (found := evidence.contrast_power(terms, question.score))
    ]
    if doubt:
        return blocked_words(doubt, told)
    return power_words(told) or "One seed says nothing about the spread over seeds, so not how many would decide it."


def _share(interval: Interval) -> str:
    ends = ["–" if end is None else f"{end:.0%}" for end in (interval.low, interval.high)]
    return f"{interval.estimate:.0%} [{ends[0]}, {ends[1]}]"


def _scores_words(skill: SkillFindings, score: str = PRIMARY) -> str:
    """Base and every arm, by exact output or by right answers."""
    by_answer = score == ANSWERS
    base = skill.base_scores.get(ANSWERS, 0.0) if by_answer else skill.base_score
    scores = {point.arm: point.answer_correct if by_answer else point.score for point in skill.curve}
    told = ", ".join(f"{arm} {found.estimate:.1%}" for arm, found in scores.items() if found)
    return f"{'right answers' if by_answer else 'exact output'} of the base {base:.1%}, {told}"


def _limits(question: Question) -> tuple[str, ...]:
    return (
        f"One base of 0.8 million parameters, five synthetic skills in equal shares, {question.skills[0].budget}.",
        "Scored on items without a wrong step, which can not be foreseen; training sees them in a quarter of items.",
        *question.limits,
        *(f"{skill.name}: {flag}" for skill in question.skills for flag in skill.flags),
    )


def rank1_answer(skills: tuple[SkillFindings, ...], claims: tuple[ClaimCard, ...]) -> tuple[str, ...]:
    """Recovery by rank, placement and skill, the claims, the controls."""
    reasoning = {skill.name: skill for skill in skills if skill.mode == "reasoning"}
    mix = reasoning.get(f"{MIX}, {ALL_MAPS}")
    by_rank = _recoveries({one.arm: one for one in mix.recovery}) if mix else ""
    by_place, by_skill = (
        _recoveries({name: _of_rank_1(skill) for name, skill in reasoning.items() if skill is not mix and wanted(name)})
        for wanted in (lambda name: name.startswith(f"{MIX}, "), lambda name: not name.startswith(f"{MIX}, "))
    )
    told = (
        ("Recovery on the mix, all maps (gain over the base, full fine-tuning is 100 %)", by_rank),
        ("Rank 1 by placement", by_place),
        ("Rank 1 by skill", by_skill),
    )
    controls = tuple(
        f"Control, {skill.name.removeprefix(f'{MIX}, ')}: {_scores_words(skill)}; {_scores_words(skill, ANSWERS)}."
        for skill in skills
        if skill.mode == "control"
    )
    return (
        *(f"{title}: {words}." for title, words in told if words),
        *(f'"{claim.claim[0].upper()}{claim.claim[1:]}": {claim.verdict}.' for claim in claims),
        *controls,
    )


def _of_rank_1(skill: SkillFindings) -> Recovery | None:
    return next((one for one in skill.recovery if one.arm == RANK_1), None)


def _recoveries(found: Mapping[str, Recovery | None]) -> str:
    """`rank 1 20% [7%, 33%], ...` of those that could be told."""
    told = {name.removeprefix(f"{MIX}, ").removesuffix(f", {ALL_MAPS}"): one for name, one in found.items()}
    return ", ".join(f"{name} {_share(one.ratio)}" for name, one in told.items() if one and one.ratio)
