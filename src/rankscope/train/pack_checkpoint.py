"""The state of a pack, row by row under the keys of its cells: one safetensors file, replaced atomically."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from rankscope.base.atomic import atomic_path
from rankscope.base.errors import BadFile
from rankscope.engine.pack_step import PackTrainer


@dataclass(frozen=True)
class PackProgress:
    """How far a pack has come."""

    step: int
    """Optimiser steps done."""
    pending_losses: list[list[float]]
    """Per row, losses in nats since the last row of metrics."""
    time_s: float
    """Time trained so far, over all processes that worked on it."""


def write_pack_checkpoint(path: Path, trainer: PackTrainer, keys: Sequence[str], at: PackProgress) -> None:
    """Writes every row's factors, moments and losses; `keys` in the order of the rows."""
    tensors = {"step": torch.tensor(at.step), "time_s": torch.tensor(at.time_s, dtype=torch.float64)}
    for slot, key in enumerate(keys):
        for kind, flat in _buffers(trainer).items():
            for name, tensor in trainer.pack.tensors(slot, flat).items():
                tensors[f"{key}|{name}|{kind}"] = tensor.detach().contiguous()
        tensors[f"{key}|adam_steps"] = _adam_steps(trainer, slot).clone()
        tensors[f"{key}|alive"] = trainer.alive_K[slot].clone()
        tensors[f"{key}|pending_losses"] = torch.tensor(at.pending_losses[slot], dtype=torch.float64)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def keys_in(path: Path) -> set[str]:
    """The cells whose state a checkpoint holds; none where there is no checkpoint, or a damaged one."""
    if not path.exists():
        return set()
    try:
        with safe_open(path, "pt") as opened:
            return {name.partition("|")[0] for name in opened.keys() if name.endswith("|adam_steps")}  # noqa: SIM118
    except SafetensorError:
        return set()


@torch.no_grad()
def read_pack_checkpoint(path: Path, trainer: PackTrainer, keys: Sequence[str]) -> PackProgress | None:
    """Loads every row, in whatever slot it stood; None when there is no checkpoint, or it lacks one of the cells."""
    if not path.exists():
        return None
    try:
        tensors = load_file(path)
        if any(f"{key}|adam_steps" not in tensors for key in keys):
            return None
        for slot, key in enumerate(keys):
            for kind, flat in _buffers(trainer).items():
                for name, tensor in trainer.pack.tensors(slot, flat).items():
                    tensor.copy_(tensors[f"{key}|{name}|{kind}"])
            _adam_steps(trainer, slot).copy_(tensors[f"{key}|adam_steps"])
            trainer.alive_K[slot] = tensors[f"{key}|alive"]
        losses = [tensors[f"{key}|pending_losses"].tolist() for key in keys]
        return PackProgress(int(tensors["step"]), losses, float(tensors["time_s"]))
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise BadFile(f"{path} is damaged ({error}). Delete it; its cells then start again from step 0.") from error


def _buffers(trainer: PackTrainer) -> dict[str, dict[int, Tensor]]:
    """Kind of state -> its flat buffer per bucket."""
    buckets = trainer.pack.buckets
    return {
        "parameter": {bucket.first_row: bucket.theta_KP for bucket in buckets},
        "exp_avg": {b.first_row: m.mean_KP for b, m in zip(buckets, trainer.moments, strict=True)},
        "exp_avg_sq": {b.first_row: m.square_KP for b, m in zip(buckets, trainer.moments, strict=True)},
    }


def _adam_steps(trainer: PackTrainer, slot: int) -> Tensor:
    bucket, place = trainer.pack.row(slot)
    return trainer.moments[trainer.pack.buckets.index(bucket)].step_K1[place]
