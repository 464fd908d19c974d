"""`rankscope report`: the page of a finished study, from its records alone."""

from pathlib import Path
from typing import Annotated

import typer

from rankscope.cli.console import out, print_line

FINDINGS = Path("records") / "findings.json"


def report(
    run_folder: Annotated[Path, typer.Argument(help="Run folder of a study.")],
    target: Annotated[Path | None, typer.Option("--out", help="File to write; by default report.html in it.")] = None,
) -> None:
    """Writes a study's report again: one HTML file that needs no network."""
    from rankscope.base.errors import UnknownName
    from rankscope.report.page import write_report

    if not run_folder.is_dir():
        raise UnknownName(f"No run folder {run_folder}. Give the folder that `rankscope study` named.")
    path = target or run_folder / "report.html"
    write_report(run_folder / FINDINGS, path)
    print_line(f"Report: {path}", out())
