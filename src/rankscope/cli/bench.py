"""`rankscope bench`: how fast adapters train here, beside PEFT with transformers' Trainer."""

from dataclasses import asdict
from typing import Annotated

import typer

from rankscope.cli.console import out, plain_table, print_json, print_line
from rankscope.cli.options import Json


def bench(
    cases: Annotated[
        list[str] | None, typer.Argument(metavar="[CASE]...", help="Cases to time; without any, the short form.")
    ] = None,
    n_rows: Annotated[int, typer.Option("--adapters", help="Adapters that each arm trains.", min=1, max=64)] = 1,
    repeats: Annotated[int, typer.Option("--repeats", help="Steps of every arm that are timed.", min=2)] = 5,
    as_json: Json = False,
) -> None:
    """Times a training step of every arm in turn, on models of random weights: minutes for the short form.

    Run it on an idle machine; what else runs changes the ratios.
    """
    from rankscope.base.errors import UnknownName, near_matches
    from rankscope.bench.cases import CASES, SHORT
    from rankscope.bench.run import charged, run_case

    wanted = cases or list(SHORT)
    for name in wanted:
        if name not in CASES:
            raise UnknownName(f"There is no case {name!r}. {near_matches(name, CASES)}")
    rows = [row for name in wanted for row in charged(run_case(CASES[name], n_rows, repeats), CASES[name])]
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = plain_table("case", "arm", "ms per step", "to A1", "to A3", "charged", "of peak")
    for row in rows:
        table.add_row(
            row.case,
            row.arm,
            f"{row.seconds_per_step * 1e3:.1f}",
            *(_ratio(value) for value in (row.ratio_to_A1, row.ratio_to_A3, row.charged_ratio_to_A1)),
            "" if row.roofline_fraction is None else f"{row.roofline_fraction:.0%}",
        )
    out().print(table)
    print_line(
        "Steps of one adapter. Charged: with set-up and first pass over the items, over the case's epochs.", out()
    )


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"
