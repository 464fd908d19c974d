"""What a study shows while it works: a bar with time left in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_EVERY_S = 30.0


def say(line: str) -> None:
    """One line on standard error, so that standard output stays for facts: wrapped in a terminal, whole in a pipe."""
    console = Console(stderr=True, highlight=False)
    console.print(line, markup=False, soft_wrap=not console.is_terminal)


class Meter:
    """Counts units of work done."""

    def __init__(self, label: str, total: float, bar: Progress | None) -> None:
        self._label, self._total, self._bar = label, max(total, 1e-9), bar
        self._task = bar.add_task(label, total=total) if bar else None
        self._done, self._found = 0.0, 0.0
        self._started = self._said = time.monotonic()

    def advance(self, units: float, was_found: bool = False) -> None:
        """Adds work done, or found done already, which says nothing of how long the rest will take."""
        self._done += units
        self._found += units if was_found else 0.0
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)
        elif time.monotonic() - self._said > _LINE_EVERY_S:
            self._said = time.monotonic()
            say(f"{self._label}: {self._done / self._total:.0%}{self._left()}")

    def _left(self) -> str:
        """The time left, once there is any work to judge it by."""
        if self._done <= self._found:
            return ""
        left_s = (self._said - self._started) * (self._total - self._done) / (self._done - self._found)
        return f", about {minutes(left_s)} left"


@contextmanager
def meter(label: str, total: float) -> Iterator[Meter]:
    """A meter that shows itself until the block ends."""
    console = Console(stderr=True)
    if not console.is_terminal:
        say(f"{label} ...")
        yield Meter(label, total, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console) as bar:
        yield Meter(label, total, bar)


def minutes(seconds: float) -> str:
    """A time in words: `40 s`, `12 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
