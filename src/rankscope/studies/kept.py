"""Skills of a study that an earlier run's records already hold, so that a study grows without training twice.

A skill is taken whole or not at all: every one of its trainings must have the key that the plan would give it, apart
from the precision, and the base must score on the plan's test items what it scored then. Weights are not kept, so what
follows from them (spectra, convergence) is taken as it was found.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rankscope.base.errors import BadFile, BadInput
from rankscope.evals.score_table import SCHEMA
from rankscope.rank.functional import k_grid
from rankscope.rank.records import SkillFindings, read_findings
from rankscope.runs.tables import read_table
from rankscope.studies.findings import SkillTables
from rankscope.studies.page import FINDINGS
from rankscope.studies.plan import SkillPlan, StudyPlan
from rankscope.studies.stages import CELLS, SCORES, TRUNCATION
from rankscope.train.cell import Cell, LoraSpec
from rankscope.train.materials import MaterialStore

MOST_OFF = 1e-3
"""Nats by which the base may score an item differently than it is kept: log-probabilities are rounded to 1e-4."""
_CELLS = {"cell": pl.String, "mode": pl.String, "skill": pl.String, "arm": pl.String, "seed": pl.Int64}
KeyOf = Callable[[Cell], str]


@dataclass(frozen=True)
class Kept:
    """One skill as an earlier run found it."""

    found: SkillFindings
    tables: SkillTables
    """Without convergence and folders, which are not kept."""
    rows: pl.DataFrame
    """Its trainings, as `cells.parquet` has them."""
    facts: dict[str, str]
    """Study, commit, precision and machine of that run."""


def kept_skills(plan: StudyPlan, folders: Sequence[Path]) -> dict[str, Kept]:
    """Skill -> what the first of the folders that has it holds; each folder is a run folder, or one kept like it.

    Raises: BadFile for a folder without records; BadInput for an unfinished run, or one that has nothing of this plan.
    """
    store = MaterialStore("cpu")

    @functools.cache
    def key_of(cell: Cell) -> str:
        return store.of(cell).key

    kept: dict[str, Kept] = {}
    for folder in folders:
        records = _Records.read(folder)
        tried = {skill.key: records.take(plan, skill, key_of) for skill in plan.skills if skill.key not in kept}
        kept |= {key: one for key, one in tried.items() if isinstance(one, Kept)}
        if not any(isinstance(one, Kept) for one in tried.values()):
            why = "; ".join(f"{key}: {one}" for key, one in tried.items()) or "other folders have all of it"
            raise BadInput(f"{folder} holds no skill of {plan.study} ({why}). Leave it out.")
    return kept


def check_items(skill: SkillPlan, kept: Kept, base: pl.DataFrame) -> None:
    """Raises BadInput unless the base scores the plan's test items as it did in the run that the skill is from."""
    was, now = kept.tables.base, base
    same = len(was) == len(now) and bool((was["item"] == now["item"]).all())
    off = np.abs(was["nats"].to_numpy() - now["nats"].to_numpy()).max() if same else np.inf
    if off > MOST_OFF:
        raise BadInput(
            f"The base does not score the test items of {skill.key} as in {facts_words(kept.facts)}: they are other "
            "items, or kept by another version. Run the study without that folder."
        )


