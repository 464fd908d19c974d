"""Sentences made from findings; every number and every direction in them comes from the records."""

from collections.abc import Sequence

import numpy as np

from rankscope.rank.records import (
    ClaimCard,
    CurvePoint,
    RateMap,
    RequiredRank,
    Resolution,
    SkillFindings,
    StudyFindings,
)
from rankscope.report.formats import (
    DASH,
    VERDICT_TONES,
    by_mode,
    functional_text,
    is_share,
    listing,
    ordered,
    percent,
    plain,
    plural,
    rank_set,
    score_format,
    size_text,
    skill_label,
    span_text,
    unit,
    with_span,
)
from rankscope.report.parts import Claim, Tile
from rankscope.report.rank_tables import largest_functional_arm

FEW_SEEDS = 5
MOST_NAMED = 6
"""More skills than this are counted, not listed."""
SETTLED = ("estimated", "censored below", "not reached")
"""Verdicts whose set says where the required rank lies, so that two sets may be compared."""
ASKS_RECOVERY = "reasoning"
"""The mode of skills that are asked how much of full fine-tuning an adapter recovers, before what rank they need."""
ASKED_PATH = "asked=path"
"""The knob in a task's name that has each skill write the path it was asked for before its answer."""
BESIDE = ("null", "control", "planted", "one rate", "swapped rate", "longer")
"""Modes of skills that are there for what they say of others."""
MODE_NOTES = {
    "matched": "Matched: both skills first write the same chains, then each what its own query asks for.",
    "direct": "Direct: the answer alone, without a trace.",
    "reasoning": "Reasoning: traces over five skills; scores are of items without a wrong step, trained or not.",
    "own": "Own: a skill by itself, each arm at a learning rate of its own tuning.",
    "trace": "Trace (descriptive): each skill writes its own trace, which differs in length and content.",
    "planted": "Planted: the rank of the update to be learnt is known.",
    "relabel": "Relabel: one-hop lookup whose answers a permutation exchanges; its rank can be turned up at will.",
    "control": "Control: what is known beforehand, or trained on what lacks the thing asked for, put through the same "
    "procedure.",
    "difficulty": "Difficulty: base and full fine-tuning alone, to choose levels at which the skills can be compared.",
    "one rate": "One rate: ranks trained once more, all at one learning rate, to see what it says of the rank needed.",
    "swapped rate": "Swapped rate: the largest adapter of each task, trained once more at the other task's rate.",
    "longer": "Longer: some ranks and dense, trained once more for twice the steps, to see what that does to the need.",
    "null": "Null: labels are shuffled, so there is nothing to learn but the format.",
}


def writes_asked_path(*skills: SkillFindings) -> bool:
    """True when any of the skills writes its asked path between the shared chains and its answer."""
    return any(ASKED_PATH in skill.task for skill in skills)


def mode_note(mode: str, *skills: SkillFindings) -> str:
    """What a mode compares, in one sentence; the skills, when given, say what they write after matched chains."""
    if mode != "matched" or not skills:
        return MODE_NOTES.get(mode, mode)
    if writes_asked_path(*skills):
        return (
            "Matched: both skills write the same chains; after them each writes its own asked path, which differs in "
            "content and may differ in length, and then the answer."
        )
    return "Matched: both skills write the same trace, so only the query and the answer differ."


def size_lines(findings: StudyFindings) -> tuple[str, ...]:
    """Seeds, items and budget of the run; each distinct size once, with the skills it holds for."""
    sizes: dict[str, list[SkillFindings]] = {}
    for skill in ordered(findings.skills):
        sizes.setdefault(f"{size_text(skill)}; {skill.budget}", []).append(skill)
    if len(sizes) == 1:
        return (f"Every skill: {next(iter(sizes))}.",)
    return tuple(f"{skills_phrase(skills)}: {size}." for size, skills in sizes.items())


def skills_phrase(skills: Sequence[SkillFindings]) -> str:
    """The skills by name, or how many of each mode where they are many."""
    if len(skills) <= MOST_NAMED:
        return listing([skill_label(skill) for skill in skills])
    modes = [skill.mode for skill in skills]
    return listing([f"{modes.count(mode)} skills of mode {mode}" for mode in dict.fromkeys(modes)])


