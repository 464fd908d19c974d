"""What a set of trainings will cost, from a few real steps of each distinct shape."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from rankscope.base.timing import seconds
from rankscope.lm.bases import Base, load_base
from rankscope.tasks.catalog import load_items
from rankscope.tasks.encoded import EncodedItems
from rankscope.train.batches import batch_of
from rankscope.train.cell import Cell
from rankscope.train.kinds import AskedKind, build_arm_of, resolve_kind
from rankscope.train.materials import Materials
from rankscope.train.objective import objective_of
from rankscope.train.pack_plan import Job
from rankscope.train.packed import Member, build_pack, pack_batches
from rankscope.train.training import reference_precision

MEASURED_STEPS = 3


def job_shape(job: Job) -> str:
    """Jobs of one shape take equally long per step: seeds, learning rates and number of steps do not matter."""
    return "||".join(_cell_shape(cell) for cell in job)


def _cell_shape(cell: Cell) -> str:
    task = re.sub(r"\bseed=\d+", "", cell.task)
    return "|".join((cell.base, task, cell.arm.model_dump_json(), str(cell.budget.batch_size), cell.precision))


def measure_step_seconds(
    job: Job, device: str = "cpu", n_steps: int = MEASURED_STEPS, executor: AskedKind = "auto"
) -> float:
    """Median seconds per step of the whole job after one to warm up, with the threads that torch is set to."""
    cell = job[0]
    base = load_base(cell.base, device=device)
    items = load_items(cell.task, "train", cell.budget.batch_size, cell.seeds.data, base.tokenizer)
    if len(job) > 1:
        return _pack_step_seconds(job, base, items, torch.device(device), n_steps)
    batch = batch_of(items, torch.arange(len(items)).numpy(), torch.device(device))
    kind = resolve_kind(executor, base, cell)
    arm = build_arm_of(kind, base, cell)
    optimiser = torch.optim.AdamW(list(arm.parameters.values()), lr=cell.optimiser.lr)
    with objective_of(base, items) as loss_of:

        def step() -> None:
            with reference_precision(kind, cell, torch.device(device)):
                loss = loss_of(arm.model, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()

        return _median_seconds(step, n_steps)


def _pack_step_seconds(job: Job, base: Base, items: EncodedItems, device: torch.device, n_steps: int) -> float:
    budget = job[0].budget.model_dump() | {"n_items": len(items), "n_epochs": 1}
    short = [cell.override(budget=budget) for cell in job]
    members = [Member(Materials(cell, "", base, items), Path()) for cell in short]
    trainer, rows = build_pack(members, device)
    lr_K = torch.full((len(rows),), job[0].optimiser.lr, dtype=torch.float64, device=device)
    with pack_batches(rows, device) as batch_at:

        def step() -> None:
            trainer.step_(batch_at(0), lr_K)[0].tolist()

        return _median_seconds(step, n_steps)


def _median_seconds(step: Callable[[], object], n_steps: int) -> float:
    times_s = [seconds(step) for _ in range(n_steps + 1)]
    return sorted(times_s[1:])[n_steps // 2]


def estimate_seconds(
    jobs: Sequence[Job], seconds_per_step: Callable[[Job], float] = measure_step_seconds, n_workers: int = 1
) -> float:
    """Seconds that the jobs' steps will take on that many workers; `seconds_per_step` is asked once per shape."""
    measured: dict[str, float] = {}
    total_s = 0.0
    for job in jobs:
        shape = job_shape(job)
        if shape not in measured:
            measured[shape] = seconds_per_step(job)
        total_s += measured[shape] * job[0].budget.n_steps
    return total_s / max(1, min(n_workers, len(jobs)))
