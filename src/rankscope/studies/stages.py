"""The stages every study goes through: train its cells, score them, gather the tables."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rankscope.base.device import resolve_device
from rankscope.evals.score_table import SCHEMA
from rankscope.interpret.role_values import ROLE_VALUES
from rankscope.lm.bases import load_base
from rankscope.rank.functional import k_grid
from rankscope.runs.tables import read_table, write_table
from rankscope.studies.findings import SkillTables, primary_column
from rankscope.studies.plan import SkillPlan, StudyPlan
from rankscope.studies.progress import meter, minutes, say
from rankscope.studies.scoring import ScoreJob, ScoreKind, Scorer, build_scorer, items_tag
from rankscope.train.cell import ArmSpec, Cell, LoraSpec
from rankscope.train.events import Diverged, Finished, Progress
from rankscope.train.local import LocalExecutor, is_worth_timing, n_cores
from rankscope.train.pool import pool_events
from rankscope.train.training import TIMING

SCORING_SHARE = 1.25
"""Allowance for scoring and truncation on top of the training steps; an estimate, not a measurement."""
RECORDS = "records"
"""Folder of a run that holds what its findings follow from."""
CELLS, SCORES, TRUNCATION, ROLES = (f"{RECORDS}/{name}.parquet" for name in ("cells", "scores", "truncation", "roles"))
SCORE_DECIMALS, CUT_DECIMALS = 4, 2
"""To which log-probabilities are kept, in nats; truncations, of which there are most, are only ever averaged, and kept
as scores are where nats are what ranks are judged by."""
_WORTH_SAYING_S = 60.0


@dataclass(frozen=True)
class Trained:
    """One cell of the study, trained."""

    skill: SkillPlan
    arm: ArmSpec
    seed: int
    cell: Cell
    key: str
    folder: Path
    diverged: bool
    executor: str
    """What trained it: `reference`, `loop` or `packed`."""


class Sitting:
    """A run folder being worked on: where, on what device, and what trains."""

    def __init__(self, folder: Path, device: str = "auto", workers: int = 0) -> None:
        """With 0 workers the machine is filled as it is fastest."""
        self.folder, self.device = folder, device
        self.n_scorers = resolve_workers(workers, device)
        self.executor = LocalExecutor(
            folder / "cells", device=device, workers=workers or "auto", n_threads=1 if workers else "auto"
        )


def tell_cost(cells: Sequence[Cell], sitting: Sitting, at_least: int = 1, how: str = "") -> None:
    """Says how the cells will be trained and about how long it will take, from a few real steps of each shape.

    `at_least`: how often all of them will be trained, or more, which `how` says in words.
    """
    if not is_worth_timing(cells):
        return
    work = sitting.executor.plan(cells)
    total_s = sitting.executor.estimate_seconds(work) * SCORING_SHARE * at_least
    if total_s > _WORTH_SAYING_S:
        say(work.describe())
        about = f"{how}, at least" if how else "About"
        say(f"{about} {minutes(total_s)}. Stopped at any point, the same command goes on.")


def threads_of(trained: Trained) -> str:
    """Threads that the cell was trained with, as its folder tells."""
    try:
        return str(json.loads((trained.folder / TIMING).read_text(encoding="utf-8"))["n_threads"])
    except (OSError, ValueError, KeyError):
        return "unknown"


def train_stage(plan: StudyPlan, sitting: Sitting, label: str = "training") -> list[Trained]:
    """Trains what is not yet trained and returns every cell of the plan."""
    listed = list(plan.cells())
    ends: dict[Cell, Finished | Diverged] = {}
    steps: dict[str, int] = {}
    total = sum(cell.budget.n_steps for cell in {cell for *_, cell in listed})
    with meter(label, total) as bar:
        for event in sitting.executor.train([cell for *_, cell in listed]):
            if isinstance(event, Progress):
                bar.advance(event.step - steps.get(event.key, 0))
                steps[event.key] = event.step
            else:
                ends[event.cell] = event
                rest = event.cell.budget.n_steps - steps.get(event.key, 0)
                bar.advance(rest, was_found=isinstance(event, Finished) and event.was_cached)
    return [
        Trained(skill, arm, seed, cell, end.key, end.folder, isinstance(end, Diverged), end.executor)
        for skill, arm, seed, cell in listed
        for end in (ends[cell],)
    ]


def score_stage(plan: StudyPlan, trained: Sequence[Trained], sitting: Sitting) -> None:
    """Writes every table of the plan that is not there yet."""
    write_tables(plan, score_jobs(plan, trained, sitting.folder, skill_tags(plan)), sitting)


def write_tables(plan: StudyPlan, jobs: Sequence[ScoreJob], sitting: Sitting) -> None:
    """Does the jobs whose table is not there yet, several at a time."""
    missing = [job for job in jobs if not job.out.exists()]
    if not missing:
        return
    build = functools.partial(build_scorer, plan.base, str(resolve_device(sitting.device)))
    n_scorers = sitting.n_scorers
    with meter("scoring", len(missing)) as bar:
        for _ in pool_events(build, missing, n_scorers) if n_scorers > 1 else _here(build(), missing):
            bar.advance(1)


def _here(scorer: Scorer, jobs: Sequence[ScoreJob]) -> Iterator[Path]:
    for job in jobs:
        yield from scorer(job)


def skill_tags(plan: StudyPlan) -> dict[str, str]:
    """Skill -> tag of its base and items, which names the folder of its tables."""
    base = load_base(plan.base)
    return {skill.key: items_tag(base, skill) for skill in plan.skills}


def score_jobs(plan: StudyPlan, trained: Sequence[Trained], folder: Path, tags: dict[str, str]) -> list[ScoreJob]:
    """Every table that the plan's findings need, the long ones first."""
    jobs = [cell_job(one, kind, folder, tags[one.skill.key]) for one in trained for kind in _kinds(one)]
    once = {
        job.out: job for job in (*jobs, *_base_jobs(plan, folder, tags))
    }  # skills that share a training share its tables
    return sorted(once.values(), key=lambda job: job.kind != "truncation")


