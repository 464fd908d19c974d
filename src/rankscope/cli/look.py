"""`rankscope look`: everything about one adapter in one go, on one offline page."""

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankscope.cli.ablate import MostSites, tell_cost
from rankscope.cli.console import StepBar, out, print_json, print_line, step_bar
from rankscope.cli.on_task import HeldOutItems, load_on_task
from rankscope.cli.options import Device, Json

if TYPE_CHECKING:
    from rankscope.studies.look import Tell

N_ITEMS = 200


def look(
    adapter: Annotated[Path, typer.Argument(help="Folder of a PEFT LoRA or rsLoRA adapter.")],
    base: Annotated[str, typer.Option("--base", help="Shipped base, model folder, or Hugging Face name.")],
    task: Annotated[str, typer.Option("--task", help="Task with its knobs, or FILE.jsonl.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the page and its records; a later call goes on.")],
    n_items: HeldOutItems = N_ITEMS,
    most_sites: MostSites = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="labels.json saved from the page, to be kept in the folder.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Shows where an adapter acts and what each direction does: ablations, examples, roles, lens, causal checks.

    The page is written after every part, cheapest first. Stopped at any point, the same command goes on.
    """
    from rankscope.adapters.read import read_adapter
    from rankscope.cli.targets import check_folder_target
    from rankscope.interpret.labels import merged, read_labels, write_labels
    from rankscope.interpret.look_records import LABELS_FILE, LOOK_FILE, read_look
    from rankscope.studies.held_out import held_out_answers
    from rankscope.studies.look import Look, asked_ablations, earlier_ablations, look_at

    check_folder_target(folder)
    weights = read_adapter(adapter)
    where = load_on_task(base, task, device, [weights], [adapter])
    items, roles = held_out_answers(task, where.base, n_items)
    words = ["rankscope", "look", str(adapter), "--base", base, "--task", task, "--out", str(folder)]
    command = shlex.join([*words, "--items", str(n_items), *(["--screen", str(most_sites)] if most_sites else [])])
    found = Look(where.base, weights, items, roles, folder, str(adapter), command, device, _unheard, most_sites)
    has_ablations = earlier_ablations(found) is not None
    folder.mkdir(parents=True, exist_ok=True)
    if labels is not None:
        kept = folder / LABELS_FILE
        before = read_labels(kept, weights.content_hash) if kept.exists() else {}
        write_labels(kept, weights.content_hash, merged(before, read_labels(labels, weights.content_hash)))
    if not has_ablations:
        tell_cost(where.base, [weights], items, asked_ablations(found))
    with looking() as found.tell:
        page = look_at(found)
    record = read_look(folder / LOOK_FILE)
    if as_json:
        print_json({"page": str(page), "answer": list(record.answer), "missing": list(record.missing)})
        return
    for sentence in record.answer:
        print_line(sentence, out())
    for card in record.cards:
        print_line(f"{card.claim} {card.verdict}: {card.because}", out())
    for sentence in record.missing:
        print_line(sentence, out(), style="yellow")
    print_line(f"\nPage: {page}", out())


def _unheard(what: str, done: int, total: int) -> None:
    """Hears of no progress: none is made before the bars are there."""


@contextmanager
def looking() -> "Iterator[Tell]":
    """A bar for each part, one after the other."""
    with ExitStack() as stack:
        bars: dict[str, StepBar] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in bars:
                stack.close()
                bars[what] = stack.enter_context(step_bar(what.capitalize()))
            bars[what].show(done, total, "")

        yield tell
