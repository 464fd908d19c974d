"""`rankscope train`: one cell, scored on held-out items beside its base."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankscope.cli.console import err, out, plain_table, print_json, print_line, step_bar
from rankscope.cli.options import MOST_ITEMS, N_TEST_ITEMS, Device, Json, Precision, Seed

if TYPE_CHECKING:
    import polars as pl

    from rankscope.lm.bases import Base
    from rankscope.tasks.encoded import EncodedItems
    from rankscope.train.cell import ArmSpec, Cell
    from rankscope.train.events import Finished
    from rankscope.train.local import LocalExecutor

LONG_S = 60.0
SHARES = {
    "exact_output": "whole output exact",
    "answer_correct": "answer after its own trace",
    "answer_given_trace": "answer after the gold trace",
    "forced_choice": "answer among the candidates",
}


def train(
    task: Annotated[str, typer.Option("--task", help="Task with its knobs, or FILE.jsonl.")],
    base: Annotated[str, typer.Option("--base", help="Shipped base, model folder, or Hugging Face name.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the trained cell.")],
    rank: Annotated[int, typer.Option("--rank", help="Nominal rank at every site (LoRA kinds).", min=1)] = 8,
    kind: Annotated[str, typer.Option("--kind", help="lora, rslora, dense or full.", metavar="KIND")] = "lora",
    lr: Annotated[float, typer.Option("--lr", help="Peak learning rate; tune it for every rank.", max=1e3)] = 3e-3,
    sites: Annotated[
        list[str] | None,
        typer.Option("--sites", help="Glob over the base's linear maps; may repeat. Default: all.", metavar="GLOB"),
    ] = None,
    n_items: Annotated[
        int, typer.Option("--items", help="Training items, each seen once.", min=1, max=MOST_ITEMS)
    ] = 32000,
    batch: Annotated[int, typer.Option("--batch", help="Items per step.", min=1)] = 64,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Trains one adapter on one task, and scores it on held-out items beside its base and chance.

    Stopped at any point, the same command goes on from the last checkpoint.
    """
    from rankscope.base.device import resolve_device
    from rankscope.base.errors import BadInput
    from rankscope.base.seeds import Seeds
    from rankscope.cli.targets import check_folder_target
    from rankscope.lm.bases import load_base
    from rankscope.lm.sites import check_rank
    from rankscope.studies.held_out import held_out_items
    from rankscope.train.cell import Budget, Cell, LoraSpec, OptimiserSpec
    from rankscope.train.precision import resolve_precision

    cell = Cell(
        base=base,
        task=task,
        arm=arm_spec(kind, rank, tuple(sites or ("*",))),
        optimiser=OptimiserSpec(lr=lr),
        budget=Budget(n_items=n_items, batch_size=batch),
        seeds=Seeds.all(seed),
    )
    if cell.budget.n_steps == 0:
        raise BadInput(f"--items {n_items} fills no batch of {batch}. Ask for more items, or for a smaller --batch.")
    where = resolve_device(device).type
    check_folder_target(folder)
    loaded = load_base(base, device=where)
    if isinstance(cell.arm, LoraSpec):
        check_rank(loaded.model, cell.arm.rank, cell.arm.placement)
    items = held_out_items(task, loaded, N_TEST_ITEMS)
    cell = cell.override(precision=resolve_precision(precision, loaded, items, batch, resolve_device(device)))
    done = trained_cell(cell, folder, where)
    facts = facts_of(done, items, scores(loaded, items, done, seed))
    if as_json:
        print_json(facts)
    else:
        show(facts)


def arm_spec(kind: str, rank: int, placement: tuple[str, ...]) -> "ArmSpec":
    """The arm that the options ask for."""
    from rankscope.base.errors import BadInput
    from rankscope.train.cell import DenseSpec, FullSpec, LoraSpec

    match kind:
        case "lora" | "rslora":
            return LoraSpec(kind=kind, rank=rank, placement=placement)
        case "dense":
            return DenseSpec(placement=placement)
        case "full":
            return FullSpec()
    raise BadInput(f"--kind must be lora, rslora, dense or full, not {kind!r}.")


