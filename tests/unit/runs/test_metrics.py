"""The metrics log on paper: what it writes, what it refuses, what a full disk does."""

import os
from pathlib import Path

import polars as pl
import pytest

from rankscope.base.errors import BadFile, OutOfSpace
from rankscope.runs.metrics import MetricsLog, read_metrics


def test_rows_are_on_file_at_once_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "cell" / "metrics.jsonl"
    with MetricsLog(path, None) as log:
        log.write(1, loss_nats=2.5, note="warm")
        assert path.read_bytes() == b'{"step": 1, "loss_nats": 2.5, "note": "warm"}\n'
        log.write(2, loss_nats=float("nan"), grad_norm=float("-inf"))
        log.sync()
    expected = pl.DataFrame(
        {"step": [1, 2], "loss_nats": [2.5, None], "note": ["warm", None], "grad_norm": [None, None]},
        schema_overrides={"grad_norm": pl.Float64},
    )
    assert read_metrics(path).equals(expected)
    assert read_metrics(path).schema == expected.schema


def test_no_resume_step_starts_empty_and_reading_says_so(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, None) as log:
        log.write(0, loss_nats=1.0)
    MetricsLog(path, None).close()
    assert path.read_bytes() == b""
    assert read_metrics(path).equals(pl.DataFrame(schema={"step": pl.Int64}))


def test_reading_passes_over_a_half_written_row(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 1}\n{"step": 2, "loss": 0.5}\n{"step": 3, "lo')
    assert read_metrics(path).to_dict(as_series=False) == {"step": [1, 2], "loss": [1.0, 0.5]}


@pytest.mark.parametrize("line", [b"\x00\x00", b'{"step": 1', b"[1]", b'{"loss": 1.0}', b'{"step": true}', b""])
def test_a_damaged_complete_row_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    content = b'{"step": 1}\n' + line + b"\n"
    path.write_bytes(content)
    for attempt in (lambda: read_metrics(path), lambda: MetricsLog(path, 9)):
        with pytest.raises(BadFile, match="line 2"):
            attempt()
    assert path.read_bytes() == content


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="is missing"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_steps_never_descend_not_even_after_a_resume(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "m", None) as log:
        log.write(5)
    with MetricsLog(tmp_path / "m", 5) as log, pytest.raises(AssertionError, match="step 4 after 5"):
        log.write(4)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_device_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    log = MetricsLog(tmp_path / "metrics.jsonl", None)
    with pytest.raises(OutOfSpace, match=r"metrics\.jsonl"):
        log.write(1, loss_nats=0.1)
    log.close()


def test_a_row_cut_by_a_full_disk_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, None)
    log.write(1, loss_nats=0.5)
    whole, real = path.read_bytes(), log._handle

    class Filling:
        """A file that takes four bytes and is then full."""

        room = 4

        def write(self, data: memoryview) -> int:
            if not self.room:
                raise OSError(28, os.strerror(28))
            written, self.room = real.write(data[: self.room]), 0
            return written

        def truncate(self, size: int) -> int:
            return real.truncate(size)

    log._handle = Filling()  # type: ignore[assignment]
    with pytest.raises(OutOfSpace):
        log.write(2, loss_nats=0.25)
    assert path.read_bytes() == whole
    log._handle = real
    log.write(2, loss_nats=0.25)
    log.close()
    assert read_metrics(path)["step"].to_list() == [1, 2]