def honesty_line(findings: StudyFindings) -> str:
    """What the size of the run allows to be said; skills that are only described count when no other was tested."""
    tested = [skill for skill in findings.skills if skill.mode not in (*BESIDE, "relabel")] or list(findings.skills)
    claimed = [skill for skill in tested if not skill.descriptive] or tested
    fewest = min((skill.n_seeds for skill in claimed), default=0)
    if fewest < FEW_SEEDS:
        return (
            f"With as few as {plural(fewest, 'seed')} this run describes and does not decide: below {FEW_SEEDS} "
            "seeds no verdict is final, and the figures show each seed as its own point."
        )
    described = min(skill.n_seeds for skill in tested)
    rest = (
        f" Skills that are only described have as few as {plural(described, 'seed')} and decide nothing."
        if described < FEW_SEEDS
        else ""
    )
    return (
        f"At least {plural(fewest, 'seed')} per skill tested, so intervals include the spread over seeds as well as "
        f"over items.{rest}"
    )


def find_required(skill: SkillFindings, q: float = 0.9) -> RequiredRank | None:
    """The required rank at q, else at the first q recorded."""
    return next((r for r in skill.required if r.q == q), skill.required[0] if skill.required else None)


def key_tile(skill: SkillFindings) -> Tile:
    """Required rank of one skill as a key number, with functional rank and run size below; else what was recovered."""
    required = find_required(skill)
    if skill.recovery and (required is None or skill.mode == ASKS_RECOVERY):
        return recovery_tile(skill)
    if required is None:
        return Tile(skill_label(skill), DASH, "required rank", "not asked", "", functional_lines(skill))
    lines = (*functional_lines(skill), f"{size_text(skill)}; {skill.budget}")
    tone = VERDICT_TONES.get(required.verdict, "")
    label = f"required rank, q = {required.q:g}"
    return Tile(skill_label(skill), rank_set(required) or DASH, label, required.verdict, tone, lines, required.sentence)


def recovery_tile(skill: SkillFindings) -> Tile:
    """Recovery of the smallest adapter as a key number, with the scores that it comes from below."""
    scores = {point.arm: point for point in skill.curve}
    least = min(skill.recovery, key=lambda one: scores[one.arm].rank or np.inf)
    asked = f"% recovered by {least.arm}"
    reached = (f"{arm} {with_span(scores[arm].score, skill)}" for arm in (least.arm, "full") if arm in scores)
    lines = (*reached, f"{size_text(skill)}; {skill.budget}")
    if least.ratio is None:
        return Tile(skill_label(skill), DASH, asked, "refused", "", lines, least.refused or "")
    asked = f"{asked} {span_text(least.ratio, percent)}"
    verdict = "estimated" if skill.n_seeds >= FEW_SEEDS else "underpowered"
    return Tile(skill_label(skill), percent(least.ratio.estimate), asked, verdict, VERDICT_TONES[verdict], lines)


def functional_lines(skill: SkillFindings) -> tuple[str, ...]:
    """The functional rank of the largest adapter at q = 0.9, as a tuple of at most one line."""
    arm = largest_functional_arm(skill)
    found = next((f for f in skill.functional if f.arm == arm and f.q == 0.9), None)
    text = functional_text(found) if found else None
    return (f"functional rank {text} ({arm})",) if text else ()


def key_tiles(findings: StudyFindings) -> tuple[Tile, ...]:
    """Key numbers of every skill that says something about a skill (not the null, not planted ones)."""
    return tuple(key_tile(skill) for skill in ordered(findings.skills) if skill.mode not in BESIDE)


def claim_cards(findings: StudyFindings) -> tuple[Claim, ...]:
    """The claim cards with the tone of their verdicts."""
    return tuple(
        Claim(
            c.claim,
            c.source,
            c.rule,
            c.estimate,
            c.verdict,
            VERDICT_TONES.get(c.verdict, ""),
            c.because,
            c.limits,
            c.command,
            chance_words(c),
            "" if c.verdict in ("supported", "refuted") else c.power,
        )
        for c in findings.claims
    )


def chance_words(claim: ClaimCard) -> str:
    """The smallest error at which the rule decides, before and after correction for the other claims."""
    if claim.p_value is None:
        counted = "; among the others it counts as p = 1" if claim.n_declared > 1 else ""
        return f"No level of confidence lets the rule decide{counted}." if claim.power or counted else ""
    raw_p, among = f"p = {claim.p_value:.2g}", f"after Holm's correction over {claim.n_declared} claims"
    if claim.p_holm is None or claim.n_declared == 1:
        return f"{raw_p}: the smallest error at which the rule decides; the study declares no other claim."
    return f"{raw_p}: the smallest error at which the rule decides; {among} p = {claim.p_holm:.2g}."


