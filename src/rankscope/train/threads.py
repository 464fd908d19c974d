"""Many one-thread workers, or fewer with more threads: found by training a little each way, remembered per machine."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch

from rankscope.base.machine import machine_facts
from rankscope.base.remembered import remembered
from rankscope.train.cost import job_shape, measure_step_seconds
from rankscope.train.job import Job
from rankscope.train.kinds import AskedKind
from rankscope.train.pool import pool_events

WORTH_S = 900.0
"""Trainings that take less are not worth the half minute that finding out takes."""
MEASURED_S = 3.0
"""Long enough for workers to be at it at the same time."""
LEAST_GAIN = 1.1
"""One thread each is the default; a difference below this may be noise, and would change last digits for nothing."""
MOST_THREADS = 16

Choice = tuple[int, int]
"""(workers, threads of each)"""


def choices(n_cores: int, most_workers: int) -> list[Choice]:
    """Ways to fill the cores: one thread each first, then twice as many, ..."""
    found = [(min(n_cores, most_workers), 1)]
    n_threads = 2
    while n_threads <= min(n_cores, MOST_THREADS):
        found.append((min(n_cores // n_threads, most_workers), n_threads))
        n_threads *= 2
    return list(dict.fromkeys(found))


def fastest_choice(
    job: Job, step_s: float, among: Sequence[Choice], device: str, executor: AskedKind, folder: Path
) -> Choice:
    """The choice that trains most jobs of this shape in a given time; the first where no other is clearly faster.

    `step_s` is about how long a step takes. What was measured is kept in `folder` and not measured again.
    """
    n_steps = max(3, round(MEASURED_S / max(step_s, 1e-4)))

    def measured_s(n_workers: int, n_threads: int) -> float:
        build = partial(build_stopwatch, device, executor, n_threads, n_steps)
        return median(pool_events(build, [job] * n_workers, n_workers))

    def rate(choice: Choice) -> float:
        key = _key(job, *choice, executor)
        return choice[0] / remembered(folder / "workers.json", key, lambda: measured_s(*choice), float, float)

    rates = {choice: rate(choice) for choice in among}
    fastest = max(rates, key=lambda choice: rates[choice])
    return fastest if rates[fastest] > LEAST_GAIN * rates[among[0]] else among[0]


def build_stopwatch(device: str, executor: AskedKind, n_threads: int, n_steps: int) -> Callable[[Job], Iterator[float]]:
    """For a process of its own: job -> seconds per step."""
    torch.set_num_threads(n_threads)

    def run(job: Job) -> Iterator[float]:
        yield measure_step_seconds(job, device, n_steps, executor)

    return run


def _key(job: Job, n_workers: int, n_threads: int, executor: AskedKind) -> str:
    return "|".join(
        map(str, (machine_facts()["cpu"], torch.__version__, executor, n_workers, n_threads, job_shape(job)))
    )
