"""The state from which a training goes on bit for bit: one safetensors file, replaced atomically."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rankscope.base.atomic import atomic_path
from rankscope.base.errors import BadFile

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Progressed:
    """How far a training has come."""

    step: int
    """Optimiser steps done."""
    pending_losses: list[float]
    """Losses in nats since the last row of metrics."""
    time_s: float
    """Time trained so far, over all processes that worked on it."""


def write_checkpoint(
    path: Path, parameters: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer, at: Progressed
) -> None:
    """Writes parameters, Adam moments and progress."""
    tensors = {
        "step": torch.tensor(at.step),
        "pending_losses": torch.tensor(at.pending_losses, dtype=torch.float64),
        "time_s": torch.tensor(at.time_s, dtype=torch.float64),
    }
    for name, parameter in parameters.items():
        tensors[f"{name}|parameter"] = parameter.detach().contiguous()
        # A parameter that has had no gradient yet has no moments.
        for moment, tensor in optimiser.state.get(parameter, {}).items():
            tensors[f"{name}|{moment}"] = tensor.contiguous()
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def read_checkpoint(
    path: Path, parameters: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer
) -> Progressed | None:
    """Loads a checkpoint into parameters and optimiser; None when there is none. Raises BadFile when unreadable."""
    if not path.exists():
        return None
    try:
        tensors = load_file(path)
        for name, parameter in parameters.items():
            parameter.data.copy_(tensors[f"{name}|parameter"])
            if f"{name}|step" in tensors:
                optimiser.state[parameter] = {
                    moment: _like(tensors[f"{name}|{moment}"], parameter, moment) for moment in MOMENTS
                }
        return Progressed(int(tensors["step"]), tensors["pending_losses"].tolist(), float(tensors["time_s"]))
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise BadFile(f"{path} is damaged ({error}). Delete it; the cell then starts again from step 0.") from error


def _like(tensor: Tensor, parameter: nn.Parameter, moment: str) -> Tensor:
    """A tensor of its own on the parameter's device; Adam keeps its step count on the CPU."""
    return tensor.clone() if moment == "step" else torch.empty_like(parameter).copy_(tensor)