@dataclass(frozen=True)
class _Records:
    """The records of one finished run."""

    folder: Path
    cells: pl.DataFrame
    scores: pl.DataFrame
    cuts: pl.DataFrame | None
    found: dict[str, SkillFindings]
    facts: dict[str, dict[str, str]]

    @classmethod
    def read(cls, folder: Path) -> "_Records":
        findings = read_findings(folder / FINDINGS)
        if findings.partial:
            raise BadInput(f"{folder} holds {findings.partial}. Let it finish first; the same command goes on.")
        own = {"study": findings.study, **findings.provenance}
        cells = read_table(folder / CELLS, _CELLS)
        if "precision" not in cells.columns:  # as before runs could be joined, when each had one
            cells = cells.with_columns(pl.lit(own.get("precision", "fp32")).alias("precision"))
        cuts = folder / TRUNCATION
        return cls(
            folder,
            cells,
            read_table(folder / SCORES, SCHEMA | {"skill": pl.String}),
            read_table(cuts, {"cell": pl.String, "control": pl.String}) if cuts.exists() else None,
            {skill.key: skill for skill in findings.skills},
            {skill.key: findings.taken.get(skill.key, own) for skill in findings.skills},
        )

    def take(self, plan: StudyPlan, skill: SkillPlan, key_of: KeyOf) -> Kept | str:
        """The skill, or why it can not be taken."""
        found = self.found.get(skill.key)
        if found is None:
            return "not there"
        rows = self.cells.filter(pl.concat_str("mode", "skill", separator="/") == skill.key)
        if why := _unlike(plan, skill, found, rows, key_of):
            return why
        if why := _other_cuts(skill, found):
            return why
        sound = rows.filter(~pl.col("diverged")).to_dicts()
        scores = self.scores.filter(pl.col("skill") == skill.key).drop("skill").partition_by("cell", as_dict=True)
        cuts = {} if self.cuts is None else self.cuts.unique(maintain_order=True).partition_by("cell", as_dict=True)
        if missing := [row["cell"] for row in sound if (row["cell"],) not in scores]:
            raise BadFile(f"{self.folder / SCORES} lacks {', '.join(missing)}, which {CELLS} names. Restore it.")
        tables = SkillTables(
            base=scores["base",],
            test={_place(row): scores[row["cell"],] for row in sound},
            convergence={},
            truncation={_place(row): cuts[row["cell"],] for row in sound if (row["cell"],) in cuts},
            folders={},
            keys={_place(row): row["cell"] for row in sound},
        )
        facts = self.facts[skill.key]
        flags = (*(flag for flag in found.flags if not flag.startswith(TAKEN)), *_flags(skill, found, facts))
        return Kept(found.override(flags=flags), tables, rows, facts)


TAKEN = "taken from an earlier run"


def _place(row: dict[str, Any]) -> tuple[str, int]:
    return row["arm"], row["seed"]


def _unlike(plan: StudyPlan, skill: SkillPlan, found: SkillFindings, rows: pl.DataFrame, key_of: KeyOf) -> str:
    """Why the skill found there is not the plan's; empty where it is."""
    if skill.mode in ("planted", "relabel") or skill.read:
        return "its findings need weights, which records do not keep"
    if found.scored_as != skill.scored_as or found.n_items != skill.n_test:
        return f"scored on {found.n_items} items of {found.scored_as or found.task} there, {skill.n_test} here"
    have = {_place(row): row for row in rows.to_dicts()}
    wanted = {(arm.label, seed): plan.cell(skill, arm, seed) for arm in skill.arms for seed in skill.seeds}
    if set(have) != set(wanted):
        return f"{len(have)} trainings there, {len(wanted)} here, of other arms or seeds"
    for (label, seed), cell in wanted.items():
        row = have[label, seed]
        if key_of(cell.override(precision=row["precision"])) != row["cell"]:
            return f"{label} of seed {seed} was trained otherwise (learning rate {row['lr']:g} there, {_lr(cell)} here)"
    return ""


def _other_cuts(skill: SkillPlan, found: SkillFindings) -> str:
    """Why the functional ranks found there are not those that the plan asks for; empty where they are."""
    for rank in skill.functional:
        mine = [one for one in found.functional if one.arm == LoraSpec(rank=rank).label]
        cuts = [point for one in mine for point in one.curve if point.control == "energy"]
        n_items = {point.score.n_items for point in cuts}
        if {point.k for point in cuts} != {*k_grid(rank)} or n_items != {min(skill.n_truncation, skill.n_test)}:
            return f"adapters of rank {rank} were not cut there, or to other budgets or on other items"
    return ""


def _lr(cell: Cell) -> str:
    return f"{cell.optimiser.lr:g}"


def _flags(skill: SkillPlan, found: SkillFindings, facts: dict[str, str]) -> tuple[str, ...]:
    """Where it comes from, and which controls of its truncations were not taken there."""
    taken = {point.control for one in found.functional for point in one.curve}
    lacks = [control for control in skill.controls if control not in taken] if skill.functional else []
    without = f", without the truncations {', '.join(lacks)}" if lacks else ""
    return (f"{TAKEN}: {facts_words(facts)}{without}",)


def facts_words(facts: dict[str, str]) -> str:
    """Which run, in a few words."""
    return f"{facts['study']} (commit {facts.get('commit', 'unknown')}, {facts.get('precision', 'fp32')})"
