"""Learning rates: every arm gets the same grid around its start, extended while the best is at an edge."""

import polars as pl

from rankscope.lm.bases import load_base
from rankscope.studies.findings import primary_column
from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.progress import say
from rankscope.studies.rates import RateScore, RateTable, best_rate, next_edge, rounded, settings_hash, write_rates
from rankscope.studies.stages import Sitting, cell_job, read_cell_tables, skill_tags, train_stage, write_tables
from rankscope.train.cell import ArmSpec

GRID = (0.5, 1.0, 2.0)
"""Multiples of the starting rate that every arm tries."""
AT_EACH = f"At {len(GRID)} learning rates each"
MOST_ROUNDS = 3
"""The first grid and up to two extensions of a factor 2."""
RATES_FILE = "records/rates.json"


def run_tuning(plan: StudyPlan, sitting: Sitting, most_rounds: int = MOST_ROUNDS) -> None:
    """Trains the grid on tuning seeds, extends it where the best rate is at an edge, and writes the table of rates.

    `most_rounds`: the first grid and up to so many extensions less one.
    """
    scores: dict[str, dict[str, RateScore]] = {}
    wanted = {name: {rounded(rate * factor) for factor in GRID} for name, rate in plan.rates.items()}
    for _ in range(most_rounds):
        for column in _columns(wanted):
            _try_rates(plan, column, sitting, scores)
        wanted = {name: {edge} for name, tried in scores.items() if (edge := next_edge(tried)) is not None}
        if not wanted:
            break
    open_edges = sorted(name for name, tried in scores.items() if next_edge(tried) is not None)
    if open_edges:
        say(f"Still best at an edge after {most_rounds} rounds: {', '.join(open_edges)}")
    base = load_base(plan.base)
    table = RateTable(
        study=plan.study,
        base=plan.base,
        settings={skill.key: settings_hash(base.content_hash, skill) for skill in plan.skills},
        rates={name: best for name, tried in scores.items() if (best := best_rate(tried)) is not None},
        scores=scores,
        tuning_seeds=tuple(sorted({seed for skill in plan.skills for seed in skill.seeds})),
        n_validation=max(skill.n_validation for skill in plan.skills),
    )
    write_rates(sitting.folder / RATES_FILE, table)


def _columns(wanted: dict[str, set[float]]) -> list[dict[str, float]]:
    """Rates to try, at most one per arm at a time."""
    most = max(map(len, wanted.values()), default=0)
    return [{name: sorted(rates)[turn] for name, rates in wanted.items() if len(rates) > turn} for turn in range(most)]


def _try_rates(
    plan: StudyPlan,
    rates: dict[str, float],
    sitting: Sitting,
    scores: dict[str, dict[str, RateScore]],
) -> None:
    """Trains and scores every arm that has a rate to try; adds mean validation scores to `scores`."""
    skills = tuple(found for skill in plan.skills if (found := _only(skill, rates)) is not None)
    part = plan.model_validate(plan.model_dump() | {"skills": [s.model_dump() for s in skills], "rates": rates})
    tags = skill_tags(part)
    sound = [one for one in train_stage(part, sitting, "tuning") if not one.diverged]
    write_tables(part, [cell_job(one, "convergence", sitting.folder, tags[one.skill.key]) for one in sound], sitting)
    for skill in part.skills:
        ours = [one for one in sound if one.skill == skill]
        tables = read_cell_tables("convergence", ours, sitting.folder, tags[skill.key])
        for arm in skill.arms:
            name = rate_name(skill, arm)
            frames = [tables.get((arm.label, seed)) for seed in skill.seeds]
            scores.setdefault(name, {})[f"{rates[name]:g}"] = _validation_score(skill, frames)


def _only(skill: SkillPlan, rates: dict[str, float]) -> SkillPlan | None:
    """The skill with the arms that have a rate to try; nothing is truncated or generated while tuning."""
    arms: tuple[ArmSpec, ...] = tuple(arm for arm in skill.arms if rate_name(skill, arm) in rates)
    if not arms:
        return None
    changes = {"arms": [arm.model_dump() for arm in arms], "functional": (), "generate": False}
    return skill.model_validate(skill.model_dump() | changes)


def _validation_score(skill: SkillPlan, frames: list[pl.DataFrame | None]) -> RateScore:
    """Mean final scores over tuning seeds; nothing where a cell diverged."""
    if any(frame is None for frame in frames):
        return RateScore(primary=None, nats=None)
    finals = pl.concat(frame.filter(pl.col("step") == pl.col("step").max()) for frame in frames if frame is not None)
    primary, nats = (finals[column].cast(pl.Float64).mean() for column in (primary_column(skill), "nats"))
    return RateScore(primary=primary, nats=nats)
