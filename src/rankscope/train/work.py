"""How cells are spread over this machine: which train together, how many at a time, how much of a batch per pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from rankscope.base.errors import BadInput
from rankscope.lm.bases import Base
from rankscope.train.cell import Cell
from rankscope.train.job import Job
from rankscope.train.kinds import AskedKind, resolve_kind
from rankscope.train.materials import first_items
from rankscope.train.memory import BatchShape, bytes_needed

USABLE = 0.8
"""Share of the free memory that trainings may be given; the rest is the formula's error, and everybody else's."""
LEAST_TOKENS = 512
"""A pass over fewer tokens wastes a processor, so workers are given up before passes get smaller than this."""
GIB = 2**30


@dataclass(frozen=True)
class Room:
    """What the machine offers."""

    free_bytes: int
    most_workers: int


@dataclass(frozen=True)
class Work:
    """Jobs as they will be trained."""

    jobs: tuple[Job, ...]
    n_workers: int
    n_threads: int
    worker_bytes: int
    """What the largest job needs, by formula."""
    free_bytes: int

    def describe(self) -> str:
        """One line: how many at a time, together or not, and the memory."""
        packs = [job for job in self.jobs if len(job.cells) > 1]
        small = [job for job in self.jobs if job.micro_batch is not None]
        parts = [_count(sum(len(job.cells) for job in self.jobs), "training")]
        if packs:
            parts.append(f"{sum(len(job.cells) for job in packs)} of them in {_count(len(packs), 'pack')}")
        if small:
            parts.append(f"{len(small)} in passes of {min(job.micro_batch or 0 for job in small)} items or more")
        crew = f"{_count(self.n_workers, 'worker')} of {_count(self.n_threads, 'thread')}"
        each = " each" if self.n_workers > 1 else ""
        memory = f"at most {self.worker_bytes / GIB:.1f} GiB{each} of {self.free_bytes / GIB:.1f} free"
        return f"{', '.join(parts)}; {crew}, {memory}."


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


@dataclass
class Fit:
    """Whether cells fit into memory, and how."""

    base_of: Callable[[str], Base]
    executor: AskedKind = "auto"
    _shapes: dict[tuple[str, str, int], BatchShape] = field(default_factory=dict)
    _needs: dict[tuple[object, ...], int] = field(default_factory=dict)

    def need(self, cells: Sequence[Cell], n_items: int) -> int:
        """Bytes for a process that trains the cells together, that many items per pass."""
        arms = tuple(cell.arm.model_dump_json() for cell in cells)
        first = cells[0]
        key = (first.base, first.task, first.budget.batch_size, first.precision, n_items, arms)
        if key not in self._needs:
            base = self.base_of(first.base)
            shape = replace(self.shape(first), n_items=n_items)
            self._needs[key] = bytes_needed(base, cells, shape, resolve_kind(self.executor, base, first))
        return self._needs[key]

    def micro_batch(self, cells: Sequence[Cell], budget: float, least: int = 1) -> int | None:
        """The whole batch, or the largest half, quarter, ... of it that fits, not below `least`; None if none does."""
        return largest_pass(lambda n_items: self.need(cells, n_items), cells[0].budget.batch_size, budget, least)

    def least_items(self, cell: Cell) -> int:
        """Items of a pass that is worth a worker of its own."""
        shape = self.shape(cell)
        return min(cell.budget.batch_size, -(-LEAST_TOKENS // shape.n_tokens))

    def most_rows(self, cells: Sequence[Cell], budget: float) -> int:
        """How many of the cells can train together in passes worth taking: all, or the largest power of two below."""
        n_rows = len(cells)
        while n_rows > 1 and self.micro_batch(cells[:n_rows], budget, self.least_items(cells[0])) is None:
            n_rows = 1 << ((n_rows - 1).bit_length() - 1)
        return n_rows

    def shape(self, cell: Cell) -> BatchShape:
        """What a step of the cell sees."""
        key = (cell.base, cell.task, cell.budget.batch_size)
        if key not in self._shapes:
            items = first_items(cell, self.base_of(cell.base))
            n_completion = int((items.n_tokens_N - items.n_prompt_N).max())
            self._shapes[key] = BatchShape(len(items), int(items.n_tokens_N.max()), n_completion)
        return self._shapes[key]


def largest_pass(need: Callable[[int], int], n_items: int, budget: float, least: int = 1) -> int | None:
    """So many items, or the largest half, quarter, ... of them whose need fits, not below `least`; else None."""
    while need(n_items) > budget:
        if n_items <= least:
            return None
        n_items = max(least, (n_items + 1) // 2)
    return n_items


def plan_workers(fit: Fit, cells: Sequence[Cell], room: Room, asked: int | None) -> int:
    """The most workers, no more than asked for, such that the largest cell fits in passes worth taking; else one.

    Raises BadInput when a cell does not fit even alone, one item at a time.
    """
    kinds = list({(cell.base, cell.task, cell.arm, cell.budget.batch_size): cell for cell in cells}.values())
    for n_workers in range(asked or room.most_workers, 0, -1):
        budget = USABLE * room.free_bytes / n_workers
        if all(fit.micro_batch([cell], budget, fit.least_items(cell)) for cell in kinds):
            return n_workers
    for cell in kinds:
        if fit.micro_batch([cell], USABLE * room.free_bytes) is None:
            raise BadInput(
                f"{cell.arm.label} on {cell.base} needs about {fit.need([cell], 1) / GIB:.1f} GiB even one item at a "
                f"time, and {room.free_bytes / GIB:.1f} GiB are free. Free memory, or take shorter items, fewer sites, "
                "a lower rank or a smaller base."
            )
    return 1


def with_micro_batches(fit: Fit, jobs: Sequence[Job], budget: float) -> tuple[Job, ...]:
    """The jobs with passes that fit; one that carries its own, from an earlier plan, keeps it."""
    return tuple(job if job.micro_batch else _fitted(fit, job, budget) for job in jobs)


def _fitted(fit: Fit, job: Job, budget: float) -> Job:
    n_items = fit.micro_batch(job.cells, budget)
    return job if n_items in (None, job.cells[0].budget.batch_size) else replace(job, micro_batch=n_items)