def _base_jobs(plan: StudyPlan, folder: Path, tags: dict[str, str]) -> list[ScoreJob]:
    return [ScoreJob("base", skill, _table(folder, tags[skill.key], "base", "base")) for skill in plan.skills]


def base_tables(plan: StudyPlan, sitting: Sitting) -> dict[str, pl.DataFrame]:
    """Scores of the base on every skill's items, written where they are not there yet."""
    tags = skill_tags(plan)
    jobs = _base_jobs(plan, sitting.folder, tags)
    write_tables(plan, jobs, sitting)
    return {job.skill.key: read_table(job.out, SCHEMA) for job in jobs}


def cell_job(one: Trained, kind: ScoreKind, folder: Path, tag: str) -> ScoreJob:
    """The job that writes one kind of table for one trained cell."""
    return ScoreJob(
        kind=kind,
        skill=one.skill,
        out=_cell_table(folder, tag, kind, one),
        cell=one.key,
        folder=one.folder,
        seed=one.seed,
        n_steps=one.cell.budget.n_steps,
    )


def _kinds(one: Trained) -> tuple[ScoreKind, ...]:
    if one.diverged:
        return ()
    extra: tuple[tuple[ScoreKind, bool], ...] = (("truncation", is_truncated(one)), ("roles", is_read(one)))
    return ("test", "convergence", *(kind for kind, wanted in extra if wanted))


def _table(folder: Path, tag: str, kind: str, key: str) -> Path:
    return folder / "tables" / tag / kind / f"{key}.parquet"


def _cell_table(folder: Path, tag: str, kind: ScoreKind, one: Trained) -> Path:
    """Truncations by budgets and controls too, roles by the number of items: others make other tables."""
    if kind == "truncation" and isinstance(one.arm, LoraSpec):
        how = f"{len(k_grid(one.arm.rank))}-{'+'.join(one.skill.controls)}"
        return _table(folder, tag, f"{kind}-{how}", one.key)
    if kind == "roles":
        return _table(folder, tag, f"{kind}-{one.skill.n_read}", one.key)
    return _table(folder, tag, kind, one.key)


