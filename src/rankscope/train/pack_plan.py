"""Which cells are worth training together, decided and written down before any of them trains."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from rankscope.base.atomic import write_json
from rankscope.lm.bases import Base
from rankscope.lm.decoder import Decoder
from rankscope.lm.read_decoder import read_decoder
from rankscope.train.cell import Cell, LoraSpec
from rankscope.train.job import Job
from rankscope.train.kinds import why_not_loop
from rankscope.train.memory import BatchShape
from rankscope.train.pack_gain import lowest_stage, pack_gain, stages_of
from rankscope.train.work import Fit

PACKS = "packs"
PLAN = "plan.json"
LEAST_GAIN = 1.1
"""Packs that save less than this factor of the arithmetic are not worth their larger working set on a CPU."""
MOST_ROWS = 32

Rows = Callable[[Sequence[Cell]], int]
"""How many of some cells may train together."""
Gain = Callable[[Sequence[Cell]], float]
"""How many times less arithmetic some cells need together."""


def plan_jobs(
    cells: Sequence[Cell],
    fit: Fit,
    root: Path,
    always: bool = False,
    most_rows: Rows = lambda _: MOST_ROWS,
) -> list[Job]:
    """Every cell in exactly one job, in the order of their first cells.

    A plan that an earlier call wrote and did not finish is replayed as it stands where all its members are asked for
    again. New packs join cells that see the same batches and first differ at the same point, where that saves work:
    what lies below it is computed once for all of them. With `always`, cells of one budget are joined, those that see
    the same batches first.
    """
    asked = set(cells)
    jobs = [job for job in read_plans(root) if asked.issuperset(job.cells)]
    taken = {cell for job in jobs for cell in job.cells}
    read: dict[str, Decoder] = {}
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        base = fit.base_of(cell.base)
        if cell not in taken and why_not_packed(base, cell) is None:
            if cell.base not in read:
                read[cell.base] = read_decoder(base.model)
            alike = _budget_of(cell) if always else _alike(base, read[cell.base], cell, fit.shape(cell))
            groups.setdefault(alike, []).append(cell)
    for group in groups.values():
        gain = partial(pack_gain, fit.base_of(group[0].base), read[group[0].base], batch=fit.shape(group[0]))
        jobs += _packs(sorted(group, key=_seeds_of), None if always else gain, most_rows)
    job_of = {cell: job for job in jobs for cell in job.cells}
    return list(dict.fromkeys(job_of.get(cell, Job((cell,))) for cell in cells))


def _packs(group: list[Cell], gain: Gain | None, most_rows: Rows) -> list[Job]:
    """The group in packs, of those whose gain is worth it; of all without one."""
    packs = []
    while len(group) > 1:
        n_rows = min(len(group), MOST_ROWS, most_rows(group[:MOST_ROWS]))
        chosen, group = tuple(group[:n_rows]), group[n_rows:]
        if n_rows > 1 and (gain is None or gain(chosen) >= LEAST_GAIN):
            packs.append(Job(chosen))
    return packs


def write_plans(jobs: Sequence[Job], root: Path) -> None:
    """Packs, their members' order and their passes, on the disk before any of them trains."""
    for job in jobs:
        if len(job.cells) > 1:
            plan = {"members": [cell.model_dump(mode="json") for cell in job.cells], "micro_batch": job.micro_batch}
            write_json(pack_folder(root, job.cells) / PLAN, plan)


def pack_folder(root: Path, cells: Sequence[Cell]) -> Path:
    """Where a pack's plan and checkpoint are until it has ended; named by a hash over the members."""
    text = "|".join(cell.model_dump_json() for cell in cells)
    return root / PACKS / hashlib.sha256(text.encode()).hexdigest()[:16]


def read_plans(root: Path) -> list[Job]:
    """The packs that were planned and have not ended yet."""
    jobs = []
    for path in sorted((root / PACKS).glob(f"*/{PLAN}")):
        try:
            plan = json.loads(path.read_text(encoding="utf-8"))
            jobs.append(Job(tuple(Cell.model_validate(member) for member in plan["members"]), plan["micro_batch"]))
        except (ValueError, KeyError, TypeError, ValidationError):
            continue  # a plan of another version: its cells are planned anew
    return jobs


def why_not_packed(base: Base, cell: Cell) -> str | None:
    """Why a cell can not be a row of a pack, in a phrase; None when it can."""
    if not isinstance(cell.arm, LoraSpec):
        return f"{cell.arm.kind} training changes the base's own weights"
    return why_not_loop(base, cell)


def _budget_of(cell: Cell) -> tuple[object, ...]:
    """Cells with equal values may be rows of one pack."""
    return (cell.base, cell.task, cell.budget, cell.precision)


def _seeds_of(cell: Cell) -> tuple[int, int]:
    return (cell.seeds.data, cell.seeds.order)


def _alike(base: Base, decoder: Decoder, cell: Cell, batch: BatchShape) -> tuple[object, ...]:
    """Cells with equal values see the same batches, and first differ at the same point of a forward pass."""
    return (*_budget_of(cell), *_seeds_of(cell), lowest_stage(base, stages_of(decoder, batch), cell))
