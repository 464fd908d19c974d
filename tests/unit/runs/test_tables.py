"""Parquet tables: same frame, same bytes; wrong columns are named; a full disk loses nothing."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rankscope.base.errors import BadFile, OutOfSpace
from rankscope.runs.tables import ROWS_PER_GROUP, read_table, write_table

SCHEMA = {"item": pl.Int64, "nats": pl.Float32, "cell": pl.String, "exact": pl.Boolean}


def frame(n_rows: int) -> pl.DataFrame:
    """Rows with nulls and nans in every kind of column."""
    nats = np.random.default_rng(0).normal(size=n_rows).astype(np.float32)
    columns = {
        "item": range(n_rows),
        "nats": nats,
        "cell": [None if n % 5 == 0 else f"c{n % 3}" for n in range(n_rows)],
        "exact": [n % 2 == 0 for n in range(n_rows)],
    }
    return pl.DataFrame(columns, schema=SCHEMA)


@pytest.mark.parametrize("n_rows", [0, 1, 1000])
def test_reading_gives_what_was_written(tmp_path: Path, n_rows: int) -> None:
    write_table(tmp_path / "scores.parquet", frame(n_rows))
    back = read_table(tmp_path / "scores.parquet", SCHEMA)
    assert back.equals(frame(n_rows))
    assert back.schema == frame(n_rows).schema


def test_bytes_depend_on_the_values_alone(tmp_path: Path) -> None:
    n_rows = ROWS_PER_GROUP + 1000
    whole = frame(n_rows)
    pieces = pl.concat([whole[:7], whole[7:1000], whole[1000:]], rechunk=False)
    for name, table in (("a", whole), ("b", frame(n_rows)), ("c", pieces)):
        write_table(tmp_path / name, table)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    write_table(tmp_path / "d", whole.with_columns(pl.col("item") + 1))
    assert (tmp_path / "d").read_bytes() != (tmp_path / "a").read_bytes()


def test_missing_and_mistyped_columns_are_named(tmp_path: Path) -> None:
    table = frame(3).drop("cell").with_columns(pl.col("nats").cast(pl.Float64), extra=1)
    write_table(tmp_path / "t", table)
    with pytest.raises(BadFile, match=r"lacks cell and has mistyped nats \(expected Float32, came Float64\)"):
        read_table(tmp_path / "t", SCHEMA)
    assert read_table(tmp_path / "t", {"item": pl.Int64}).columns == ["item", "nats", "exact", "extra"]


def test_a_truncated_table_is_refused_at_every_length(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_table(path, frame(50))
    content = path.read_bytes()
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        with pytest.raises(BadFile, match="truncated or not a Parquet table"):
            read_table(path, SCHEMA)
    path.unlink()
    with pytest.raises(BadFile, match="is missing"):
        read_table(path, SCHEMA)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_leaves_the_table_of_before(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    write_table(path, frame(10))
    (tmp_path / f".scores.parquet.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(OutOfSpace, match=r"scores\.parquet"):
        write_table(path, frame(20))
    assert read_table(path, SCHEMA).equals(frame(10))
    assert [file.name for file in tmp_path.iterdir()] == ["scores.parquet"]
