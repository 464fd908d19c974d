"""`rankscope steer`: one direction switched off, turned round or pushed, and what the model then writes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from rankscope.cli.console import out, plain_table, print_json, print_line
from rankscope.cli.on_task import HeldOutItems, load_on_task
from rankscope.cli.options import Device, Json

if TYPE_CHECKING:
    from rankscope.interpret.look_records import CausalCheck
    from rankscope.stats.interval import Interval
    from rankscope.studies.steer import Steering

N_ITEMS = 40
TEXTS = 1
"""Before and after shown per change; --json has all."""


def steer(
    adapter: Annotated[Path, typer.Argument(help="Folder of a PEFT LoRA or rsLoRA adapter.")],
    base: Annotated[str, typer.Option("--base", help="Shipped base, model folder, or Hugging Face name.")],
    task: Annotated[str, typer.Option("--task", help="Task with its knobs, or FILE.jsonl.")],
    direction: Annotated[
        str, typer.Option("--direction", help="Its name on the page of a look, such as L3.mlp.up_proj.0.")
    ],
    factors: Annotated[
        list[float] | None,
        typer.Option("--factor", help="Times its value: 0 switches it off, -1 turns it round. Again for more."),
    ] = None,
    pushes: Annotated[
        list[float] | None,
        typer.Option("--push", help="Added to its value at every token, in root mean squares of it. Again for more."),
    ] = None,
    n_items: HeldOutItems = N_ITEMS,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Changes one direction of an adapter and shows what becomes of exact output, answers and texts.

    Without --factor and --push: factors 0, -1 and 3, pushes 3 and -3, as a look does.
    """
    from rankscope.adapters.read import read_adapter
    from rankscope.interpret.causal import FACTORS, PUSHES
    from rankscope.studies.held_out import held_out_answers
    from rankscope.studies.steer import steer as steered

    weights = read_adapter(adapter)
    where = load_on_task(base, task, device, [weights], [adapter])
    items, _ = held_out_answers(task, where.base, n_items)
    asked = (FACTORS, PUSHES) if factors is None and pushes is None else (factors or (), pushes or ())
    found = steered(where.base, weights, items, direction, *asked)
    if as_json:
        print_json({"adapter": str(adapter), "base": base, "task": task, **found.model_dump(mode="json")})
        return
    show(found, base, task)


def show(found: "Steering", base: str, task: str) -> None:
    """Prints what the direction is, a row per change, and a text before and after each."""
    from rankscope.report.formats import percent, plain, plural

    console = out()
    print_line(f"{found.direction} on {task}, base {base}, {plural(found.n_items, 'item')}:", console, style="bold")
    first = found.checks[0]
    exact = first.exact.estimate - first.exact_change.estimate
    right = first.answer_correct.estimate - first.answer_correct_change.estimate
    print_line(
        f"Singular value {plain(found.sigma)}, values of {plain(found.rms)} root mean square. Left alone: exact output "
        f"{percent(exact)} %, right answers {percent(right)} %.\n",
        console,
    )
    labels = names(found)
    console.print(table(found, labels))
    print_line(
        "\nChanges in points with 95 % over items; the last columns: items whose text, trace or answer is another, in "
        "%. A push is in root mean squares of the direction's value, at every token.",
        console,
    )
    for label, check in zip(labels, found.checks, strict=True):
        for one in check.examples[:TEXTS]:
            print_line(f"\n{label.capitalize()}, item {one.item}", console, style="bold")
            print_line(f"before: {one.before}\nafter:  {one.after}", console)


def names(found: "Steering") -> list[str]:
    """What was done, for each check."""
    from rankscope.report.formats import minus

    pushes = iter(found.pushes)
    return [_scaled(check) if check.how == "scale" else minus(f"{next(pushes):+g}") + " rms" for check in found.checks]


def _scaled(check: "CausalCheck") -> str:
    from rankscope.report.formats import minus

    return "switched off" if check.value == 0 else f"times {minus(f'{check.value:g}')}"


def table(found: "Steering", labels: list[str]) -> Any:
    """A row per change."""
    from rankscope.report.formats import DASH

    headings = ("", "exact output", "right answers", "text", "trace", "answer")
    result = plain_table(*headings, right=(1, 2, 3, 4, 5))
    for label, check in zip(labels, found.checks, strict=True):
        shares = (check.text_changed, check.trace_changed, check.answer_changed)
        changes = (points(check.exact_change), points(check.answer_correct_change))
        result.add_row(
            Text(label), *map(Text, changes), *(DASH if one is None else f"{100 * one.estimate:.0f}" for one in shares)
        )
    return result


def points(change: "Interval") -> str:
    """A difference of shares in points, with its interval."""
    from rankscope.report.formats import minus, percent, span_text

    return f"{minus(f'{100 * change.estimate:+.1f}')} {span_text(change, percent)}"
