"""Options that several commands share."""

from typing import Annotated

import typer

MOST_ITEMS = 10_000_000
"""Items are held in memory; more is a slip of the finger."""
N_TEST_ITEMS = 500
"""Held-out items that adapters are scored on, unless a file has fewer."""

Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON, for machines.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.", metavar="NAME")]
Precision = Annotated[
    str, typer.Option("--precision", help="auto (fastest here), fp32 (strict) or bf16.", metavar="NAME")
]
Seed = Annotated[int, typer.Option("--seed", help="Sets every random stream.", min=0, max=2**31 - 1)]
Workers = Annotated[int, typer.Option("--workers", help="Processes that train at once; 0 fills the cores.", min=0)]