def comparison_paragraphs(findings: StudyFindings) -> tuple[str, ...]:
    """Why matched and unmatched traces may say opposite things, told with this study's numbers."""
    pairs = {
        mode: skills
        for mode, skills in by_mode(findings.skills).items()
        if mode in ("matched", "direct", "trace") and len(skills) == 2
    }
    if not pairs:
        return ()
    told = tuple(mode_paragraph(mode, skills[0], skills[1]) for mode, skills in pairs.items())
    return (*told, *agreement(pairs))


def mode_paragraph(mode: str, one: SkillFindings, two: SkillFindings) -> str:
    """What one design shows: both sets, the rank where the skills differ most, and which way it leans."""
    return " ".join(
        [mode_note(mode, one, two), sets_sentence(one, two), *gap_sentence(one, two), lean_sentence(one, two)]
    )


def sets_sentence(one: SkillFindings, two: SkillFindings) -> str:
    """Required rank of both skills."""
    return f"Required rank (90 % of dense's gain): {set_phrase(one)}; {set_phrase(two)}."


def set_phrase(skill: SkillFindings) -> str:
    """A skill's set and verdict."""
    required = find_required(skill)
    if required is None:
        return f"{skill.name} not asked"
    return f"{skill.name} {rank_set(required) or 'not bounded'} ({required.verdict})"


def shared_ranks(one: SkillFindings, two: SkillFindings) -> list[tuple[int, CurvePoint, CurvePoint]]:
    """Points of both skills at the ranks that both trained."""
    second = {point.rank: point for point in two.curve if point.rank is not None}
    return [(p.rank, p, second[p.rank]) for p in one.curve if p.rank is not None and p.rank in second]


def gap_sentence(one: SkillFindings, two: SkillFindings) -> tuple[str, ...]:
    """Both scores at the shared rank where they are furthest apart; nothing when no rank is shared."""
    shared = shared_ranks(one, two)
    if not shared:
        return ()
    rank, p, o = max(shared, key=lambda row: abs(row[1].score.estimate - row[2].score.estimate))
    both = f"{one.name} {with_span(p.score, one)}, {two.name} {with_span(o.score, two)}"
    return (f"They are furthest apart at rank {rank}: {both}.",)


def separated(low: CurvePoint, high: CurvePoint) -> bool:
    """True when the whole interval of `low` lies below that of `high`."""
    return low.score.high is not None and high.score.low is not None and low.score.high < high.score.low


def sets_decide(one: SkillFindings, two: SkillFindings) -> bool:
    """True when both sets were reached by a verdict that says where the required rank lies."""
    found = (find_required(one), find_required(two))
    return all(required is not None and required.verdict in SETTLED for required in found)


def easier(one: SkillFindings, two: SkillFindings) -> tuple[str | None, list[int]]:
    """The skill that needs less rank by its set, else by every rank whose intervals separate; with those ranks.

    Sets are compared only where both decide (see sets_decide).
    """
    first, second = find_required(one), find_required(two)
    if first and second and sets_decide(one, two):
        if first.high is not None and second.low is not None and first.high < second.low:
            return one.name, []
        if second.high is not None and first.low is not None and second.high < first.low:
            return two.name, []
    shared = shared_ranks(one, two)
    one_ahead = [rank for rank, p, o in shared if separated(o, p)]
    two_ahead = [rank for rank, p, o in shared if separated(p, o)]
    if bool(one_ahead) == bool(two_ahead):
        return None, []
    return (one.name, one_ahead) if one_ahead else (two.name, two_ahead)


def lean_sentence(one: SkillFindings, two: SkillFindings) -> str:
    """Which skill this design makes look easier, and on what ground."""
    name, ranks = easier(one, two)
    caveat = " With so few seeds this is a description only." if min(one.n_seeds, two.n_seeds) < FEW_SEEDS else ""
    sets = "The sets overlap" if sets_decide(one, two) else "The sets do not decide"
    if name is None:
        return f"{sets} and no rank separates the scores one way, so this design leaves the order open." + caveat
    if not ranks:
        return f"The sets do not overlap: in this design {name} needs less rank." + caveat
    where = listing([str(rank) for rank in ranks])
    return f"{sets}, but {name} scores higher wherever the intervals separate (rank {where})." + caveat


