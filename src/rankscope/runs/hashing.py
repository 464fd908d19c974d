"""What a folder holds, file by file: the hashes by which a finished run can be checked."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

LOCK, LOCK_HOLDER = ".lock", ".lock.pid"
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")


def is_temporary(name: str) -> bool:
    """Whether a file name is one that `base.atomic` writes to before its rename."""
    return _TEMPORARY.fullmatch(name) is not None


def iter_files(folder: Path) -> Iterator[Path]:
    """Every file below `folder` in a fixed order; locks and temporary files, at any depth, are left out."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name not in (LOCK, LOCK_HOLDER) and not is_temporary(name):
                yield Path(parent, name)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def file_record(path: Path) -> dict[str, str | int]:
    """Hash and size of a file, as `done.json` keeps them."""
    return {"sha256": file_sha256(path), "size_bytes": path.stat().st_size}
