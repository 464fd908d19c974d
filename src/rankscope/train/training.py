"""One training, from materials to a finished cell folder: the loop that every other executor is held to."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from rankscope.base.atomic import write_json
from rankscope.base.precision import PrecisionPlan
from rankscope.engine.passes import WHOLE, Passes
from rankscope.engine.switches import ALL_ON, Switches
from rankscope.runs.folder import write_done
from rankscope.runs.metrics import MetricsLog
from rankscope.train.arms import Arm, dropout_stream, write_arm
from rankscope.train.batches import Batch, batch_stream
from rankscope.train.cell import Cell
from rankscope.train.checkpoint import Progressed, read_checkpoint, write_checkpoint
from rankscope.train.events import Diverged, Event, Finished, Progress
from rankscope.train.kinds import AskedKind, ExecutorKind, build_arm_of, in_full_precision, passes_of, prefix_of
from rankscope.train.materials import Materials
from rankscope.train.objective import Loss, objective_of
from rankscope.train.schedule import lr_at

METRICS, CHECKPOINT, DIVERGED, TIMING = "metrics.jsonl", "checkpoint.safetensors", "diverged.json", "timing.json"
FINAL, EARLY = "adapter", "early"
PREFIX = "prefix"
"""Folder beside the cells' where large prefix caches lie while cells train."""
EARLY_FRAC = 0.8
"""Share of the steps after which the early snapshot is taken, unless settings say otherwise."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a training is run, watched and saved; executors agree up to rounding, and the rest changes no weight."""

    device: str = "cpu"
    executor: AskedKind = "auto"
    early_frac: float = EARLY_FRAC
    """Share of the steps after which a snapshot goes to `early/`, to tell whether the cell has converged."""
    checkpoint_every_s: float = 15.0
    log_every: int = 10
    """Steps between rows of metrics."""
    switches: Switches = ALL_ON
    """What our decoder leaves undone."""


def train_cell(
    materials: Materials,
    folder: Path,
    settings: TrainingSettings,
    kind: ExecutorKind = "reference",
    micro_batch: int | None = None,
) -> Iterator[Event]:
    """Trains a cell from its checkpoint, or from the start, until `done.json` stands in its folder.

    A step takes its batch in passes of at most `micro_batch` items.
    On the CPU, everything that `done.json` hashes is a function of the materials, the kind, `micro_batch`,
    `early_frac`, `log_every`, the machine and the number of threads alone: an interrupted and resumed training leaves
    the same bytes as an uninterrupted one. On an accelerator the order of sums may differ from run to run, and so may
    the last bits. Times go to `timing.json`, which is not hashed. A loss, gradient or weight that is not finite ends
    the training.
    """
    cell, base, key = materials.cell, materials.base, materials.key
    device, n_steps = torch.device(settings.device), cell.budget.n_steps
    early_step = early_step_of(n_steps, settings.early_frac)

    passes = passes_of(kind, device, micro_batch, settings.switches)
    prefix = prefix_of(materials, folder.parent / PREFIX, settings.switches) if kind == "loop" else None
    arm = build_arm_of(kind, base, cell, prefix, settings.switches)
    parameters = list(arm.parameters.values())
    batch_at = batch_stream(materials.items, cell.budget, cell.seeds.order, device)
    spec = cell.optimiser
    optimiser = torch.optim.AdamW(
        parameters, lr=spec.lr, betas=(spec.beta1, spec.beta2), eps=spec.eps, weight_decay=spec.weight_decay
    )

    (folder / DIVERGED).unlink(missing_ok=True)
    checkpoint = folder / CHECKPOINT
    found = read_checkpoint(checkpoint, arm.parameters, optimiser)
    step, losses, time_before_s = (found.step, found.pending_losses, found.time_s) if found else (0, [], 0.0)
    started = checkpointed = time.monotonic()
    finite = True

    with (
        MetricsLog(folder / METRICS, found.step if found else None) as metrics,
        objective_of(base, materials.items, in_full_precision(prefix, cell)) as loss_of,
    ):
        while step < n_steps:
            lr = lr_at(step, n_steps, spec)
            for group in optimiser.param_groups:
                group["lr"] = lr
            optimiser.zero_grad()
            with dropout_stream(arm, cell.seeds.dropout, step):
                loss = add_gradients(arm, batch_at(step), loss_of, reference_precision(kind, cell, device), passes)
            grad_norm = torch.nn.utils.clip_grad_norm_(parameters, spec.clip)
            finite = bool(torch.isfinite(loss) & torch.isfinite(grad_norm))
            if not finite:
                break
            optimiser.step()
            step += 1
            losses.append(loss.item())

            if step % settings.log_every == 0 or step == n_steps:
                mean_loss = sum(losses) / len(losses)
                metrics.write(step, loss_nats=mean_loss, lr=lr, grad_norm=grad_norm.item())
                losses = []
                yield Progress(key, step, n_steps, mean_loss)
            if step == early_step:
                write_arm(folder / EARLY, arm, cell.base)
            if time.monotonic() - checkpointed >= settings.checkpoint_every_s and step < n_steps:
                metrics.sync()
                time_s = time_before_s + time.monotonic() - started
                write_checkpoint(checkpoint, arm.parameters, optimiser, Progressed(step, losses, time_s))
                checkpointed = time.monotonic()

    finite = finite and all(bool(torch.isfinite(parameter).all()) for parameter in parameters)
    if finite:
        write_arm(folder / FINAL, arm, cell.base)
    time_s = time_before_s + time.monotonic() - started
    conclude(folder, step, None if finite else step, time_s, device)
    yield Finished(key, cell, folder, kind, was_cached=False) if finite else Diverged(key, cell, folder, kind, step)


def add_gradients(
    arm: Arm, batch: Batch, loss_of: Loss, precision: AbstractContextManager[object], passes: Passes = WHOLE
) -> Float[Tensor, ""]:
    """Adds the batch's gradients to the arm's parameters, one pass after the other, and returns the loss."""
    total: Tensor | None = None
    for part, share in batch.parts(passes):
        with precision:
            loss = loss_of(arm.model, part)
        if share is not None:
            loss = loss * share
        loss.backward()
        total = loss.detach() if total is None else total + loss.detach()
    assert total is not None
    return total


def early_step_of(n_steps: int, early_frac: float = EARLY_FRAC) -> int:
    """The step after which the early snapshot is taken."""
    return max(1, round(early_frac * n_steps))


def reference_precision(kind: ExecutorKind, cell: Cell, device: torch.device) -> torch.autocast:
    """Products in bf16 by autocast for `reference`; our decoder follows its plan by itself."""
    in_bf16 = kind == "reference" and PrecisionPlan.of(cell.precision).products == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=in_bf16)


def conclude(folder: Path, n_steps: int, diverged_at: int | None, time_s: float, device: torch.device) -> None:
    """Marks a cell as done, its weights written before; removes its checkpoint and notes the time it took."""
    if diverged_at is not None:
        write_json(folder / DIVERGED, {"step": diverged_at})
    write_done(folder, leave_out=(CHECKPOINT,))
    (folder / CHECKPOINT).unlink(missing_ok=True)
    write_json(
        folder / TIMING,
        {"time_s": time_s, "n_steps": n_steps, "device": str(device), "n_threads": torch.get_num_threads()},
    )
