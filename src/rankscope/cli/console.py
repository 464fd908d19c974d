"""How commands print: tables and sentences to stdout, progress and errors to stderr, JSON for machines."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


def out() -> Console:
    """The console of results; nothing is coloured by guesswork."""
    return Console(highlight=False)


def err() -> Console:
    """The console of progress and errors."""
    return Console(stderr=True, highlight=False)


def print_line(text: str, console: Console, style: str | None = None) -> None:
    """Prints one line, markup off: wrapped at words in a terminal, left whole in a pipe."""
    console.print(text, style=style, markup=False, soft_wrap=not console.is_terminal)


def print_json(value: Any) -> None:
    """Prints one JSON document, with keys in the order that the command gave them and no NaN."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def plain_table(*headings: str, right: tuple[int, ...] = ()) -> Table:
    """A table without frame; columns whose index is in `right` hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, heading in enumerate(headings):
        is_number = index in right
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    return table


def print_facts(facts: dict[str, Any], console: Console) -> None:
    """Prints name and value in two columns; long values wrap within theirs."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for name, value in facts.items():
        grid.add_row(Text(name), Text(str(value)))
    console.print(grid)


@contextmanager
def step_bar(title: str) -> Iterator["StepBar"]:
    """A progress bar with time left on stderr; in a pipe or log, one plain line per tenth of the way."""
    console = err()
    if not console.is_terminal:
        yield StepBar(title, None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        yield StepBar(title, progress)


class StepBar:
    """Shows how far a training is."""

    def __init__(self, title: str, progress: Progress | None) -> None:
        self._title = title
        self._progress = progress
        self._task = None if progress is None else progress.add_task(title, total=None, note="")
        self._tenths_shown = -1

    def show(self, step: int, n_steps: int, note: str) -> None:
        """Moves the bar to `step` of `n_steps`."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step, total=n_steps, note=note)
        elif 10 * step // n_steps > self._tenths_shown:
            self._tenths_shown = 10 * step // n_steps
            typer.echo(f"{self._title}: step {step} of {n_steps}{f', {note}' if note else ''}", err=True)
