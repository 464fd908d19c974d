"""What interpretation found, as Parquet tables: written whole, checked when read."""

from pathlib import Path
from typing import Literal

import polars as pl

from rankscope.capture.channels import Population
from rankscope.interpret.examples import SCHEMA
from rankscope.interpret.role_scores import BEST_SCHEMA, PAIR_SCHEMA, ROLE_SCHEMA, PopulationScores
from rankscope.runs.tables import read_table, write_table

RoleTableName = Literal["pairs", "best", "roles"]
SCHEMAS = {"pairs": PAIR_SCHEMA, "best": BEST_SCHEMA, "roles": ROLE_SCHEMA}


def write_role_scores(folder: Path, scores: PopulationScores) -> None:
    """Three tables named after the population, such as `adapter_best.parquet`."""
    for name, frame in (("pairs", scores.pairs), ("best", scores.best), ("roles", scores.roles)):
        write_table(folder / f"{scores.population}_{name}.parquet", frame)


def read_role_scores(folder: Path, population: Population, name: RoleTableName) -> pl.DataFrame:
    """One of them. Raises BadFile when it is missing or of another version."""
    return read_table(folder / f"{population}_{name}.parquet", SCHEMAS[name])


def write_examples(path: Path, frame: pl.DataFrame) -> None:
    """Examples as `examples` gives them."""
    write_table(path, frame)


def read_examples(path: Path) -> pl.DataFrame:
    """The same from disk. Raises BadFile when it is missing or of another version."""
    return read_table(path, SCHEMA)