def agreement(pairs: dict[str, list[SkillFindings]]) -> tuple[str, ...]:
    """Whether matched and trace lean the same way, and why they need not."""
    if "matched" not in pairs or "trace" not in pairs:
        return ()
    matched, trace = (easier(*pairs[mode])[0] for mode in ("matched", "trace"))
    why = (
        "An unmatched trace mixes two things: how hard the skill is, and how much has to be written and how. A "
        "short trace leaves fewer decisions to get wrong, so its skill can look easier at the same rank. Matched "
        f"traces {'reduce' if writes_asked_path(*pairs['matched']) else 'remove'} that difference; claims are judged "
        "on them."
    )
    fewest = min(skill.n_seeds for mode in ("matched", "trace") for skill in pairs[mode])
    caveat = f" With as few as {plural(fewest, 'seed')} this is a description only." if fewest < FEW_SEEDS else ""
    if matched is None or trace is None:
        told = "Here at least one design leaves the order open, so the two neither agree nor disagree."
    elif matched == trace:
        told = f"Here both designs favour {matched}."
    else:
        told = f"Here they do say opposite things: matched traces favour {matched}, unmatched ones {trace}."
    return (f"{why} {told}{caveat}",)


def required_sentences(findings: StudyFindings) -> tuple[str, ...]:
    """Every required-rank verdict in plain words."""
    return tuple(
        f"{skill_label(skill)}, q = {required.q:g}: {required.sentence}{missing_seeds(required)}"
        + "".join(f" {resolution_sentence(skill, rank, found)}" for rank, found in required.resolution.items())
        for skill in ordered(findings.skills)
        for required in skill.required
    )


def missing_seeds(required: RequiredRank) -> str:
    """How many more seeds would decide it, when that is known and its sentence does not say so already."""
    if not required.seeds_missing or required.verdict == "underpowered":
        return ""
    return f" About {plural(required.seeds_missing, 'more seed')} would decide it."


def resolution_sentence(skill: SkillFindings, rank: int, found: Resolution) -> str:
    """What could be seen of an undecided rank's contrast, what was seen, and how many more seeds would decide."""
    write, of = score_format(skill), "points" if is_share(skill) else "nats"
    more = (
        "more seeds alone would not decide it"
        if found.more_seeds is None
        else f"about {plural(found.more_seeds, 'more seed')} would decide it"
    )
    return (
        f"Rank {rank} is undecided: {plural(found.n_seeds, 'seed')} see a contrast of {write(found.detectable)} {of} "
        f"with 80 % power; it was {write(found.seen)}; {more}."
    )


def score_alt(skill: SkillFindings) -> str:
    """A score curve in words, for those who can not see it."""
    points = "; ".join(f"{point.arm} {with_span(point.score, skill)}" for point in skill.curve)
    base = f"base {score_format(skill)(skill.base_score)} {unit(skill)}"
    return f"Score against rank for {skill_label(skill)}. {points}; {base}."


def rate_alt(found: RateMap) -> str:
    """A map of learning rates in words."""
    write = percent if found.is_share else plain
    told = "; ".join(
        f"{arm}: " + ", ".join(f"{one} {'diverged' if s is None else write(s)}" for one, s in by_rate.items())
        for arm, by_rate in found.scores.items()
    )
    return f"Validation score by learning rate. {told}."


def truncation_alt(skill: SkillFindings, arm: str) -> str:
    """A truncation curve (best directions) in words."""
    curve = next((f.curve for f in skill.functional if f.arm == arm and f.curve), ())
    write = score_format(skill)
    kept = "; ".join(
        f"{p.k:g}: {write(p.score.estimate)} {unit(skill)} {span_text(p.score, write)}"
        for p in curve
        if p.control == "energy"
    )
    return f"Score of {arm} of {skill_label(skill)} when cut to its k best directions per site. {kept}."


def all_flags(findings: StudyFindings) -> tuple[str, ...]:
    """Every flag once, with the skills that carry it."""
    flagged: dict[str, list[SkillFindings]] = {}
    for skill in ordered(findings.skills):
        for flag in skill.flags:
            flagged.setdefault(flag, []).append(skill)
    return tuple(f"Flagged: {flag} ({skills_phrase(skills)})." for flag, skills in flagged.items())


def all_limits(findings: StudyFindings) -> tuple[str, ...]:
    """Notes of the study and limits of its claims, each once."""
    return tuple(dict.fromkeys([*findings.notes, *(limit for claim in findings.claims for limit in claim.limits)]))
