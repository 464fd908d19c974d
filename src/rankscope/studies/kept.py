"""Skills of a study that an earlier run's records already hold, so that a study grows without training twice.

A skill is taken only where every one of its trainings has the key that the plan gives it, apart from the precision,
and the base scores the plan's test items as it did then. Findings are made from the scores again; what follows from
weights, which records do not keep (spectra, convergence, and of planted skills the estimates), is taken as it was, as
is the truth about a planted update, which takes minutes to find.
"""

import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rankscope.base.errors import BadFile, BadInput
from rankscope.evals.score_table import SCHEMA
from rankscope.rank.calibration_records import (
    ESTIMATES,
    ORACLE,
    KeptPlanted,
    OracleRecords,
    read_estimates,
    read_oracle,
)
from rankscope.rank.estimator_scores import Estimated
from rankscope.rank.functional import k_grid
from rankscope.rank.records import SkillFindings, read_findings
from rankscope.runs.folder import is_finished, verify_finished
from rankscope.runs.tables import read_table
from rankscope.studies.calibration_findings import kept_planted
from rankscope.studies.findings import SkillTables, skill_findings
from rankscope.studies.page import FINDINGS
from rankscope.studies.plan import SkillPlan, StudyPlan
from rankscope.studies.progress import say
from rankscope.studies.stages import CELLS, RECORDS, SCORES, TRUNCATION, Sitting, base_tables
from rankscope.train.cell import Cell, LoraSpec
from rankscope.train.materials import MaterialStore

TAKEN = "taken"
"""Folder of a run that keeps the records it took skills from, so that it goes on without their source."""
MOST_NAMED = 20
"""More skills than this are counted, not listed."""
MOST_OFF = 1e-3
"""Nats by which the base may score an item differently than it is kept: log-probabilities are rounded to 1e-4."""
_CELLS = {
    **dict.fromkeys(("cell", "mode", "skill", "arm"), pl.String),
    "seed": pl.Int64,
    "lr": pl.Float64,
    "diverged": pl.Boolean,
}
_CUTS = {name: dtype for name, dtype in SCHEMA.items() if name not in ("split", "step")} | {
    "control": pl.String,
    "k": pl.Int32,
    "draw": pl.Int32,
}
KeyOf = Callable[[Cell], str]
_FILES = (FINDINGS, CELLS, SCORES, TRUNCATION, f"{RECORDS}/{ORACLE}", f"{RECORDS}/{ESTIMATES}")
"""What a run folder keeps a copy of, where it is there."""


@dataclass(frozen=True)
class Kept:
    """One skill as an earlier run left it."""

    then: SkillFindings
    """What was found there; of it only spectra and convergence are used."""
    tables: SkillTables
    """Without convergence and folders, which are not kept."""
    rows: pl.DataFrame
    """Its trainings, as `cells.parquet` has them; all of one precision."""
    facts: dict[str, str]
    """Study, commit, precision and machine of that run."""
    planted: KeptPlanted | None = None
    """Of a planted skill, the truth about its teacher and what every estimator said of its adapters."""

    @property
    def words(self) -> str:
        """Which run, in a few words."""
        return f"{self.facts['study']} (commit {self.facts.get('commit', 'unknown')}, {self.precision})"

    @property
    def command(self) -> str:
        """What trains it again."""
        return f"rankscope study {self.facts['study']} --precision '{self.precision}'"

    @property
    def precision(self) -> str:
        """What it was trained in."""
        return str(self.rows["precision"][0])

    def findings(self, plan: StudyPlan, skill: SkillPlan) -> SkillFindings:
        """Made from its scores as if it had been trained here, with a flag that says where it was."""
        found = skill_findings(plan.override(precision=self.precision), skill, self.tables, self.then)
        cut = {point.control for one in found.functional for point in one.curve}
        lacks = [control for control in skill.controls if skill.functional and control not in cut]
        without = f", without the truncations {', '.join(lacks)}" if lacks else ""
        return found.override(flags=(*found.flags, f"taken from an earlier run: {self.words}{without}"))


