"""`rankscope task`: list tasks, look at items, export them, check them for leaks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankscope.cli.console import err, out, plain_table, print_json, print_line
from rankscope.cli.options import MOST_ITEMS, Json, Seed

if TYPE_CHECKING:
    from rankscope.tasks.catalog import Task
    from rankscope.tasks.leaks import Leak

LEAKS_FOUND = 1
Name = Annotated[str, typer.Argument(metavar="NAME[:KNOBS]", help="Task with its knobs, such as hashhop:mode=matched.")]

app = typer.Typer(no_args_is_help=True, help="Tasks: list, look at items, export them, check them for leaks.")


@app.command("list")
def list_tasks(as_json: Json = False) -> None:
    """Lists the tasks; a FILE.jsonl of prompts and answers can stand wherever a task name goes."""
    from rankscope.tasks.catalog import TASKS

    if as_json:
        print_json(TASKS)
        return
    table = plain_table("task", "what it asks")
    for name, line in TASKS.items():
        table.add_row(name, line)
    table.add_row("FILE.jsonl", "your own prompts and answers")
    out().print(table)


@app.command("show")
def show(
    name: Name,
    n: Annotated[int, typer.Option("-n", help="How many items.", min=1, max=MOST_ITEMS)] = 2,
    seed: Seed = 0,
) -> None:
    """Prints items with every token in the colour of its role."""
    from rankscope.cli.show_items import show_items, show_texts
    from rankscope.tasks.catalog import load_task
    from rankscope.tasks.jsonl import JsonlTask
    from rankscope.tasks.paper import PaperTask

    task = load_task(name)
    if isinstance(task, JsonlTask):
        show_texts(task.texts[:n], out())
    elif isinstance(task, PaperTask):
        show_texts(task.texts("train", n, seed), out())
    else:
        show_items(task.items("train", n, seed), out())


@app.command("export")
def export(
    name: Name,
    target: Annotated[Path, typer.Option("--out", help="JSONL file to write; its card goes beside it.")],
    n: Annotated[int, typer.Option("--n", help="How many items.", min=1, max=MOST_ITEMS)] = 1000,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.", metavar="SPLIT")] = "train",
    seed: Seed = 0,
) -> None:
    """Writes items as JSONL with a dataset card, loadable by `datasets`."""
    from rankscope.base.errors import BadInput
    from rankscope.cli.targets import check_file_target
    from rankscope.tasks.export import export_items

    if split not in ("train", "validation", "test"):
        raise BadInput(f"--split must be train, validation or test, not {split!r}.")
    check_file_target(target)
    card = export_items(generated_task(name), n, seed, target, split)
    print_line(f"{n:,} items: {target}\nTheir card: {card}", out())


@app.command("check")
def check(
    name: Name,
    n: Annotated[int, typer.Option("--n", help="How many items to check.", min=1, max=MOST_ITEMS)] = 20_000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Checks a map task for leaks: does a shortcut tell what only the map's edges should tell?

    Exit code 1 when one does.
    """
    from rankscope.tasks.leaks import leak_check
    from rankscope.tasks.twins import TwinTask

    task = generated_task(name)
    if not isinstance(task, TwinTask):
        from rankscope.base.errors import NotSupported

        raise NotSupported(f"The leak check knows the shortcuts of HashHop and HashChain alone; {name} is neither.")
    with err().status(f"Checking {n:,} items"):
        leaks = leak_check(task, n, seed)
    if as_json:
        print_json({"task": name, "n_items": n, "leaks": [leak_row(leak) for leak in leaks]})
    else:
        show_leaks(name, n, leaks)
    if any(leak.leaks for leak in leaks):
        raise typer.Exit(LEAKS_FOUND)


def generated_task(name: str) -> "Task":
    """The task of that name; NotSupported for a JSONL file, which is items already, and for the paper's own items."""
    from rankscope.base.errors import NotSupported
    from rankscope.tasks.catalog import load_task
    from rankscope.tasks.jsonl import JsonlTask
    from rankscope.tasks.paper import PaperTask

    task = load_task(name)
    if isinstance(task, JsonlTask):
        raise NotSupported(f"{name} is a file of items already; this command is for tasks that generate theirs.")
    if isinstance(task, PaperTask):
        raise NotSupported(f"{name} is plain text without roles; this command is for hashhop, hashchain and the like.")
    return task


def leak_row(leak: "Leak") -> dict[str, Any]:
    """One shortcut's facts."""
    return {
        "shortcut": leak.shortcut,
        "accuracy": leak.accuracy,
        "upper_95": leak.upper,
        "majority": leak.majority,
        "n_held_out": leak.n,
        "leaks": leak.leaks,
    }


def show_leaks(name: str, n: int, leaks: "list[Leak]") -> None:
    """Prints a row per shortcut and the verdict."""
    from rankscope.tasks.leaks import MARGIN, MIN_ITEMS

    table = plain_table("shortcut", "right", "95 % up to", "majority", "leaks", right=(1, 2, 3))
    for leak in leaks:
        style = "bold red" if leak.leaks else None
        numbers = (f"{share:.1%}" for share in (leak.accuracy, leak.upper, leak.majority))
        table.add_row(leak.shortcut, *numbers, "LEAKS" if leak.leaks else "no", style=style)
    console = out()
    console.print(table)
    n_leaks = sum(leak.leaks for leak in leaks)
    verdict = f"{n_leaks} shortcut(s) leak" if n_leaks else "no leak found"
    rule = f"a shortcut leaks when its bound lies more than {100 * MARGIN:g} points above the majority rate"
    print_line(f"\n{name}: {verdict} ({rule}; {leaks[0].n:,} held-out items).", console)
    if n < MIN_ITEMS:
        print_line(f"With fewer than {MIN_ITEMS:,} items the bounds are wide; clean tasks can seem to leak.", console)
