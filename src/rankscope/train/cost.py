"""What a set of trainings will cost, from a few real steps of each distinct shape."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from rankscope.base.timing import seconds
from rankscope.lm.bases import Base, load_base
from rankscope.tasks.encoded import EncodedItems
from rankscope.train.batches import batch_of
from rankscope.train.cell import Cell
from rankscope.train.job import Job
from rankscope.train.kinds import AskedKind, build_arm_of, passes_of, resolve_kind
from rankscope.train.materials import Materials, first_items
from rankscope.train.objective import objective_of
from rankscope.train.packed import Member, build_pack, pack_batches
from rankscope.train.training import add_gradients, reference_precision

MEASURED_STEPS = 3


def job_shape(job: Job) -> str:
    """Jobs of one shape take equally long per step: seeds, learning rates and number of steps do not matter."""
    return "||".join([*(_cell_shape(cell) for cell in job.cells), str(job.micro_batch)])


def _cell_shape(cell: Cell) -> str:
    task = re.sub(r"\bseed=\d+", "", cell.task)
    return "|".join((cell.base, task, cell.arm.model_dump_json(), str(cell.budget.batch_size), cell.precision))


def measure_step_seconds(
    job: Job, device: str = "cpu", n_steps: int = MEASURED_STEPS, executor: AskedKind = "auto"
) -> float:
    """Median seconds per step of the whole job after one to warm up, with the threads that torch is set to."""
    cell = job.cells[0]
    base = load_base(cell.base, device=device)
    items = first_items(cell, base)
    if len(job.cells) > 1:
        return _pack_step_seconds(job, base, items, torch.device(device), n_steps)
    batch = batch_of(items, torch.arange(len(items)).numpy(), torch.device(device))
    kind = resolve_kind(executor, base, cell)
    arm = build_arm_of(kind, base, cell)
    passes = passes_of(kind, torch.device(device), job.micro_batch)
    optimiser = torch.optim.AdamW(list(arm.parameters.values()), lr=cell.optimiser.lr)
    with objective_of(base, items) as loss_of:

        def step() -> None:
            optimiser.zero_grad()
            precision = reference_precision(kind, cell, torch.device(device))
            loss = add_gradients(arm, batch, loss_of, precision, passes)
            optimiser.step()
            loss.item()

        return _median_seconds(step, n_steps)


def _pack_step_seconds(job: Job, base: Base, items: EncodedItems, device: torch.device, n_steps: int) -> float:
    budget = job.cells[0].budget.model_dump() | {"n_items": len(items), "n_epochs": 1}
    short = [cell.override(budget=budget) for cell in job.cells]
    members = [Member(Materials(cell, "", base, items), Path()) for cell in short]
    trainer, rows = build_pack(members, device)
    passes = passes_of("packed", device, job.micro_batch)
    lr_K = torch.full((len(rows),), job.cells[0].optimiser.lr, dtype=torch.float64, device=device)
    with pack_batches(rows, device) as batch_at:

        def step() -> None:
            trainer.step_(batch_at(0), lr_K, passes)[0].tolist()

        return _median_seconds(step, n_steps)


def _median_seconds(step: Callable[[], object], n_steps: int) -> float:
    times_s = [seconds(step) for _ in range(n_steps + 1)]
    return sorted(times_s[1:])[n_steps // 2]


def estimate_seconds(jobs: Sequence[Job], step_s: Mapping[str, float]) -> float:
    """Seconds that the steps of all jobs take one after the other, from seconds per step of each shape."""
    return sum(step_s[job_shape(job)] * job.cells[0].budget.n_steps for job in jobs)