def kept_skills(plan: StudyPlan, folder: Path, taken_from: Sequence[Path]) -> dict[str, Kept]:
    """Skill -> what the first of the earlier runs that has it holds.

    Those runs are the ones that the run folder has copies of, else `taken_from`: run folders, or kept like them. Says
    what is taken, and why what goes by the same name is not.
    Raises: BadFile for a folder without records, or with damaged ones; BadInput for an unfinished run, or one that has
    nothing of this plan.
    """
    store = MaterialStore("cpu")

    @functools.cache
    def key_of(cell: Cell) -> str:
        return store.of(cell).key

    kept: dict[str, Kept] = {}
    copies = sorted((folder / TAKEN).glob("*"))
    if copies and taken_from and _differ(copies, taken_from):
        say(
            f"{folder} was started with other records than those given now, and keeps to them. To take these, start a "
            "new run folder (--out)."
        )
    for source in copies or taken_from:
        records = _Records.read(source)
        tried = {skill.key: records.take(plan, skill, key_of) for skill in plan.skills if skill.key not in kept}
        taken = {key: one for key, one in tried.items() if isinstance(one, Kept)}
        refused = {key: one for key, one in tried.items() if isinstance(one, str) and key in records.found}
        if not taken:
            why = "; ".join(f"{key}: {one}" for key, one in refused.items()) or "none of that name, or taken already"
            raise BadInput(f"{source} holds no skill that {plan.study} could take ({why}). Leave it out of --from.")
        for words in dict.fromkeys(one.words for one in taken.values()):
            names = [key for key, one in taken.items() if one.words == words]
            told = "; ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} of {len(plan.skills)} skills"
            say(f"Taken from {words}: {told}")
        for key, why in refused.items():
            say(f"Not taken, {key}: {why}")
        kept |= taken
    return kept


def _differ(copies: Sequence[Path], taken_from: Sequence[Path]) -> bool:
    """Whether the folders given hold other findings than the copies of those that the run was started with."""
    were, are = (
        {(folder / FINDINGS).read_bytes() if (folder / FINDINGS).exists() else b"" for folder in folders}
        for folders in (copies, taken_from)
    )
    return were != are


def keep_records(folder: Path, taken_from: Sequence[Path]) -> None:
    """Copies the records that skills are taken from into the run folder, once."""
    if (folder / TAKEN).exists():
        return
    half = folder / f"{TAKEN}.tmp"
    shutil.rmtree(half, ignore_errors=True)
    for n, source in enumerate(taken_from):
        for name in _FILES:
            if (source / name).exists():
                (half / f"{n:02}" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, half / f"{n:02}" / name)
    half.rename(folder / TAKEN)


