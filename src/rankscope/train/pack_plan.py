"""Which cells are worth training together, decided and written down before any of them trains."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from rankscope.base.atomic import write_json
from rankscope.lm.bases import Base
from rankscope.lm.decoder import Decoder, LinearMap
from rankscope.lm.read_decoder import read_decoder
from rankscope.lm.sites import resolve_sites
from rankscope.train.cell import Cell, LoraSpec
from rankscope.train.kinds import why_not_loop

PACKS = "packs"
PLAN = "plan.json"
LEAST_GAIN = 1.1
"""Packs that save less than this factor of the arithmetic are not worth their larger working set on a CPU."""
MOST_ROWS = 32

Job = tuple[Cell, ...]
"""What a worker takes at a time: a pack in a fixed order, or one cell alone."""


def plan_jobs(cells: Sequence[Cell], base_of: Callable[[str], Base], root: Path, always: bool = False) -> list[Job]:
    """Every cell in exactly one job, in the order of their first cells; plans of packs stand on the disk afterwards.

    A plan that an earlier call wrote and did not finish is replayed as it stands where all its members are asked for
    again. New packs join cells that see the same batches and have the same lowest site, as long as that saves work:
    what lies below that site is computed once for all of them; with `always`, wherever cells see the same batches.
    """
    asked = set(cells)
    packs = [job for job in read_plans(root) if asked.issuperset(job)]
    taken = {cell for job in packs for cell in job}
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        if cell not in taken and why_not_packed(base_of(cell.base), cell) is None:
            lowest = 0 if always else lowest_map(base_of(cell.base), cell)
            groups.setdefault((*_batches_of(cell), lowest), []).append(cell)
    for group in groups.values():
        base = base_of(group[0].base)
        for first in range(0, len(group), MOST_ROWS):
            job = tuple(group[first : first + MOST_ROWS])
            if len(job) > 1 and (always or pack_gain(base, job) >= LEAST_GAIN):
                packs.append(job)
    for job in packs:
        write_json(pack_folder(root, job) / PLAN, {"members": [cell.model_dump(mode="json") for cell in job]})
    job_of = {cell: job for job in packs for cell in job}
    return list(dict.fromkeys(job_of.get(cell, (cell,)) for cell in cells))


def pack_folder(root: Path, job: Job) -> Path:
    """Where a pack's plan and checkpoint are until it has ended; named by a hash over the members."""
    text = "|".join(cell.model_dump_json() for cell in job)
    return root / PACKS / hashlib.sha256(text.encode()).hexdigest()[:16]


def read_plans(root: Path) -> list[Job]:
    """The packs that were planned and have not ended yet."""
    jobs = []
    for path in sorted((root / PACKS).glob(f"*/{PLAN}")):
        try:
            members = json.loads(path.read_text(encoding="utf-8"))["members"]
            jobs.append(tuple(Cell.model_validate(member) for member in members))
        except (ValueError, KeyError, TypeError, ValidationError):
            continue  # a plan of another version: its cells are planned anew
    return jobs


def why_not_packed(base: Base, cell: Cell) -> str | None:
    """Why a cell can not be a row of a pack, in a phrase; None when it can."""
    if not isinstance(cell.arm, LoraSpec):
        return f"{cell.arm.kind} training changes the base's own weights"
    return why_not_loop(base, cell)


def _batches_of(cell: Cell) -> tuple[object, ...]:
    """Cells with equal values see the same batches of the same base."""
    return (cell.base, cell.task, cell.budget, cell.seeds.data, cell.seeds.order, cell.precision)


def pack_gain(base: Base, cells: Sequence[Cell]) -> float:
    """How many times less arithmetic a pack of cells that share their batches needs than the cells one by one.

    Counts a matrix product forward for every map, and one backward for every map from the lowest adapted one on.
    """
    maps = maps_in_order(read_decoder(base.model))
    lowest = min(lowest_map(base, cell) for cell in cells)
    below = sum(linear.weight.numel() for linear in maps[:lowest])
    above = sum(linear.weight.numel() for linear in maps[lowest:])
    return len(cells) * (below + 2 * above) / (below + 2 * above * len(cells))


def lowest_map(base: Base, cell: Cell) -> int:
    """Which map, in the order of `maps_in_order`, is the first that a LoRA cell adapts."""
    assert isinstance(cell.arm, LoraSpec)
    sites = set(resolve_sites(base.model, cell.arm.placement))
    return next(i for i, linear in enumerate(maps_in_order(read_decoder(base.model))) if linear.path in sites)


def maps_in_order(decoder: Decoder) -> list[LinearMap]:
    """Every linear map in the order in which a forward pass reaches it, the head last."""
    return [linear for block in decoder.blocks for linear in block.maps] + [decoder.head]
