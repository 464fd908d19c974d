"""`rankscope truncate`: a smaller PEFT adapter, with its measured loss where a base and a task are given."""

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from rankscope.cli.console import err, out, plain_table, print_json, print_line
from rankscope.cli.on_task import (
    OneBase,
    OneTask,
    OnTask,
    OnTaskItems,
    check_both,
    check_used,
    load_on_task,
    truncation_bar,
)
from rankscope.cli.options import N_TEST_ITEMS, Device, Json
from rankscope.cli.rank import grouped

if TYPE_CHECKING:
    from rich.table import Table

    from rankscope.adapters.weights import AdapterWeights
    from rankscope.studies.adapter import Choice, Loss
    from rankscope.studies.truncation import Measured, SiteCut, TruncationRecord

UNMEASURED = (
    "Energy is a share of squared singular values and says nothing about scores. With --base and --task the loss is "
    "measured."
)


def truncate(
    adapter: Annotated[Path, typer.Argument(help="Folder of a PEFT LoRA or rsLoRA adapter.")],
    folder: Annotated[Path, typer.Option("--out", help="New folder for the smaller adapter.")],
    to: Annotated[
        int | None, typer.Option("--to", help="Directions to keep at every site.", min=1, metavar="K")
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option("--keep", help="Share of the gain to keep, such as 0.95; needs --base and --task.", metavar="Q"),
    ] = None,
    base: OneBase = None,
    task: OneTask = None,
    n_items: OnTaskItems = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Cuts an adapter to its directions of largest singular value, and writes it as a smaller PEFT adapter.

    --keep chooses the number of directions on validation items. The loss is measured on test items either way.
    """
    from rankscope.adapters.read import read_adapter
    from rankscope.adapters.truncate import truncated
    from rankscope.cli.targets import check_whole_folder
    from rankscope.studies.truncation import truncation_record, write_truncation

    is_on_task = check_both(base, task)
    check_used(is_on_task, items=n_items)
    n_items = n_items or N_TEST_ITEMS
    check_size(to, keep, is_on_task)
    check_whole_folder(folder)
    whole = read_adapter(adapter)
    where = load_on_task(base, task, device, [whole], [adapter]) if base is not None and task is not None else None
    choice = None if keep is None or where is None else chosen(where, whole, keep, n_items)
    k = to if choice is None else choice.k
    assert k is not None
    cut = truncated(whole, k)
    measured = None if where is None else loss_on(where, whole, cut, n_items)
    record = truncation_record(adapter, whole, cut, k, choice, measured)
    try:
        write_truncation(folder, cut, record)
    except Exception:
        if measured is not None:
            tell(None, record, as_json)
        raise
    tell(folder, record, as_json)


def tell(folder: Path | None, record: "TruncationRecord", as_json: bool) -> None:
    """Prints what was done; folder is None where it could not be written, since measuring may have taken hours."""
    if as_json:
        print_json({"out": None if folder is None else str(folder), **record.model_dump(mode="json")})
    else:
        show(folder, record)


def check_size(to: int | None, keep: float | None, is_on_task: bool) -> None:
    """Raises BadInput unless exactly one of --to and --keep is given, and --keep is a share with a task beside it."""
    from rankscope.base.errors import BadInput

    if (to is None) == (keep is None):
        came = "neither" if to is None else "both"
        raise BadInput(f"Give one of --to K (directions per site) and --keep Q (share of the gain), not {came}.")
    if keep is not None and not 0 < keep <= 1:
        raise BadInput(f"--keep is a share of the gain, above 0 and at most 1, not {keep:g}.")
    if keep is not None and not is_on_task:
        raise BadInput(
            "--keep is a share of the gain, which takes --base and --task to measure. Give both, or use --to."
        )


def chosen(where: OnTask, whole: "AdapterWeights", q: float, n_items: int) -> "Choice":
    """The smallest k that keeps q of the gain on validation items."""
    from rankscope.studies.adapter import chosen_k
    from rankscope.studies.held_out import held_out

    with truncation_bar() as tell:
        return chosen_k(where.base, whole, held_out(where.task, where.base, n_items, "validation"), q, tell)


def loss_on(where: OnTask, whole: "AdapterWeights", cut: "AdapterWeights", n_items: int) -> "Measured":
    """Scores before and after the cut, on test items."""
    from rankscope.studies.adapter import measured_losses
    from rankscope.studies.held_out import held_out
    from rankscope.studies.truncation import Measured

    test = held_out(where.task, where.base, n_items)
    with err().status(f"Scoring {len(test.items)} test items"):
        losses = measured_losses(where.base, whole, cut, test)
    return Measured(
        base=where.base.name,
        base_hash=where.base.content_hash,
        task=where.task,
        n_items=len(test.items),
        items_hash=test.items.content_hash,
        scores=losses,
    )


def show(folder: Path | None, record: "TruncationRecord") -> None:
    """Prints what was cut, what it costs and where it lies, if it does."""
    console = out()
    console.print(site_table(record.sites))
    before, after = record.n_parameters_before, record.n_parameters_after
    print_line(f"\nParameters: {before:,} before, {after:,} after ({after / before:.0%}).", console)
    if all(site.rank_after == site.rank_before for site in record.sites.values()):
        print_line(f"No site has more than {record.k} directions: the adapter is written as it was.", console)
    if record.chosen is not None:
        print_line(choice_sentence(record.chosen), console)
    if record.measured is None:
        print_line(UNMEASURED, console, style="yellow")
    else:
        print_line(f"\nOn {record.measured.task}, {record.measured.n_items} test items:\n", console)
        console.print(loss_table(record.measured))
        print_line(f"\n{loss_sentence(record)}", console)
    print_line("No adapter was written." if folder is None else f"PEFT adapter: {folder}", console)


def site_table(sites: "dict[str, SiteCut]") -> "Table":
    """A row per site, or per kind of map where there are many."""
    groups = grouped(list(sites))
    by_kind = len(groups) < len(sites)
    first = ("kind of map", "sites") if by_kind else ("site",)
    headings = (*first, "rank before", "rank after", "energy kept")
    table = plain_table(*headings, right=tuple(range(1, len(headings))))
    for label, names in groups.items():
        group = [sites[name] for name in names]
        energies = [site.energy_kept for site in group if site.energy_kept is not None]
        ranks = (span([site.rank_before for site in group]), span([site.rank_after for site in group]))
        size = [str(len(group))] if by_kind else []
        table.add_row(Text(label), *size, *ranks, f"{fmean(energies):.1%}" if energies else "-")
    return table


def span(ranks: list[int]) -> str:
    """One number, or the lowest and the highest."""
    return str(ranks[0]) if len(set(ranks)) == 1 else f"{min(ranks)}-{max(ranks)}"


def loss_table(measured: "Measured") -> "Table":
    """A row per score: base, whole adapter, cut, and what was lost."""
    from rankscope.report.adapter_words import amount

    table = plain_table("score", "base", "before", "after", "loss, 95 % over items", "gain kept", right=(1, 2, 3, 4, 5))
    for loss in measured.scores:
        values = (amount(loss.score, value) for value in (loss.base, loss.before, loss.after))
        ends = (amount(loss.score, end) for end in (loss.loss.estimate, loss.loss.low or 0, loss.loss.high or 0))
        kept = "no gain" if loss.share_kept is None else f"{loss.share_kept:.1%}"
        table.add_row(loss_name(loss, measured), *values, "{} [{}, {}]".format(*ends), kept)
    return table


def loss_name(loss: "Loss", measured: "Measured") -> str:
    """The score's name; nats are of the log-probability, or of -KL where nothing has to be written."""
    if loss.score == "exact_output":
        return "exact output"
    return "log-prob., nats" if len(measured.scores) > 1 else "-KL, nats"


def choice_sentence(choice: "Choice") -> str:
    """How k was chosen."""
    below = max((k for k in choice.ks if k < choice.k), default=0)
    skipped = f" Nothing between {below} and {choice.k} was tried." if choice.k - below > 1 else ""
    by = "exact output" if choice.score == "exact_output" else "nats per item"
    return (
        f"k = {choice.k} is the smallest number of directions per site from which every larger one keeps "
        f"{choice.q:.0%} of the gain, by {by} on {choice.n_items} validation items.{skipped}"
    )


def loss_sentence(record: "TruncationRecord") -> str:
    """Whether the test items bear the choice out, and what the interval covers."""
    assert record.measured is not None
    covers = "The interval is over items only: one training, one cut."
    if record.chosen is None:
        return covers
    loss = next(loss for loss in record.measured.scores if loss.score == record.chosen.score)
    kept = loss.share_kept
    if kept is None:
        return f"The test items show no gain of the whole adapter, so there is no share of it to name. {covers}"
    verdict = "" if kept >= record.chosen.q else ", less than was asked for"
    return f"The test items took no part in choosing k; on them {kept:.1%} of the gain is kept{verdict}. {covers}"
