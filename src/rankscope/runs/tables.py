"""Parquet tables: written whole or not at all, the same bytes for the same frame, checked when read."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from rankscope.base.atomic import atomic_path
from rankscope.base.errors import BadFile

ROWS_PER_GROUP = 2**17


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Writes a Parquet file (zstd) atomically; how the frame was put together leaves no trace in it."""
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer, compression="zstd", compression_level=12, statistics=True, row_group_size=ROWS_PER_GROUP
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_table(path: Path, schema: Mapping[str, Any]) -> pl.DataFrame:
    """The table at `path`, sure to have the columns and types of `schema`; further columns are kept.

    Raises: BadFile when the file is missing, is not Parquet, or names the columns that are missing or mistyped.
    """
    try:
        frame = pl.read_parquet(io.BytesIO(path.read_bytes()))
    except FileNotFoundError as error:
        raise BadFile(f"{path} is missing: the stage that writes it has not finished. Run it again.") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise BadFile(f"{path} is truncated or not a Parquet table ({error}). Run the stage that writes it.") from error
    check_columns(frame, schema, str(path))
    return frame


def check_columns(frame: pl.DataFrame, schema: Mapping[str, Any], where: str) -> None:
    """Raises BadFile, naming each column of `schema` that `frame` lacks or has in another type."""
    missing = [name for name in schema if name not in frame.columns]
    mistyped = [
        f"{name} (expected {dtype}, came {frame.schema[name]})"
        for name, dtype in schema.items()
        if name in frame.columns and frame.schema[name] != dtype
    ]
    if missing or mistyped:
        faults = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has mistyped {', '.join(mistyped)}"] * bool(
            mistyped
        )
        raise BadFile(f"{where} {' and '.join(faults)}. It is of another version; run the stage that writes it again.")
