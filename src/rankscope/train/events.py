"""What an executor tells while it trains, and the protocol every executor obeys."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rankscope.train.cell import Cell


@dataclass(frozen=True)
class Progress:
    """A cell has done some steps."""

    key: str
    step: int
    n_steps: int
    loss_nats: float


@dataclass(frozen=True)
class Finished:
    """A cell is done; its folder holds the trained weights, metrics and `done.json`."""

    key: str
    cell: Cell
    folder: Path
    executor: str
    """What trained it: `reference`, `loop` or `packed`."""
    was_cached: bool


@dataclass(frozen=True)
class Diverged:
    """A cell's loss or weights stopped being finite; the folder keeps what there was."""

    key: str
    cell: Cell
    folder: Path
    executor: str
    step: int


Event = Progress | Finished | Diverged


class Executor(Protocol):
    """Trains cells. Studies never loop over cells themselves."""

    def train(self, cells: Sequence[Cell]) -> Iterator[Event]:
        """Trains every cell not yet done and yields events; ends each cell with Finished or Diverged."""
        ...
