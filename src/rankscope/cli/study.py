"""`rankscope studies` and `rankscope study`: the questions that come ready to run."""

from pathlib import Path
from typing import Annotated

import typer

from rankscope.cli.console import out, plain_table, print_json, print_line
from rankscope.cli.options import Device, Json, Precision, Workers


def studies(as_json: Json = False) -> None:
    """Lists the studies and their forms."""
    from rankscope.studies.catalog import STUDIES

    if as_json:
        print_json({name: {"asks": entry.asks, "forms": list(entry.forms)} for name, entry in STUDIES.items()})
        return
    table = plain_table("study", "forms", "what it asks")
    for name, entry in STUDIES.items():
        table.add_row(name, "\n".join(entry.forms), entry.asks, end_section=True)
    console = out()
    console.print(table)
    print_line("Run one: rankscope study NAME:FORM; without a form, the first one listed.", console)


def study(
    name: Annotated[str, typer.Argument(metavar="NAME[:FORM]", help="A study, such as first_look:quick.")],
    folder: Annotated[Path | None, typer.Option("--out", help="Run folder; by default one in the runs folder.")] = None,
    workers: Workers = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    taken_from: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Take skills that a finished run's records hold from there. May be repeated."),
    ] = None,
) -> None:
    """Runs a study and writes its report; says first what it will cost.

    Stopped at any point, the same command goes on from where it was.
    """
    from rankscope.studies.run import run_study

    finished = run_study(name, folder, workers, device, precision, taken_from or ())
    page = finished / "report.html"
    print_line(f"Report: {page}" if page.exists() else f"Run folder: {finished}", out())
