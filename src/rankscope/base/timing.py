"""How long something takes by the clock."""

import time
from collections.abc import Callable

import torch


def seconds(run: Callable[[], object], device: torch.device | None = None) -> float:
    """Seconds of one call, with what it left to do on the device."""
    _wait(device)
    started = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
