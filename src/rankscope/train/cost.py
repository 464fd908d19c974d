"""What a set of cells will cost, from a few real steps of each distinct shape."""

import itertools
import time
from collections.abc import Callable, Sequence

import torch

from rankscope.lm.bases import load_base
from rankscope.tasks.catalog import load_items
from rankscope.train.batches import batch_of
from rankscope.train.cell import Cell
from rankscope.train.kinds import AskedKind, build_arm_of, resolve_kind
from rankscope.train.objective import objective_of

MEASURED_STEPS = 3


def step_shape(cell: Cell) -> str:
    """Cells of one shape take equally long per step: seeds, learning rate and number of steps do not matter."""
    arm = cell.arm.model_dump_json()
    return "|".join((cell.base, cell.task, arm, str(cell.budget.batch_size), cell.precision))


def measure_step_seconds(
    cell: Cell, device: str = "cpu", n_steps: int = MEASURED_STEPS, executor: AskedKind = "auto"
) -> float:
    """Median seconds per step after one to warm up, with the threads that torch is set to."""
    base = load_base(cell.base, device=device)
    n_items = cell.budget.batch_size
    items = load_items(cell.task, "train", n_items, cell.seeds.data, base.tokenizer)
    batch = batch_of(items, torch.arange(n_items).numpy(), torch.device(device))
    arm = build_arm_of(resolve_kind(executor, base, cell), base, cell)
    optimiser = torch.optim.AdamW(list(arm.parameters.values()), lr=cell.optimiser.lr)
    times_s = []
    with objective_of(base, items) as loss_of:
        for _ in range(n_steps + 1):
            started = time.perf_counter()
            with torch.autocast(device, torch.bfloat16, enabled=cell.precision == "bf16"):
                loss = loss_of(arm.model, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()
            times_s.append(time.perf_counter() - started)
    return sorted(times_s[1:])[n_steps // 2]


def estimate_seconds(
    cells: Sequence[Cell], seconds_per_step: Callable[[Cell], float] = measure_step_seconds, n_workers: int = 1
) -> float:
    """Seconds that the cells' steps will take on that many workers; `seconds_per_step` is asked once per shape."""
    total_s = 0.0
    for _, group in itertools.groupby(sorted(cells, key=step_shape), key=step_shape):
        same_shape = list(group)
        total_s += seconds_per_step(same_shape[0]) * sum(cell.budget.n_steps for cell in same_shape)
    return total_s / max(1, min(n_workers, len(cells)))