def read_cell_tables(
    kind: ScoreKind, wanted: Sequence[Trained], folder: Path, tag: str
) -> dict[tuple[str, int], pl.DataFrame]:
    """Tables of one kind by (arm, seed), checked against their schema. Raises BadFile when one is missing."""
    schemas = {"truncation": {"control": pl.String, "item": pl.Int64}, "roles": ROLE_VALUES}
    schema = schemas.get(kind, SCHEMA)
    return {(one.arm.label, one.seed): read_table(_cell_table(folder, tag, kind, one), schema) for one in wanted}


def read_tables(skill: SkillPlan, trained: Sequence[Trained], folder: Path, tag: str) -> SkillTables:
    """The tables of one skill. Raises BadFile when one is missing."""
    mine = [one for one in trained if one.skill == skill and not one.diverged]
    return SkillTables(
        base=read_table(_table(folder, tag, "base", "base"), SCHEMA),
        test=read_cell_tables("test", mine, folder, tag),
        convergence=read_cell_tables("convergence", mine, folder, tag),
        truncation=read_cell_tables("truncation", [one for one in mine if is_truncated(one)], folder, tag),
        roles=read_cell_tables("roles", [one for one in mine if is_read(one)], folder, tag),
        folders={(one.arm.label, one.seed): one.folder for one in mine},
        keys={(one.arm.label, one.seed): one.key for one in mine},
    )


def is_truncated(one: Trained) -> bool:
    """Whether the plan asks for the cell's functional rank."""
    return isinstance(one.arm, LoraSpec) and one.arm.rank in one.skill.functional


def is_read(one: Trained) -> bool:
    """Whether the plan asks what the cell's directions tell of roles."""
    return isinstance(one.arm, LoraSpec) and one.arm.rank in one.skill.read


def write_records(
    plan: StudyPlan,
    trained: Sequence[Trained],
    kept: Sequence[pl.DataFrame],
    tables: dict[str, SkillTables],
    folder: Path,
) -> None:
    """Gathers what others may want to compute again: `cells`, `scores`, `truncation`, `roles` as one Parquet file each.

    Truncations are listed by training alone, so those that two skills share are listed once.

    `kept`: rows of trainings that are taken from earlier runs. Log-probabilities are rounded, which moves no mean that
    is shown and makes the files a third as large.
    """
    cells = [pl.DataFrame(_cell_rows(trained), infer_schema_length=None)] if trained else []
    write_table(folder / CELLS, pl.concat([*cells, *kept], how="diagonal_relaxed"))
    scores = [
        frame.with_columns(pl.lit(key).alias("skill"))
        for key, found in tables.items()
        for frame in (found.base, *found.test.values())
    ]
    write_table(folder / SCORES, _rounded(pl.concat(scores, how="diagonal"), SCORE_DECIMALS))
    cuts = [
        _rounded(frame, SCORE_DECIMALS if primary_column(skill) == "nats" else CUT_DECIMALS)
        for skill in plan.skills
        for frame in tables[skill.key].truncation.values()
    ]
    if cuts:
        write_table(folder / TRUNCATION, pl.concat(cuts, how="diagonal").unique(maintain_order=True))
    read = [frame for found in tables.values() for frame in found.roles.values()]
    if read:
        write_table(folder / ROLES, pl.concat(read))


def _cell_rows(trained: Sequence[Trained]) -> list[dict[str, object]]:
    return [
        {
            "cell": one.key,
            "mode": one.skill.mode,
            "skill": one.skill.name,
            "task": one.cell.task,
            "arm": one.arm.label,
            "rank": one.arm.rank if isinstance(one.arm, LoraSpec) else None,
            "lr": one.cell.optimiser.lr,
            "seed": one.seed,
            "n_steps": one.cell.budget.n_steps,
            "precision": one.cell.precision,
            "diverged": one.diverged,
        }
        for one in trained
    ]


def _rounded(frame: pl.DataFrame, decimals: int) -> pl.DataFrame:
    return frame.with_columns(pl.col("nats", "answer_nats", "margin").round(decimals))


def resolve_workers(workers: int, device: str) -> int:
    """0 fills the cores; on an accelerator, one process at a time."""
    if workers:
        return workers
    return n_cores() if str(resolve_device(device)) == "cpu" else 1
