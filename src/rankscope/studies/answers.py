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
    planted = [row for row in calibration if row.truth.startswith("planted")]
    if planted:
        held, judged, n = (sum(getattr(row, name) for row in planted) for name in ("covered", "n_judged", "n_repeats"))
        left = f" ({n - judged} of {n} repeats could not be judged)" if judged < n else ""
        sentences.append(
            f"Where the rank is known, the same procedure's 95 % sets held it in {held} of {judged} repeats{left}."
        )
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
    return tuple(sentence[0].upper() + sentence[1:] for row in rows for sentence in (_calibration_sentence(row),))


def _calibration_sentence(row: CalibrationRow) -> str:
    if not row.truth.startswith("planted"):
        return f"{row.truth}: functional rank {row.functional_rank}."
    if not row.n_judged:
        return f"{row.truth}: none of {row.n_repeats} repeats could be judged. {row.note}"
    left = row.n_repeats - row.n_judged
    unjudged = f"; {left} more could not be judged" if left else ""
    return f"{row.truth}: the 95 % set held the truth in {row.covered} of {row.n_judged} repeats{unjudged}."