def check_items(plan: StudyPlan, kept: Mapping[str, Kept], sitting: Sitting) -> None:
    """Raises BadInput unless the base scores the test items of every skill taken as it did in the run it is from."""
    taken = plan.override(skills=[skill.model_dump() for skill in plan.skills if skill.key in kept])
    for key, now in base_tables(taken, sitting).items():
        was = kept[key].tables.base
        same = len(was) == len(now) and bool((was["item"] == now["item"]).all())
        off = np.abs(was["nats"].to_numpy() - now["nats"].to_numpy()).max() if same else np.inf
        if not off <= MOST_OFF:
            raise BadInput(
                f"The base does not score the test items of {key} as in {kept[key].words}: they are other items, or "
                "kept by another version. Run the study without that folder, in a new run folder (--out)."
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
    oracle: OracleRecords | None
    estimated: list[Estimated]

    @classmethod
    def read(cls, folder: Path) -> "_Records":
        findings = read_findings(folder / FINDINGS)
        if findings.partial:
            raise BadInput(f"{folder} holds {findings.partial}. Let it finish first; the same command goes on.")
        if is_finished(folder):
            verify_finished(folder)
        records = folder / RECORDS
        own = {"study": findings.study, **findings.provenance}
        cells = read_table(folder / CELLS, _CELLS)
        if "precision" not in cells.columns:  # as before runs could be joined, when each had one
            cells = cells.with_columns(pl.lit(own.get("precision", "fp32")).alias("precision"))
        return cls(
            folder,
            cells,
            read_table(folder / SCORES, SCHEMA | {"skill": pl.String}),
            read_table(folder / TRUNCATION, _CUTS) if (folder / TRUNCATION).exists() else None,
            {skill.key: skill for skill in findings.skills},
            {skill.key: findings.taken.get(skill.key, own) for skill in findings.skills},
            *((read_oracle(records), read_estimates(records)) if (records / ORACLE).exists() else (None, [])),
        )

    def take(self, plan: StudyPlan, skill: SkillPlan, key_of: KeyOf) -> Kept | str:
        """The skill, or why it can not be taken."""
        then = self.found.get(skill.key)
        if then is None:
            return "not there"
        rows = self.cells.filter(pl.concat_str("mode", "skill", separator="/") == skill.key)
        why = _unlike(skill, then) or _other_cells(plan, skill, rows, key_of)
        if why:
            return why
        tables, planted = self._tables(skill, rows), None
        if skill.mode == "planted":
            planted = kept_planted(skill, tables, self.oracle, self.estimated) if self.oracle else None
            if planted is None:
                return f"what {ORACLE} and {ESTIMATES} say of its teacher and adapters is not there, or of another kind"
        return _other_cuts(skill, tables) or Kept(then, tables, rows, self.facts[skill.key], planted)

    def _tables(self, skill: SkillPlan, rows: pl.DataFrame) -> SkillTables:
        sound = rows.filter(~pl.col("diverged")).to_dicts()
        mine = self.scores.filter(pl.col("skill") == skill.key).drop("skill")
        scores = {str(key): frame for (key,), frame in mine.partition_by("cell", as_dict=True).items()}
        for name in ("base", *(row["cell"] for row in sound)):
            if name not in scores or len(scores[name]) != skill.n_test:
                raise BadFile(f"{self.folder / SCORES} lacks scores of {name}, which {CELLS} names. Restore it.")
        return SkillTables(
            base=scores["base"],
            test={_place(row): scores[row["cell"]] for row in sound},
            convergence={},
            truncation={
                _place(row): self._cuts_by_cell[row["cell"]] for row in sound if row["cell"] in self._cuts_by_cell
            },
            folders={},
            keys={_place(row): row["cell"] for row in sound},
        )

    @functools.cached_property
    def _cuts_by_cell(self) -> dict[str, pl.DataFrame]:
        """Truncations of every training that was cut; what two skills share may be listed twice in older records."""
        if self.cuts is None:
            return {}
        parts = self.cuts.unique(maintain_order=True).partition_by("cell", as_dict=True)
        return {str(cell): cuts for (cell,), cuts in parts.items()}


def _place(row: dict[str, Any]) -> tuple[str, int]:
    return row["arm"], row["seed"]


def _unlike(skill: SkillPlan, then: SkillFindings) -> str:
    """Why a skill can not be taken whatever its trainings; empty where it can."""
    if skill.read:
        return "what is asked of it needs weights, which records do not keep"
    if then.scored_as != skill.scored_as or then.n_items != skill.n_test:
        return f"scored on {then.n_items} items of {then.scored_as or then.task} there, on {skill.n_test} here"
    return ""


def _other_cuts(skill: SkillPlan, tables: SkillTables) -> str:
    """Why the truncations there are not those that the plan asks for; empty where they are."""
    n_items = min(skill.n_truncation, skill.n_test)
    for rank in skill.functional:
        label = LoraSpec(rank=rank).label
        sound = [tables.truncation.get(place) for place in tables.test if place[0] == label]
        if not all(cut is not None and _is_cut(cut, rank, n_items) for cut in sound):
            return f"adapters of rank {rank} were not cut there, or to other budgets, or scored on other items"
    return ""


def _is_cut(cut: pl.DataFrame, rank: int, n_items: int) -> bool:
    """Whether an adapter was cut to every budget that is tried, and scored on so many items each time."""
    sizes = cut.filter(pl.col("control") == "energy").group_by("k").agg(pl.col("item").n_unique())
    return {*sizes["k"]} == {*k_grid(rank)} and {*sizes["item"]} == {n_items}


def _other_cells(plan: StudyPlan, skill: SkillPlan, rows: pl.DataFrame, key_of: KeyOf) -> str:
    """Why the trainings there are not the plan's; empty where they are."""
    have = {_place(row): row for row in rows.to_dicts()}
    wanted = {(arm.label, seed): plan.cell(skill, arm, seed) for seed in skill.seeds for arm in skill.arms}
    if set(have) != set(wanted):
        return f"{len(have)} trainings there and {len(wanted)} here, of other arms or seeds"
    if rows["precision"].n_unique() > 1:
        return "trained in several precisions"
    for (label, seed), cell in wanted.items():
        row = have[label, seed]
        if key_of(cell.override(precision=row["precision"])) != row["cell"]:
            there, here = f"{row['lr']:g}", f"{cell.optimiser.lr:g}"
            how = (
                f"learning rate {there} there, {here} here" if there != here else "other items, base, budget or version"
            )
            return f"{label} of seed {seed} was trained otherwise ({how})"
    return ""
