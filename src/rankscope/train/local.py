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
from rankscope.base.paths import cache_root
from rankscope.train.cell import Cell
from rankscope.train.cell_folder import CellTrainer
from rankscope.train.cost import estimate_seconds, job_shape, measure_step_seconds
from rankscope.train.events import Event
from rankscope.train.job import Job
from rankscope.train.kinds import AskedKind
from rankscope.train.memory import free_bytes
from rankscope.train.pack_plan import plan_jobs, write_plans
from rankscope.train.pool import pool_events
from rankscope.train.threads import WORTH_S, Choice, choices, fastest_choice
from rankscope.train.training import EARLY_FRAC, PREFIX, TrainingSettings
from rankscope.train.work import USABLE, Fit, Room, Work, plan_workers, with_micro_batches

WORTH_TIMING_STEPS = 40
"""Trainings of fewer steps (mean) are over about as soon as their steps have been timed."""


class LocalExecutor:
    """Trains cells into `root / key`. Results do not depend on the number of workers, given the threads of each."""

    def __init__(
        self,
        root: Path,
        device: str = "auto",
        executor: AskedKind = "auto",
        workers: int | Literal["auto"] = 1,
        early_frac: float = EARLY_FRAC,
        n_threads: int | Literal["auto"] = 1,
        checkpoint_every_s: float = 15.0,
    ) -> None:
        """`workers`: processes that train at a time; `auto` is as many as cores and memory allow, 1 on an accelerator.

        `executor`: `reference` trains by transformers and PEFT; `auto` by our decoder where that can, which is faster.
        `n_threads`: of each worker; `auto` is one, unless more were measured to be faster where that is worth finding.
        """
        if (n_threads != "auto" and n_threads < 1) or (workers != "auto" and workers < 1) or not 0 < early_frac <= 1:
            raise BadInput(
                f"Expected at least one worker and one thread, and an early_frac in (0, 1]; came workers={workers}, "
                f"n_threads={n_threads}, early_frac={early_frac}."
            )
        self.root = root
        self.settings = TrainingSettings(str(resolve_device(device)), executor, early_frac, checkpoint_every_s)
        self._workers, self._threads = workers, n_threads
        self._trainer = CellTrainer(self.root, self.settings)
        self._step_s: dict[int, dict[str, float]] = {}
        """Threads -> shape of a job -> seconds per step."""

    def train(self, cells: Sequence[Cell]) -> Iterator[Event]:
        """Trains every cell not yet done; a cell that is given twice is trained and reported once.

        Stopped at any point, and called again, it goes on from the last checkpoint of each cell.
        Raises BadInput before anything trains when a cell does not fit into memory.
        """
        if not cells:
            return
        work = self.plan(cells)
        write_plans(work.jobs, self.root)
        yield from self._train(work)
        self.forget_prefixes()

    def plan(self, cells: Sequence[Cell]) -> Work:
        """How the cells would be trained here and now. Raises BadInput when one does not fit into memory."""
        cells = list(dict.fromkeys(cells))
        device = torch.device(self.settings.device)
        fit = Fit(self._trainer.base, self.settings.executor)
        n_threads = 1 if self._threads == "auto" else self._threads
        room = Room(free_bytes(device), max(1, n_cores() // n_threads) if device.type == "cpu" else 1)
        n_workers = plan_workers(fit, cells, room, None if self._workers == "auto" else self._workers)
        jobs = self._fitted_jobs(fit, cells, USABLE * room.free_bytes / n_workers)
        if self._threads == "auto" and device.type == "cpu" and n_cores() > n_workers * (self._workers != "auto"):
            n_workers, n_threads = self._fastest(jobs if self._has_more_to_train(cells) else (), n_workers)
        n_workers = min(n_workers, len(jobs))
        needs = (fit.need(job.cells, job.micro_batch or job.cells[0].budget.batch_size) for job in jobs)
        return Work(jobs, n_workers, n_threads, max(needs), room.free_bytes)

    def _fitted_jobs(self, fit: Fit, cells: list[Cell], budget: float) -> tuple[Job, ...]:
        """Packs where they save work or were asked for, else every cell by itself; with passes that fit."""
        jobs = [Job((cell,)) for cell in cells]
        if self.settings.executor in ("auto", "packed") and len(cells) > 1:
            always = self.settings.executor == "packed" or self.settings.device != "cpu"
            most_rows = functools.partial(fit.most_rows, budget=budget)
            jobs = plan_jobs(cells, fit, self.root, always, most_rows)
        return with_micro_batches(fit, jobs, budget)

    def _has_more_to_train(self, cells: Sequence[Cell]) -> bool:
        """Whether any cell is not trained. Threads are chosen for all cells, so a resumed run chooses the same."""
        return not all(map(self.has_finished, cells))

    def _fastest(self, jobs: tuple[Job, ...], most_workers: int) -> Choice:
        """Workers and threads for the jobs, measured where they take long."""
        if not is_worth_timing([job.cells[0] for job in jobs]) or self._seconds(jobs, 1) < WORTH_S:
            return most_workers, 1
        among = choices(n_cores(), min(most_workers, len(jobs)))
        step_s = self._step_s[1]
        longest = max(jobs, key=lambda job: step_s[job_shape(job)] * job.cells[0].budget.n_steps)
        return fastest_choice(
            longest, step_s[job_shape(longest)], among, self.settings.device, self.settings.executor, cache_root()
        )

    def _train(self, work: Work) -> Iterator[Event]:
        if work.n_workers == 1:
            return self._train_here(work)
        build = functools.partial(build_trainer, self.root, self.settings, work.n_threads)
        return pool_events(build, work.jobs, work.n_workers)

    def forget_prefixes(self) -> None:
        """Removes prefix caches from the disk; trainings that need one make it again."""
        shutil.rmtree(self.root / PREFIX, ignore_errors=True)

    def has_finished(self, cell: Cell) -> bool:
        """Whether the cell is trained already."""
        return self._trainer.has_finished(cell)

    def estimate_seconds(self, work: Work) -> float:
        """About how long the work will take, from a few real steps of each shape with a training's threads."""
        return self._seconds(work.jobs, work.n_threads) / work.n_workers

    def _seconds(self, jobs: Sequence[Job], n_threads: int) -> float:
        """Of all steps, one worker at it; shapes are measured once."""
        step_s = self._step_s.setdefault(n_threads, {})
        with threads(n_threads):
            for job in jobs:
                if job_shape(job) not in step_s:
                    measured_s = measure_step_seconds(job, self.settings.device, executor=self.settings.executor)
                    step_s[job_shape(job)] = measured_s
        return estimate_seconds(jobs, step_s)

    def _train_here(self, work: Work) -> Iterator[Event]:
        for job in work.jobs:
            with closing(self._trainer(job)) as events:
                while (event := self._next(events, work.n_threads)) is not None:
                    yield event

    def _next(self, events: Iterator[Event], n_threads: int) -> Event | None:
        with threads(n_threads):
            return next(events, None)


def is_worth_timing(cells: Sequence[Cell]) -> bool:
    """Whether the cells train for long enough that timing a few of their steps first is worth the wait."""
    return sum(cell.budget.n_steps for cell in cells) >= WORTH_TIMING_STEPS * len(cells)


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
