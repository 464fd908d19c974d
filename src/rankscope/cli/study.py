"""`rankscope studies` and `rankscope study`: the questions that come ready to run."""

from pathlib import Path
from typing import Annotated

import typer

from rankscope.cli.console import out, print_line
from rankscope.cli.options import Device


def study(
    name: Annotated[str, typer.Argument(metavar="NAME[:FORM]", help="A study, such as first_look:quick.")],
    folder: Annotated[Path | None, typer.Option("--out", help="Run folder; by default one in the runs folder.")] = None,
    workers: Annotated[
        int, typer.Option("--workers", help="Processes that train at a time; 0 fills the cores.", min=0)
    ] = 0,
    device: Device = "auto",
) -> None:
    """Runs a study and writes its report; stopped at any point, the same command goes on."""
    from rankscope.studies.run import run_study

    finished = run_study(name, folder, workers, device)
    print_line(f"Report: {finished / 'report.html'}", out())