def trained_cell(cell: "Cell", root: Path, device: str) -> "Finished":
    """Trains the cell below `root`, or finds it done. Raises BadInput when the training diverged."""
    from rankscope.base.errors import BadInput
    from rankscope.train.events import Finished, Progress
    from rankscope.train.local import LocalExecutor

    executor = LocalExecutor(root, device=device, n_threads="auto")
    if not executor.has_finished(cell):
        tell_cost(executor, cell)
    done: Finished | None = None
    with step_bar(f"{cell.arm.label}, seed {cell.seeds.init}") as bar:
        for event in executor.train([cell]):
            if isinstance(event, Progress):
                bar.show(event.step, event.n_steps, f"loss {event.loss_nats:.3f}")
            elif isinstance(event, Finished):
                done = event
            else:
                raise BadInput(
                    f"The training diverged at step {event.step}: its loss or weights are no longer finite. "
                    f"Use a lower --lr than {cell.optimiser.lr:g}."
                )
    assert done is not None
    if done.was_cached:
        print_line(f"Already trained; read from {done.folder}.", err())
    return done


def tell_cost(executor: "LocalExecutor", cell: "Cell") -> None:
    """Says on stderr how long the training takes, when that is over a minute."""
    from rankscope.studies.progress import minutes
    from rankscope.train.cost import MEASURED_STEPS

    if cell.budget.n_steps <= MEASURED_STEPS:
        return
    total_s = executor.estimate_seconds(executor.plan([cell]))
    if total_s > LONG_S:
        print_line(f"{cell.budget.n_steps:,} steps: about {minutes(total_s)}.", err())


def scores(base: "Base", items: "EncodedItems", done: "Finished", seed: int) -> dict[str, "pl.DataFrame"]:
    """Score tables of the trained cell and of its base on the same test items."""
    from rankscope.evals.score import score_cell, score_variant
    from rankscope.studies.scoring import planted_teacher

    teacher = planted_teacher(base, items)
    step = done.cell.budget.n_steps
    with err().status(f"Scoring {len(items)} test items"):
        return {
            "trained": score_cell(
                base, done.folder, items, cell=done.key, seed=seed, step=step, generate=True, teacher=teacher
            ),
            "base": score_variant(base.model, items, cell="base", seed=-1, step=0, generate=True, teacher=teacher),
        }


def facts_of(done: "Finished", items: "EncodedItems", tables: dict[str, "pl.DataFrame"]) -> dict[str, Any]:
    """All that is shown: the cell, where it lies, and every score with its interval over items."""
    from rankscope.train.cell import LoraSpec

    first = tables["trained"]
    chance = first["chance"].mean()
    return {
        "cell": done.cell.model_dump(mode="json"),
        "key": done.key,
        "folder": str(done.folder),
        "weights": str(done.folder / "adapter"),
        "is_peft_adapter": isinstance(done.cell.arm, LoraSpec),
        "was_cached": done.was_cached,
        "n_test_items": len(first),
        "scores": {name: {arm: share(table, name) for arm, table in tables.items()} for name in SHARES},
        "objective": items.objective,
        "nats_per_item": {arm: table["nats"].mean() for arm, table in tables.items()},
        "chance_forced_choice": chance,
    }


def share(table: "pl.DataFrame", name: str) -> dict[str, float] | None:
    """Share of items and its exact 95 % interval; None where the score does not apply."""
    from rankscope.stats.proportion import clopper_pearson

    column = table[name].drop_nulls()
    if column.is_empty():
        return None
    low, high = clopper_pearson(int(column.sum()), len(column))
    return {"share": int(column.sum()) / len(column), "low": low, "high": high}


def show(facts: dict[str, Any]) -> None:
    """Prints the scores and where the adapter lies."""
    console = out()
    table = plain_table("score on held-out items", "trained", "95 %", "base", "chance", right=(1, 2, 3, 4))
    for name, label in SHARES.items():
        trained, base = facts["scores"][name]["trained"], facts["scores"][name]["base"]
        if trained is not None and base is not None:
            chance = f"{facts['chance_forced_choice']:.1%}" if name == "forced_choice" else "-"
            interval = f"{trained['low']:.1%} to {trained['high']:.1%}"
            table.add_row(label, f"{trained['share']:.1%}", interval, f"{base['share']:.1%}", chance)
    nats = facts["nats_per_item"]
    measure = "-KL(teacher || model), nats" if facts["objective"] == "distill" else "log-probability, nats per item"
    table.add_row(measure, f"{nats['trained']:.3f}", "", f"{nats['base']:.3f}", "-")
    console.print(table)
    console.print(f"\n{facts['n_test_items']} test items, one seed: the interval is over items only.", style="dim")
    what = "PEFT adapter" if facts["is_peft_adapter"] else "Trained weights"
    print_line(f"{what}: {facts['weights']}", console)
    if facts["is_peft_adapter"]:
        print_line(f"Its spectra: rankscope rank {facts['weights']}", console)
