"""What `rankscope rank` and `rankscope truncate` share when a base and a task are given: loading, checks, warnings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankscope.cli.console import err, print_line, step_bar
from rankscope.cli.options import MOST_ITEMS, N_TEST_ITEMS

if TYPE_CHECKING:
    from rankscope.adapters.weights import AdapterWeights
    from rankscope.lm.bases import Base
    from rankscope.studies.adapter import Tell

OneBase = Annotated[
    str | None, typer.Option("--base", help="Shipped base, model folder, or Hugging Face name; goes with --task.")
]
OneTask = Annotated[str | None, typer.Option("--task", help="Task with its knobs, or FILE.jsonl; goes with --base.")]
HeldOutItems = Annotated[
    int, typer.Option("--items", help="Held-out items to score on; a file may have fewer.", min=2, max=MOST_ITEMS)
]
OnTaskItems = Annotated[
    int | None,
    typer.Option(
        "--items",
        help=f"Held-out items to score on, by default {N_TEST_ITEMS}; a file may have fewer. Goes with --base and "
        "--task.",
        min=2,
        max=MOST_ITEMS,
    ),
]
"""None where it is not given, so that a number that nothing would use is noticed."""


@dataclass(frozen=True)
class OnTask:
    """A base, ready to use, and a task's name."""

    base: "Base"
    task: str


def check_both(base: str | None, task: str | None) -> bool:
    """Whether a base and a task are given. Raises BadInput when one is and the other is not."""
    from rankscope.base.errors import BadInput

    if (base is None) != (task is None):
        given, missing = ("--base", "--task") if task is None else ("--task", "--base")
        raise BadInput(f"{given} needs {missing} beside it: a score takes a base and a task. Give both, or neither.")
    return base is not None


def check_used(is_on_task: bool, **given: int | None) -> None:
    """Raises BadInput where an option is given that only measuring on a task would use, and there is no task."""
    from rankscope.base.errors import BadInput

    unused = [f"--{name}" for name, value in given.items() if value is not None]
    if unused and not is_on_task:
        raise BadInput(
            f"{unused[0]} is about measuring on a task, and without --base and --task nothing is measured. Give both, "
            f"or leave {unused[0]} out."
        )


def load_on_task(
    base: str, task: str, device: str, adapters: "Sequence[AdapterWeights]", folders: Sequence[Path]
) -> OnTask:
    """The base, after checks on the task's name and on how the adapters fit; warns about another base by name."""
    from rankscope.base.device import resolve_device
    from rankscope.lm.bases import load_base
    from rankscope.studies.adapter import check_adapters
    from rankscope.tasks.catalog import load_task

    where = resolve_device(device).type
    load_task(task)
    loaded = load_base(base, device=where)
    check_adapters(loaded, adapters, folders)
    for folder in folders:
        warn_of_another_base(folder, base)
    return OnTask(loaded, task)


def warn_of_another_base(folder: Path, base: str) -> None:
    """Says on stderr when an adapter's settings name another base than the one given."""
    from rankscope.adapters.read import read_adapter_info

    named = read_adapter_info(folder).base_name
    if named and named != base and Path(named).resolve() != Path(base).resolve():
        print_line(
            f"Warning: {folder} names {named} as its base, not {base}. What follows holds only if they are the same "
            "model.",
            err(),
            style="yellow",
        )


@contextmanager
def truncation_bar() -> "Iterator[Tell]":
    """A progress bar on stderr that counts the models scored."""
    with step_bar("Scoring truncations") as bar:
        yield lambda done, total: bar.show(done, total, "")
