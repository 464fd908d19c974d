"""What a worker takes at a time."""

from dataclasses import dataclass

from rankscope.train.cell import Cell


@dataclass(frozen=True)
class Job:
    """One cell alone, or a pack of cells in a fixed order."""

    cells: tuple[Cell, ...]
    micro_batch: int | None = None
    """Items per pass where all items of a step at once would not fit into memory."""
