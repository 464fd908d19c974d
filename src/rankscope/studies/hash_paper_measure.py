"""The measurements of hash_paper as tables on disk: what every model writes, and what truncated adapters score."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import polars as pl
from torch import nn

from rankscope.adapters.read import read_adapter
from rankscope.engine.model import decoded
from rankscope.evals.paper_generations import SCHEMA, generations
from rankscope.evals.score import trained
from rankscope.lm.bases import Base, load_base
from rankscope.rank.functional import truncation_curves
from rankscope.runs.tables import read_table, write_table
from rankscope.studies.hash_paper import CONFIGURATIONS, TASK_KINDS, HashPaperPlan, Switches, TaskKind
from rankscope.studies.progress import meter
from rankscope.tasks.catalog import load_task
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.paper import PaperTask
from rankscope.tasks.paper_maps import PaperItem

TEST_SEED = 0


@dataclass(frozen=True)
class Adapter:
    """One adapter of the study, trained."""

    switches: Switches
    """Those under which it was listed first; `HashPaperPlan.identity` says for which others it stands too."""
    kind: TaskKind
    rank: int
    seed: int
    key: str
    folder: Path


@dataclass(frozen=True)
class Tables:
    """Where the measurements lie."""

    root: Path

    def generations(self, model: str, task: str) -> Path:
        """What a model (a cell key, or a base's stage) writes on the test items of a task."""
        return self.root / "generations" / f"{model.replace(' ', '-')}-{_tag(task)}.parquet"

    def truncation(self, key: str) -> Path:
        """Scores of an adapter cut to fewer directions."""
        return self.root / "truncation" / f"{key}.parquet"


def _tag(task: str) -> str:
    return hashlib.sha256(task.encode()).hexdigest()[:8]


def test_items(plan: HashPaperPlan, task: str) -> list[PaperItem]:
    """The test items of a task, as text."""
    return cast(PaperTask, load_task(task)).items("test", plan.n_test, TEST_SEED)


def encoded_test(plan: HashPaperPlan, task: str, base: Base) -> EncodedItems:
    """The same items as tokens."""
    return cast(PaperTask, load_task(task)).encoded("test", plan.n_test, TEST_SEED, base.tokenizer)


def measure(
    plan: HashPaperPlan, adapters: Sequence[Adapter], bases: dict[str, Path], folder: Path, device: str
) -> Tables:
    """Writes every table that is not there yet."""
    tables = Tables(folder / "tables")
    with meter("measuring", len(adapters) + len(bases)) as bar:
        for stage in sorted({plan.base_of(kind, one.switches) for one in CONFIGURATIONS for kind in TASK_KINDS}):
            base = load_base(str(bases[stage]), device=device)
            for task in sorted(_tasks_of_base(plan, stage)):
                _write_generations(plan, tables.generations(stage, task), decoded(base.model), base, task)
            bar.advance(1)
            for adapter in adapters:
                if plan.base_of(adapter.kind, adapter.switches) == stage:
                    _measure_adapter(plan, adapter, base, tables)
                    bar.advance(1)
    return tables


def _tasks_of_base(plan: HashPaperPlan, stage: str) -> set[str]:
    return {
        plan.task(kind, "test", one.switches)
        for one in CONFIGURATIONS
        for kind in TASK_KINDS
        if plan.base_of(kind, one.switches) == stage
    }


def _measure_adapter(plan: HashPaperPlan, adapter: Adapter, base: Base, tables: Tables) -> None:
    task = plan.task(adapter.kind, "test", adapter.switches)
    out = tables.generations(adapter.key, task)
    if not out.exists():
        with trained(base, adapter.folder) as model:
            _write_generations(plan, out, model, base, task)
    cuts = tables.truncation(adapter.key)
    if adapter.rank == plan.largest and not cuts.exists():
        items = encoded_test(plan, task, base).take(slice(0, plan.functional_test))
        weights = read_adapter(adapter.folder / "adapter")
        write_table(cuts, truncation_curves(base.model, weights, items, controls=("energy",)))


def _write_generations(plan: HashPaperPlan, out: Path, model: nn.Module, base: Base, task: str) -> None:
    if not out.exists():
        items = test_items(plan, task)
        n_symbols = cast(PaperTask, load_task(task)).knobs.symbols
        write_table(out, generations(model, items, encoded_test(plan, task, base), base.tokenizer, n_symbols))


def read_generations(tables: Tables, model: str, task: str) -> pl.DataFrame:
    """What a model wrote. Raises BadFile when it is missing."""
    return read_table(tables.generations(model, task), SCHEMA)


def adapters_of(
    plan: HashPaperPlan, adapters: Sequence[Adapter], kind: TaskKind, switches: Switches
) -> Iterator[Adapter]:
    """The adapters that stand for a task under these switches, by rank, then seed."""
    wanted = plan.identity(kind, switches)
    mine = (one for one in adapters if one.kind == kind and plan.identity(kind, one.switches) == wanted)
    yield from sorted(mine, key=lambda one: (one.rank, one.seed))
