"""`rankscope report`: the page of a finished study, from its records alone."""

from pathlib import Path
from typing import Annotated

import typer

from rankscope.cli.console import out, print_line


def report(
    run_folder: Annotated[Path, typer.Argument(help="Run folder of a study, or of a look.")],
    target: Annotated[Path | None, typer.Option("--out", help="File to write; by default report.html in it.")] = None,
) -> None:
    """Writes the report of a study or a look again: one HTML file that needs no network.

    In a finished run folder its files are verified first, and the new page counts among them afterwards.
    """
    from rankscope.base.errors import UnknownName
    from rankscope.cli.targets import check_file_target
    from rankscope.studies.page import rewrite_page

    if not run_folder.is_dir():
        raise UnknownName(
            f"No run folder {run_folder}. Give the folder that `rankscope study` or `rankscope look` named."
        )
    if target is not None:
        check_file_target(target)
    print_line(f"Report: {rewrite_page(run_folder, target)}", out())
