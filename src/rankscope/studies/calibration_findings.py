"""Calibration rows from the planted skills of a study: the oracle's truth beside the procedure's sets."""

import numpy as np

from rankscope.adapters.attach import attached
from rankscope.adapters.planted import oracle_truncation, second_moments, teacher_of
from rankscope.evals.teacher_forced import score_teacher_forced
from rankscope.lm.bases import Base
from rankscope.rank.calibration import Repeat, calibration_row, null_row, oracle_rank, trained_truth
from rankscope.rank.records import CalibrationRow, SkillFindings
from rankscope.studies.plan import SkillPlan, StudyPlan
from rankscope.studies.scoring import items_to_test, planted_teacher
from rankscope.tasks.catalog import split_name
from rankscope.tasks.planted import teacher_knobs
from rankscope.tasks.planted_spec import PlantedSpec


def calibration_rows(plan: StudyPlan, base: Base, found: dict[str, SkillFindings]) -> tuple[CalibrationRow, ...]:
    """A row per planted rank, then the null."""
    by_rank: dict[int, list[Repeat]] = {}
    for skill in plan.skills:
        if skill.mode == "planted":
            repeat = _repeat(base, skill, found[skill.key])
            by_rank.setdefault(repeat.k, []).append(repeat)
    rows = [calibration_row(repeats, _largest(plan)) for _, repeats in sorted(by_rank.items())]
    nulls = [found[skill.key] for skill in plan.skills if skill.mode == "null"]
    return (*rows, *(null_row(null.functional[0]) for null in nulls if null.functional))


def _largest(plan: StudyPlan) -> int:
    return max(arm.rank for skill in plan.skills if skill.mode == "planted" for arm in skill.lora_arms)


def planted_k(skill: SkillPlan) -> int:
    """The rank that a planted skill was planted with."""
    return PlantedSpec.parse(teacher_knobs(split_name(skill.task)[1])).k


def _repeat(base: Base, skill: SkillPlan, found: SkillFindings) -> Repeat:
    gains = oracle_gains(base, skill)
    exact = gains[max(gains)]
    required = found.required[0]
    dense = next(point for point in found.curve if point.arm == "dense")
    return Repeat(
        k=planted_k(skill),
        truth=trained_truth(oracle_rank(gains, exact, required.q), list(required.by_rank)),
        dense_share=dense.gain.estimate / exact,
        required=required,
        functional=found.functional[0],
    )


def oracle_gains(base: Base, skill: SkillPlan) -> dict[int, float]:
    """Rank r -> gain, in nats, of the planted update cut to its best r directions, on the skill's test items."""
    items = items_to_test(base, skill)
    teacher = planted_teacher(base, items)
    update = teacher_of(base, skill.task)
    assert update is not None
    moments = second_moments(base.model, list(update), items.tokens_NT, items.n_tokens_N)
    untouched = float(np.mean(score_teacher_forced(base.model, items, teacher=teacher)["nats"].to_numpy()))
    gains = {0: 0.0}
    for r in range(1, planted_k(skill) + 1):
        with attached(base.model, oracle_truncation(update, r, moments)):
            gains[r] = float(np.mean(score_teacher_forced(base.model, items, teacher=teacher)["nats"].to_numpy()))
        gains[r] -= untouched
    return gains
