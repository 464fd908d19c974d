"""`rankscope capture`: what an adapter computes on every token of a task, as a folder that later stages read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankscope.cli.console import out, print_facts, print_json, print_line, step_bar
from rankscope.cli.options import MOST_ITEMS, N_TEST_ITEMS, Device, Json

if TYPE_CHECKING:
    from rankscope.capture.store import AdapterState

SPLITS, DTYPES = ("train", "validation", "test"), ("float32", "float16")
READING = "from rankscope.capture.store import open_capture; for block in open_capture({folder!r}).iter_shown(): ..."


def capture(
    adapter: Annotated[Path, typer.Argument(help="Folder of a PEFT LoRA or rsLoRA adapter.")],
    base: Annotated[str, typer.Option("--base", help="Shipped base, model folder, or Hugging Face name.")],
    task: Annotated[str, typer.Option("--task", help="Task with its knobs, or FILE.jsonl.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for what is recorded; a later call goes on there.")],
    n_items: Annotated[
        int, typer.Option("--items", help="Items to record; a file may have fewer.", min=1, max=MOST_ITEMS)
    ] = N_TEST_ITEMS,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.", metavar="NAME")] = "test",
    dtype: Annotated[
        str, typer.Option("--dtype", help="float32, or float16 for half the disk.", metavar="NAME")
    ] = "float32",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Records the scalar of every adapter direction on every token, with each token's item, position and roles.

    Stopped at any point, the same command goes on after the last whole shard.
    """
    from rankscope.adapters.read import read_adapter
    from rankscope.base.errors import BadInput
    from rankscope.capture.recorder import record
    from rankscope.cli.on_task import load_on_task
    from rankscope.cli.targets import check_folder_target
    from rankscope.studies.held_out import held_out_roles

    for name, value, known in (("--split", split, SPLITS), ("--dtype", dtype, DTYPES)):
        if value not in known:
            raise BadInput(f"{name} must be one of {', '.join(known)}, not {value!r}.")
    check_folder_target(folder)
    weights = read_adapter(adapter)
    where = load_on_task(base, task, device, [weights], [adapter])
    items, roles = held_out_roles(task, where.base, n_items, split)
    with step_bar("Recording tokens") as bar:
        state = record(
            where.base,
            weights,
            items,
            roles,
            folder,
            dtype="float16" if dtype == "float16" else "float32",
            tell=lambda done, total: bar.show(done, total, ""),
        )
    facts = facts_of(state)
    if as_json:
        print_json(facts)
    else:
        show(facts)


def facts_of(state: "AdapterState") -> dict[str, Any]:
    """What was recorded, and where."""
    directions = state.view.directions
    return {
        "out": str(state.path),
        "n_items": state.spec.n_items,
        "n_tokens": state.spec.n_tokens,
        "n_sites": len(state.spec.sites),
        "n_columns": state.spec.n_columns,
        "n_shown": len(directions),
        "n_subspaces": sum(direction.is_subspace for direction in directions),
        "dtype": state.spec.dtype,
        "size_bytes": state.spec.size_bytes,
        "surfaces": list(state.spec.surfaces),
        "tags": list(state.spec.tags),
    }


def show(facts: dict[str, Any]) -> None:
    """Prints what was recorded and how to read it."""
    subspaces = facts["n_subspaces"]
    merged = f", {subspaces} of them subspaces of directions that can not be told apart" if subspaces else ""
    roles = (
        f"{len(facts['surfaces'])} surfaces, {len(facts['tags'])} tags" if facts["surfaces"] else "none in this task"
    )
    console = out()
    print_facts(
        {
            "tokens": f"{facts['n_tokens']:,} of {facts['n_items']:,} items",
            "recorded": f"{facts['n_columns']:,} scalars per token at {facts['n_sites']} sites, {facts['dtype']}",
            "shown": f"{facts['n_shown']:,} canonical directions{merged}",
            "roles": roles,
            "size": f"{facts['size_bytes'] / 1e6:,.1f} MB",
        },
        console,
    )
    print_line(f"\nAdapter state: {facts['out']}", console)
    print_line(f"To read it: {READING.format(folder=facts['out'])}", console)
