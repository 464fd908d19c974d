"""The stages every study goes through: train its cells, score them, gather the tables."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rankscope.base.device import resolve_device
from rankscope.evals.score_table import SCHEMA
from rankscope.lm.bases import load_base
from rankscope.runs.tables import read_table, write_table
from rankscope.studies.findings import SkillTables
from rankscope.studies.plan import SkillPlan, StudyPlan
from rankscope.studies.progress import meter, minutes, say
from rankscope.studies.scoring import ScoreJob, Scorer, build_scorer
from rankscope.train.cell import ArmSpec, Cell, LoraSpec
from rankscope.train.cost import estimate_seconds, measure_step_seconds
from rankscope.train.events import Diverged, Finished, Progress
from rankscope.train.pool import pool_events
from rankscope.train.reference import ReferenceExecutor, n_cores

SCORING_SHARE = 1.25
"""Allowance for scoring and truncation on top of the training steps; an estimate, not a measurement."""
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


def tell_cost(cells: Sequence[Cell], device: str, workers: int) -> None:
    """Says about how long the cells will take, from a few real steps of each task and kind of arm."""
    seen: dict[tuple[str, str], float] = {}

    def per_step(cell: Cell) -> float:
        shape = (cell.task, cell.arm.kind)
        if shape not in seen:
            seen[shape] = measure_step_seconds(cell, str(resolve_device(device)), n_steps=2)
        return seen[shape]

    total_s = estimate_seconds(cells, per_step, workers) * SCORING_SHARE
    if total_s > _WORTH_SAYING_S:
        say(f"{len(cells)} trainings on {workers} workers: about {minutes(total_s)}.")
        say("Stopped at any point, the same command goes on.")


def train_stage(plan: StudyPlan, folder: Path, device: str, workers: int) -> list[Trained]:
    """Trains what is not yet trained and returns every cell of the plan."""
    listed = list(plan.cells())
    executor = ReferenceExecutor(folder / "cells", device=device, workers=workers)
    ends: dict[Cell, Finished | Diverged] = {}
    steps: dict[str, int] = {}
    total = sum(cell.budget.n_steps for *_, cell in listed)
    with meter("training", total) as bar:
        for event in executor.train([cell for *_, cell in listed]):
            if isinstance(event, Progress):
                bar.advance(event.step - steps.get(event.key, 0))
                steps[event.key] = event.step
            else:
                ends[event.cell] = event
                bar.advance(event.cell.budget.n_steps - steps.get(event.key, 0))
    return [
        Trained(skill, arm, seed, cell, ends[cell].key, ends[cell].folder, isinstance(ends[cell], Diverged))
        for skill, arm, seed, cell in listed
    ]


def score_stage(plan: StudyPlan, trained: Sequence[Trained], folder: Path, device: str, workers: int) -> None:
    """Writes every table that is not there yet."""
    jobs = [job for job in score_jobs(plan, trained, folder) if not job.out.exists()]
    if not jobs:
        return
    build = functools.partial(build_scorer, plan.base, str(resolve_device(device)))
    with meter("scoring", len(jobs)) as bar:
        for _ in pool_events(build, jobs, workers) if workers > 1 else _here(build(), jobs):
            bar.advance(1)


def _here(scorer: Scorer, jobs: Sequence[ScoreJob]) -> Iterator[Path]:
    for job in jobs:
        yield from scorer(job)


def score_jobs(plan: StudyPlan, trained: Sequence[Trained], folder: Path) -> list[ScoreJob]:
    """Every table that the plan's findings need, the long ones first."""
    tables = folder / "tables"
    jobs = []
    for one in trained:
        if one.diverged:
            continue
        kinds = ["test", "convergence"]
        if isinstance(one.arm, LoraSpec) and one.arm.rank in one.skill.functional:
            kinds.append("truncation")
        jobs += [
            ScoreJob(
                kind=kind,  # type: ignore[arg-type]
                skill=one.skill,
                out=tables / kind / f"{one.key}.parquet",
                cell=one.key,
                folder=one.folder,
                seed=one.seed,
                n_steps=one.cell.budget.n_steps,
            )
            for kind in kinds
        ]
    jobs += [ScoreJob("base", skill, tables / "base" / f"{_slug(skill)}.parquet") for skill in plan.skills]
    return sorted(jobs, key=lambda job: job.kind != "truncation")


def _slug(skill: SkillPlan) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in skill.key.lower())


def read_tables(skill: SkillPlan, trained: Sequence[Trained], folder: Path) -> SkillTables:
    """The tables of one skill, checked against the score table's schema."""
    mine = [one for one in trained if one.skill == skill and not one.diverged]

    def read(kind: str) -> dict[tuple[str, int], pl.DataFrame]:
        found = {(one.arm.label, one.seed): folder / "tables" / kind / f"{one.key}.parquet" for one in mine}
        schema = SCHEMA if kind != "truncation" else {"control": pl.String, "item": pl.Int64}
        return {at: read_table(path, schema) for at, path in found.items() if path.exists()}

    return SkillTables(
        base=read_table(folder / "tables" / "base" / f"{_slug(skill)}.parquet", SCHEMA),
        test=read("test"),
        convergence=read("convergence"),
        truncation=read("truncation"),
        folders={(one.arm.label, one.seed): one.folder for one in mine},
        keys={(one.arm.label, one.seed): one.key for one in mine},
    )


def write_records(trained: Sequence[Trained], tables: dict[str, SkillTables], folder: Path) -> None:
    """Gathers what others may want to compute again: `cells`, `scores` and `truncation` as one Parquet file each."""
    records = folder / "records"
    rows = [
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
            "diverged": one.diverged,
        }
        for one in trained
    ]
    write_table(records / "cells.parquet", pl.DataFrame(rows, infer_schema_length=None))
    scores = [
        frame.with_columns(pl.lit(key).alias("skill"))
        for key, found in tables.items()
        for frame in (found.base, *found.test.values())
    ]
    write_table(records / "scores.parquet", pl.concat(scores))
    cuts = [frame for found in tables.values() for frame in found.truncation.values()]
    if cuts:
        write_table(records / "truncation.parquet", pl.concat(cuts))


def resolve_workers(workers: int, device: str) -> int:
    """0 fills the cores; on an accelerator, one process at a time."""
    if workers:
        return workers
    return n_cores() if str(resolve_device(device)) == "cpu" else 1


def base_hash(name: str) -> str:
    """Content hash of a base."""
    return load_base(name).content_hash
