"""Trains cells on this machine, one per process at a time, by our decoder or by transformers and PEFT."""

import functools
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import torch

from rankscope.base.device import resolve_device
from rankscope.base.errors import BadInput
from rankscope.train.cell import Cell
from rankscope.train.cell_folder import CellTrainer
from rankscope.train.cost import estimate_seconds, measure_step_seconds
from rankscope.train.events import Event
from rankscope.train.kinds import AskedKind
from rankscope.train.pack_plan import Job, plan_jobs
from rankscope.train.pool import pool_events
from rankscope.train.training import EARLY_FRAC, PREFIX, TrainingSettings


class LocalExecutor:
    """Trains cells into `root / key`. Results do not depend on the number of workers, given the threads of each."""

    def __init__(
        self,
        root: Path,
        device: str = "auto",
        executor: AskedKind = "auto",
        workers: int | Literal["auto"] = 1,
        early_frac: float = EARLY_FRAC,
        n_threads: int = 1,
        checkpoint_every_s: float = 15.0,
    ) -> None:
        """`workers`: processes that train at a time; `auto` fills the cores, or is 1 on an accelerator.

        `executor`: `reference` trains by transformers and PEFT; `auto` by our decoder where that can, which is faster.
        """
        if n_threads < 1 or (workers != "auto" and workers < 1) or not 0 < early_frac <= 1:
            raise BadInput(
                f"Expected at least one worker and one thread, and an early_frac in (0, 1]; came workers={workers}, "
                f"n_threads={n_threads}, early_frac={early_frac}."
            )
        self.root = root
        self.n_threads = n_threads
        self.settings = TrainingSettings(str(resolve_device(device)), executor, early_frac, checkpoint_every_s)
        self.n_workers = self._auto_workers() if workers == "auto" else workers
        self._trainer = CellTrainer(self.root, self.settings)

    def train(self, cells: Sequence[Cell]) -> Iterator[Event]:
        """Trains every cell not yet done; a cell that is given twice is trained and reported once.

        Stopped at any point, and called again, it goes on from the last checkpoint of each cell.
        """
        yield from self._train(self._jobs(list(dict.fromkeys(cells))))
        self.forget_prefixes()

    def _train(self, jobs: list[Job]) -> Iterator[Event]:
        if self.n_workers == 1 or len(jobs) <= 1:
            return self._train_here(jobs)
        build = functools.partial(build_trainer, self.root, self.settings, self.n_threads)
        return pool_events(build, jobs, self.n_workers)

    def forget_prefixes(self) -> None:
        """Removes prefix caches from the disk; trainings that need one make it again."""
        shutil.rmtree(self.root / PREFIX, ignore_errors=True)

    def _jobs(self, cells: list[Cell]) -> list[Job]:
        """Packs where they save work or were asked for, else every cell by itself."""
        if self.settings.executor not in ("auto", "packed") or len(cells) < 2:
            return [(cell,) for cell in cells]
        wanted = self.settings.executor == "packed" or self.settings.device != "cpu"
        return plan_jobs(cells, self._trainer.base, self.root, wanted)

    def has_finished(self, cell: Cell) -> bool:
        """Whether the cell is trained already."""
        return self._trainer.has_finished(cell)

    def estimate_seconds(self, cells: Sequence[Cell]) -> float:
        """About how long the cells will take, from a few real steps of each shape with a training's threads."""
        measure = functools.partial(measure_step_seconds, device=self.settings.device, executor=self.settings.executor)
        with threads(self.n_threads):
            return estimate_seconds(self._jobs(list(dict.fromkeys(cells))), measure, self.n_workers)

    def _train_here(self, jobs: Sequence[Job]) -> Iterator[Event]:
        for job in jobs:
            with closing(self._trainer(job)) as events:
                while (event := self._next(events)) is not None:
                    yield event

    def _next(self, events: Iterator[Event]) -> Event | None:
        with threads(self.n_threads):
            return next(events, None)

    def _auto_workers(self) -> int:
        return max(1, n_cores() // self.n_threads) if self.settings.device == "cpu" else 1


def build_trainer(root: Path, settings: TrainingSettings, n_threads: int) -> CellTrainer:
    """A trainer for a process of its own, which it sets to that many threads."""
    torch.set_num_threads(n_threads)
    return CellTrainer(root, settings)


@contextmanager
def threads(n_threads: int) -> Iterator[None]:
    """Sets torch's CPU threads, and sets them back."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
