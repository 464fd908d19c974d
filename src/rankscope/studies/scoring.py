"""Scoring jobs: each trained cell and the base, scored once into a table of its own."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from rankscope.adapters.attach import attached
from rankscope.adapters.planted import teacher_of
from rankscope.adapters.read import read_adapter
from rankscope.base.errors import BadInput
from rankscope.evals.score import score_cell, score_variant
from rankscope.evals.teacher_forced import Teacher, completion_log_probs
from rankscope.interpret.role_values import read_roles
from rankscope.lm.bases import Base, load_base
from rankscope.rank.functional import truncation_curves
from rankscope.runs.tables import write_table
from rankscope.studies.plan import SkillPlan
from rankscope.tasks.catalog import load_items, load_role_items
from rankscope.tasks.encoded import EncodedItems
from rankscope.train.local import threads
from rankscope.train.training import FINAL, early_step_of

SCORING_SEED = 0
"""Data seed of validation and test items; their streams differ by split."""
_DRAWN_PER_KEPT = 4
MOST_TEACHERS = 6
"""Kept by a scorer, whose jobs come skill by skill: a calibration has hundreds, of megabytes each."""

ScoreKind = Literal["test", "convergence", "truncation", "roles", "base"]


@dataclass(frozen=True)
class ScoreJob:
    """One table to write: what to score, on which items."""

    kind: ScoreKind
    skill: SkillPlan
    out: Path
    cell: str = "base"
    """Cell key; `base` for the untrained model."""
    folder: Path | None = None
    seed: int = -1
    n_steps: int = 0


def items_to_test(base: Base, skill: SkillPlan) -> EncodedItems:
    """The skill's frozen test items; of the validation split where its scores decide a choice."""
    return items_of(base, skill, skill.scored_on, skill.n_test)


def items_of(base: Base, skill: SkillPlan, split: str, n: int) -> EncodedItems:
    """The first n items of a split of what is scored; with `leaves_of`, of those whose HashHop twin ends at a leaf."""
    task = skill.scored_as or skill.task
    if skill.leaves_of is None:
        return load_items(task, split, n, SCORING_SEED, base.tokenizer)
    n_drawn = n * _DRAWN_PER_KEPT
    at_leaf = load_items(skill.leaves_of, split, n_drawn, SCORING_SEED, base.tokenizer).groups["ends_at_leaf"]
    rows = np.flatnonzero(at_leaf == 1)[:n]
    assert len(rows) == n
    return load_items(task, split, n_drawn, SCORING_SEED, base.tokenizer).take(rows)


@dataclass
class Scorer:
    """job -> its table on disk; base, items and the last teachers stay in memory between jobs."""

    base_name: str
    device: str
    n_threads: int = 1
    _base: Base | None = None
    _items: dict[tuple[str, str], EncodedItems] = field(default_factory=dict)
    _teachers: dict[tuple[str, str], Teacher | None] = field(default_factory=dict)

    def __call__(self, job: ScoreJob) -> Iterator[Path]:
        """Writes the job's table, unless it is there already, and yields its path."""
        if not job.out.exists():
            with threads(self.n_threads):
                write_table(job.out, self._table(job))
        yield job.out

    @property
    def base(self) -> Base:
        """The study's base, loaded once."""
        if self._base is None:
            self._base = load_base(self.base_name, device=self.device)
        return self._base

    def _table(self, job: ScoreJob) -> pl.DataFrame:
        if job.kind == "truncation":
            return self._truncations(job)
        if job.kind == "roles":
            return self._roles(job)
        if job.kind == "convergence":
            return pl.concat(
                self._cell_table(job, "validation", snapshot, generate=False) for snapshot in ("early", FINAL)
            )
        if job.kind == "base":
            items, teacher = self._items_and_teacher(job.skill, "test")
            return score_variant(
                self.base.model, items, cell="base", seed=-1, step=0, generate=job.skill.generate, teacher=teacher
            )
        return self._cell_table(job, "test", FINAL, job.skill.generate)

    def _cell_table(self, job: ScoreJob, split: str, snapshot: str, generate: bool) -> pl.DataFrame:
        assert job.folder is not None
        items, teacher = self._items_and_teacher(job.skill, split)
        step = job.n_steps if snapshot == FINAL else early_step_of(job.n_steps)
        return score_cell(
            self.base,
            job.folder,
            items,
            cell=job.cell,
            seed=job.seed,
            step=step,
            snapshot="adapter" if snapshot == FINAL else "early",
            generate=generate,
            teacher=teacher,
        )

    def _truncations(self, job: ScoreJob) -> pl.DataFrame:
        assert job.folder is not None
        few = self._items_of(job.skill, "test").take(slice(0, job.skill.n_truncation))
        curves = truncation_curves(
            self.base.model,
            read_adapter(job.folder / FINAL),
            few,
            eval_seed=job.seed,
            controls=job.skill.controls,
            teacher=self._teacher(job.skill, "test few", few),
            order_on=self._items_of(job.skill, "validation") if "fisher" in job.skill.controls else None,
            n_draws=1,
        )
        return curves.with_columns(pl.lit(job.cell).alias("cell"), pl.lit(job.seed, dtype=pl.Int32).alias("seed"))

    def _roles(self, job: ScoreJob) -> pl.DataFrame:
        assert job.folder is not None
        skill = job.skill
        task = skill.scored_as or skill.task
        items, roles = load_role_items(task, "test", skill.n_read, SCORING_SEED, self.base.tokenizer)
        if roles is None:
            raise BadInput(f"{skill.key} asks for roles, and the items of {task} have none.")
        values = read_roles(self.base, read_adapter(job.folder / FINAL), items, roles, job.seed)
        return values.with_columns(pl.lit(job.cell).alias("cell"), pl.lit(job.seed, dtype=pl.Int32).alias("seed"))

    def _items_and_teacher(self, skill: SkillPlan, split: str) -> tuple[EncodedItems, Teacher | None]:
        items = self._items_of(skill, split)
        return items, self._teacher(skill, split, items)

    def _items_of(self, skill: SkillPlan, split: str) -> EncodedItems:
        """The split's items, drawn once."""
        key = (skill.key, split)
        if key not in self._items:
            self._items[key] = items_to_test(self.base, skill) if split == "test" else _validation(self.base, skill)
        return self._items[key]

    def _teacher(self, skill: SkillPlan, split: str, items: EncodedItems) -> Teacher | None:
        """The teacher's log-probabilities on these items, for planted skills."""
        key = (skill.key, split)
        if key not in self._teachers:
            self._teachers[key] = planted_teacher(self.base, items)
            if len(self._teachers) > MOST_TEACHERS:
                del self._teachers[next(iter(self._teachers))]
        return self._teachers[key]


def items_tag(base: Base, skill: SkillPlan) -> str:
    """10 hex digits over base, test and validation items: tables made under another tag are never read again."""
    hashes = (base.content_hash, items_to_test(base, skill).content_hash, _validation(base, skill).content_hash)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:10]


def _validation(base: Base, skill: SkillPlan) -> EncodedItems:
    return items_of(base, skill, "validation", skill.n_validation)


def planted_teacher(base: Base, items: EncodedItems) -> Teacher | None:
    """Log-probabilities of the base plus the planted update; None for tasks that are not planted."""
    if items.objective != "distill":
        return None
    update = teacher_of(base, items.task)
    assert update is not None
    with attached(base.model, update):
        return completion_log_probs(base.model, items)


def build_scorer(base_name: str, device: str) -> Scorer:
    """A scorer for a process of its own."""
    return Scorer(base_name, device)
