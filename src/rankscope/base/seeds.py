"""Named random streams: every random choice is a pure function of a name and a seed.

A study's seed sets all streams; a change of one stream's seed leaves the others as they were.
"""

import hashlib

import numpy as np
import torch

from rankscope.base.config import Config


class Seeds(Config):
    """The seeds of one training, one per stream."""

    data: int = 0
    """Which items are drawn: item i is a function of (data, i)."""
    order: int = 0
    """In which order an epoch visits them: a function of (order, epoch)."""
    init: int = 0
    """Adapter initialisation: drawn per site from (init, site name), so ranks are nested."""
    dropout: int = 0
    """Adapter dropout masks."""
    eval: int = 0
    """Anything random at evaluation, such as random-subspace controls."""

    @classmethod
    def all(cls, seed: int) -> "Seeds":
        """Every stream set to the same study seed."""
        return cls(data=seed, order=seed, init=seed, dropout=seed, eval=seed)


def stream_seed(*names: str | int) -> int:
    """A 63-bit seed that depends on every part of the name and on nothing else.

    Check: parts are length-prefixed, so ("a", "bc") and ("ab", "c") differ.
    """
    text = "".join(f"{len(str(name))}:{name}" for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(*names: str | int) -> np.random.Generator:
    """A numpy generator for a named stream."""
    return np.random.default_rng(stream_seed(*names))


def torch_stream(*names: str | int) -> torch.Generator:
    """A CPU torch generator for a named stream; draw on the CPU, then move, so devices agree."""
    return torch.Generator().manual_seed(stream_seed(*names))
