"""`rankscope ablate`: what every part of an adapter costs when it is taken out, above rounding and above chance."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from rankscope.cli.console import err, out, plain_table, print_json, print_line, step_bar
from rankscope.cli.on_task import HeldOutItems, load_on_task
from rankscope.cli.options import Device, Json
from rankscope.cli.rank import check_count
from rankscope.cli.train import LONG_S

if TYPE_CHECKING:
    from rankscope.adapters.weights import AdapterWeights
    from rankscope.interpret.ablation_records import Ablation, AblationReading, AblationRecord, AblationSubject
    from rankscope.interpret.ablation_run import Asked
    from rankscope.lm.bases import Base
    from rankscope.tasks.encoded import EncodedItems

N_ITEMS = 200
MOST_COLUMNS = 10
BELOW = "·"

MostSites = Annotated[
    int | None,
    typer.Option(
        "--screen",
        help="Take out only the N sites that a first-order screen ranks first, and a few others to check it.",
        min=1,
        metavar="N",
    ),
]


def ablate(
    adapters: Annotated[
        list[Path],
        typer.Argument(metavar="ADAPTER...", help="Folder of a PEFT LoRA or rsLoRA adapter, or several seeds of one."),
    ],
    base: Annotated[str, typer.Option("--base", help="Shipped base, model folder, or Hugging Face name.")],
    task: Annotated[str, typer.Option("--task", help="Task with its knobs, or FILE.jsonl.")],
    n_items: HeldOutItems = N_ITEMS,
    most_sites: MostSites = None,
    directions: Annotated[
        bool, typer.Option("--directions", help="Take out single directions too, where sites have several.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", help="Of random shifts, and of the check of a screen.", min=0, max=2**31 - 1)
    ] = 0,
    folder: Annotated[
        Path | None, typer.Option("--out", help="New folder for ablation.json and report.html.", metavar="FOLDER")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Takes parts of an adapter out: sites, kinds of map, layers, blocks, attention or MLP; by zero, mean, keep-only.

    Every effect stands beside the resolution of the arithmetic and a random shift of the same size.
    """
    from rankscope.adapters.read import read_adapter
    from rankscope.cli.targets import check_new_folder
    from rankscope.interpret.ablation import ablation
    from rankscope.interpret.ablation_run import Asked, subject_of
    from rankscope.studies.held_out import held_out_answers

    started = time.monotonic()
    check_count(adapters, is_on_task=True)
    if folder is not None:
        check_new_folder(folder)
    weights = [read_adapter(path) for path in adapters]
    where = load_on_task(base, task, device, weights, adapters)
    items, roles = held_out_answers(task, where.base, n_items)
    asked = Asked(most_sites=most_sites, directions=directions, seed=seed)
    tell_cost(where.base, weights, items, asked)
    with step_bar("Ablating, items") as bar:
        reading = ablation(
            where.base.model, weights, items, roles, asked, lambda done, total: bar.show(done, total, "")
        )
    subject = subject_of(where.base, weights, items, roles, asked)
    record = as_record(reading, adapters, base, task, subject, n_items, device, time.monotonic() - started)
    if folder is not None:
        write(folder, record)
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    show(record)
    if folder is not None:
        print_line(f"\nPage: {folder / 'report.html'}", out())


def tell_cost(base: "Base", weights: "Sequence[AdapterWeights]", items: "EncodedItems", asked: "Asked") -> None:
    """Says on stderr how long ablations take, when that is over a minute."""
    from rankscope.interpret.ablation_cost import estimate_seconds
    from rankscope.studies.progress import minutes

    with err().status("Estimating how long ablations take"):
        total_s = estimate_seconds(base.model, weights, items, asked)
    if total_s > LONG_S:
        print_line(f"Ablations on {len(items):,} items: about {minutes(total_s)}.", err())


def as_record(
    reading: "AblationReading",
    adapters: Sequence[Path],
    base: str,
    task: str,
    subject: "AblationSubject",
    n_items: int,
    device: str,
    time_s: float,
) -> "AblationRecord":
    """The reading with what it is of, and the command that repeats it."""
    import shlex

    from rankscope.interpret.ablation_records import AblationRecord
    from rankscope.studies.provenance import run_facts

    words = ["rankscope", "ablate", *map(str, adapters), "--base", base, "--task", task, "--items", str(n_items)]
    words += ["--screen", str(subject.most_sites)] if subject.most_sites else []
    words += ["--directions"] if subject.directions else []
    words += ["--seed", str(subject.seed)] if subject.seed else []
    return AblationRecord(
        title="Where the adapter acts" if len(adapters) == 1 else f"Where {len(adapters)} adapters act",
        base=base,
        task=task,
        adapters=tuple(map(str, adapters)),
        subject=subject,
        reading=reading,
        reproduce={"these ablations": shlex.join(words)},
        provenance=run_facts(device, "fp32", time_s),
    )


def write(folder: Path, record: "AblationRecord") -> None:
    """The record, then the page made from it."""
    from rankscope.interpret.ablation_records import ABLATION_FILE, write_ablation
    from rankscope.report.ablation_page import write_ablation_page

    folder.mkdir(parents=True, exist_ok=True)
    write_ablation(folder / ABLATION_FILE, record)
    write_ablation_page(folder / ABLATION_FILE, folder / "report.html")


def show(record: "AblationRecord") -> None:
    """Prints the answer, what parts cost, and the map of kinds and layers."""
    from rankscope.report.ablation_words import answer

    reading, console = record.reading, out()
    print_line(f"On {record.task}, base {record.base}:\n", console, style="bold")
    console.print(effect_table([row for unit in ("part", "kind") for row in reading.of(unit)]))
    grid = kind_by_layer(reading)
    if grid is not None:
        print_line("\nKL of single sites taken out, 1e-3 nats per token (· is below resolution):", console)
        console.print(grid)
    print_line("", console)
    for sentence in answer(reading):
        print_line(sentence, console)


def effect_table(rows: "Sequence[Ablation]") -> Any:
    """A row per part taken out: KL with its ends, a random shift's, exact output lost."""
    from rankscope.report.ablation_words import nats, shown_kl
    from rankscope.report.formats import percent, span_text

    table = plain_table("taken out", "KL, nats per token", "random shift", "exact output lost", right=(1, 2, 3))
    for row in rows:
        kl = shown_kl(row) if row.below_resolution else f"{nats(row.kl.estimate)} {span_text(row.kl, nats)}"
        lost = f"{percent(row.exact_loss.estimate)} {span_text(row.exact_loss, percent)}"
        table.add_row(row.name, Text(kl), "" if row.random_kl is None else nats(row.random_kl), Text(lost))
    return table


def kind_by_layer(reading: "AblationReading") -> Any:
    """Kinds down, layers across; None where there are too many layers for a terminal, or none."""
    rows = [row for row in reading.of("site") if row.layer is not None]
    layers = sorted({row.layer for row in rows if row.layer is not None})
    if not 0 < len(layers) <= MOST_COLUMNS:
        return None
    table = plain_table("", *(f"{layer}" for layer in layers), right=tuple(range(1, len(layers) + 1)))
    found = {(row.kind, row.layer): row for row in rows}
    for kind in dict.fromkeys(row.kind or "" for row in rows):
        table.add_row(kind, *(cell(found.get((kind, layer))) for layer in layers))
    return table


def cell(row: "Ablation | None") -> str:
    """A KL in thousandths."""
    if row is None:
        return ""
    return BELOW if row.below_resolution else f"{1000 * row.kl.estimate:.3g}"
