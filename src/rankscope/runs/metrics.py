"""`metrics.jsonl`: one row per logged step, whole or absent, continued byte for byte after an interruption."""

import io
import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import polars as pl

from rankscope.base.atomic import disk_errors
from rankscope.base.errors import BadFile

Value = float | int | bool | str | None


class MetricsLog:
    """Appends rows to a metrics file; every row reaches the system before `write` returns.

    A file that stands already keeps its complete rows up to `resume_step` and loses what follows, a
    half-written row included; with None it starts empty. Steps never descend.
    """

    def __init__(self, path: Path, resume_step: int | None) -> None:
        self.path = path
        self._size_bytes, self._last_step = _kept(path, resume_step)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = io.FileIO(path, "ab")
            if os.fstat(self._handle.fileno()).st_size > self._size_bytes:
                self._handle.truncate(self._size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, step: int, **values: Value) -> None:
        """Adds a row; floats that are not finite become null. OutOfSpace leaves the rows before it whole."""
        assert self._last_step is None or step >= self._last_step, f"step {step} after {self._last_step}"
        row = {"step": step} | {name: _finite(value) for name, value in values.items()}
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        with disk_errors(self.path):
            self._append(line)
        self._last_step, self._size_bytes = step, self._size_bytes + len(line)

    def sync(self) -> None:
        """Waits until the rows are on the disk itself; call it before a checkpoint that counts on them."""
        with disk_errors(self.path):
            os.fsync(self._handle.fileno())

    def close(self) -> None:
        """Closes the file; a second time does nothing."""
        self._handle.close()

    def _append(self, line: bytes) -> None:
        """Writes all of a line, or cuts the file back to what it was."""
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._handle.write(rest) :]
        except OSError:
            with suppress(OSError):
                self._handle.truncate(self._size_bytes)
            raise


def read_metrics(path: Path) -> pl.DataFrame:
    """The complete rows as a frame, `step` first; a column that is null throughout is Float64.

    Raises: BadFile when the file is missing or a complete row is not a metrics row.
    """
    if not path.is_file():
        raise BadFile(f"{path} is missing: its training has not started. Run it again.")
    rows = [row for _, row in _iter_rows(path)]
    if not rows:
        return pl.DataFrame(schema={"step": pl.Int64})
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return frame.with_columns(pl.col(pl.Null).cast(pl.Float64))


def _kept(path: Path, resume_step: int | None) -> tuple[int, int | None]:
    """Bytes that a resumed log keeps, and the step of the last row in them (None when there is none)."""
    size_bytes, last_step = 0, None
    if resume_step is None or not path.exists():
        return size_bytes, last_step
    for line, row in _iter_rows(path):
        if row["step"] > resume_step:
            break
        size_bytes, last_step = size_bytes + len(line) + 1, row["step"]
    return size_bytes, last_step


def _iter_rows(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Bytes and content of every complete row; what follows the last line break is half written."""
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        yield line, _parse(line, path, number)


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """One row; BadFile when it is not an object with a whole `step`."""
    with suppress(ValueError):
        row = json.loads(line)
        if isinstance(row, dict) and type(row.get("step")) is int:
            return row
    raise BadFile(
        f"{path} is damaged at line {number}: expected a metrics row. Remove this training's folder and rerun."
    )


def _finite(value: Value) -> Value:
    """The value, or None for nan and inf."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
