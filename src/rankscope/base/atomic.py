"""Writes that are whole or absent: a temporary file beside the target, flushed, then renamed."""

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankscope.base.errors import OutOfSpace

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns a full disk (or quota) into `OutOfSpace`, which names the path and loses nothing."""
    try:
        yield
    except _disk_error_types() as error:
        if _error_number(error) in _FULL:
            raise OutOfSpace(
                f"No disk space left while writing {path}. Nothing already finished was lost; "
                "free some space and run the same command again."
            ) from error
        raise


def _disk_error_types() -> tuple[type[Exception], ...]:
    """OSError, and where safetensors is loaded its own error, as which it reports what it meets on the disk."""
    loaded = sys.modules.get("safetensors")
    return (OSError,) if loaded is None else (OSError, loaded.SafetensorError)


def _error_number(error: Exception) -> int | None:
    """The system's number of an error; safetensors has it in its text alone, as `(os error 28)`."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os error (\d+)", str(error))
    return int(found[1]) if found else None


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to; on success it replaces `path`, on failure it vanishes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        try:
            yield temporary
            with open(temporary, "r+b") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder to fill; on success it becomes `path`, on failure it vanishes.

    Until then `path` may be absent or an empty folder; a folder that holds files is never replaced (OSError). Where it
    is a link, the folder that it names is meant, and the link stays.
    """
    path = Path(os.path.realpath(path) if path.is_symlink() else os.path.abspath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        try:
            temporary.mkdir()
            yield temporary
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically: sorted keys, two-space indent, no NaN."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
