"""Which device a run uses."""

from typing import Literal

import torch

from rankscope.base.errors import BadInput

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


def resolve_device(name: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda` or `mps`; `auto` takes the first accelerator present."""
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in present.items() if there))
    if name not in present:
        raise BadInput(f"--device must be auto, cpu, cuda or mps, not {name!r}.")
    if not present[name]:
        raise BadInput(f"--device {name} was asked for, but torch finds none here. Use --device cpu.")
    return torch.device(name)
