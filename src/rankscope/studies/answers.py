"""The plain-language answer on top of a report, made from its numbers."""

from rankscope.rank.records import CalibrationRow, ClaimCard, SkillFindings


def first_look_answer(
    skills: tuple[SkillFindings, ...], claims: tuple[ClaimCard, ...], calibration: tuple[CalibrationRow, ...]
) -> tuple[str, ...]:
    """Each task's required rank, the claim, what unmatched traces say, and how far to trust it."""
    sentences = [_required_sentence(skill) for skill in skills if skill.mode == "matched" and skill.required]
    sentences += [f'"{claim.claim.capitalize()}": {claim.verdict}.' for claim in claims]
    trace = [skill for skill in skills if skill.mode == "trace"]
    if len(trace) == 2:
        sentences.append(_trace_sentence(trace[0], trace[1]))
    null = next((skill for skill in skills if skill.mode == "null" and skill.functional), None)
    if null:
        found = null.functional[0]
        sentences.append(
            f"With shuffled labels the functional rank comes out {found.median:g}"
            + (", as it must." if found.median == 0 else ", though there is nothing to learn: a warning.")
        )
    judged = [row for row in calibration if row.coverage_low is not None]
    if judged:
        held, n = sum(row.covered for row in judged), sum(row.n_judged for row in judged)
        sentences.append(f"Where the rank is known, the same procedure's 95 % sets held it in {held} of {n} repeats.")
    return tuple(sentences)


def _required_sentence(skill: SkillFindings) -> str:
    return f"{skill.name} (matched): {skill.required[0].sentence}"


def _trace_sentence(first: SkillFindings, second: SkillFindings) -> str:
    def low(skill: SkillFindings) -> tuple[str, float]:
        point = min((point for point in skill.curve if point.rank), key=lambda point: point.rank or 0)
        return point.arm, point.score.estimate

    (arm, a), (_, b) = low(first), low(second)
    return (
        f"When each task writes its own trace instead, {first.name} reaches {a:.0%} at {arm}, "
        f"{second.name} {b:.0%}; "
        "those traces differ in length and content, so this compares traces, not planning and reasoning."
    )


def calibration_answer(rows: tuple[CalibrationRow, ...]) -> tuple[str, ...]:
    """What the calibration found, a sentence per kind of truth."""
    return tuple(
        f"{row.truth}: the 95 % set held the truth in {row.covered} of {row.n_judged} judged repeats."
        if row.coverage_low is not None
        else f"{row.truth}: functional rank {row.functional_rank}."
        for row in rows
    )
