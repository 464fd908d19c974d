"""A run folder: locked while in use, `manifest.json` first, `done.json` with hashes last.

Finished means `done.json`; anything else is resumed by opening it again with the same settings.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from rankscope.base.atomic import disk_errors, write_json, write_text
from rankscope.base.errors import BadFile, BadInput, RunLocked
from rankscope.runs.hashing import LOCK, LOCK_HOLDER, file_record, is_temporary, iter_files
from rankscope.runs.manifest import (
    FORMAT,
    MANIFEST,
    check_same,
    plain_json,
    read_json_object,
    read_manifest,
    timestamp,
    write_manifest,
)

DONE, ERROR = "done.json", "error.json"


@dataclass(frozen=True)
class RunFolder:
    """An open run folder. Only `RunFolder.open` makes one; it is locked until the `with` block ends."""

    path: Path
    manifest: dict[str, Any]
    """What `manifest.json` holds: format, kind, created, resolved, machine, git."""

    @classmethod
    @contextmanager
    def open(cls, path: Path, resolved: dict[str, Any], kind: str, wait_s: float = 0.0) -> Iterator["RunFolder"]:
        """Creates a run folder or continues one, and holds its lock.

        An error that leaves the `with` block is recorded in `error.json`; the next opening clears it.
        Temporary files of a killed process are removed. A finished folder opens too: see `finished` and `reopen`.
        Raises: RunLocked when another process still holds it after `wait_s` seconds; BadInput when the folder
        is something else or was started with other settings; BadFile when it is damaged or of another version.
        """
        resolved = plain_json(resolved)
        _prepare(path)
        with _locked(path, wait_s), ExitStack() as stack:
            folder = cls(path, _manifest_of(path, resolved, kind))
            if folder.finished:
                read_done(path)
            remove_temporaries(path)
            (path / ERROR).unlink(missing_ok=True)
            stack.push(folder._record_failure)
            yield folder

    @property
    def finished(self) -> bool:
        """Whether `done.json` is there."""
        return is_finished(self.path)

    def finish(self) -> None:
        """Marks the run as finished: `done.json` with hash and size of every file."""
        (self.path / ERROR).unlink(missing_ok=True)
        write_done(self.path)

    def reopen(self) -> None:
        """Takes the mark off a finished run that is about to change, so that it never vouches for other bytes."""
        (self.path / DONE).unlink(missing_ok=True)

    def fail(self, error: BaseException) -> None:
        """Records why the run stopped, in `error.json`; everything else stays."""
        record = {"error": type(error).__name__, "message": str(error), "time": timestamp()}
        write_json(self.path / ERROR, record)

    def _record_failure(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Records an error on its way out (an interruption is none); a disk that can not take it hides nothing."""
        if isinstance(error, Exception):
            with suppress(OSError):
                self.fail(error)


def is_finished(path: Path) -> bool:
    """Whether a run or cell folder is complete, that is, has `done.json`."""
    return (path / DONE).is_file()


def write_done(path: Path, leave_out: Collection[str] = ()) -> None:
    """Writes `done.json`: hash and size of every file below `path`, locks and temporary files excepted.

    `leave_out`: names of files in `path` itself that are about to go.
    """
    unlisted = {path / name for name in (DONE, ERROR, *leave_out)}
    files = {file.relative_to(path).as_posix(): file_record(file) for file in iter_files(path) if file not in unlisted}
    write_json(path / DONE, {"format": FORMAT, "finished": timestamp(), "files": files})


def read_done(path: Path) -> dict[str, dict[str, Any]]:
    """File name -> sha256 and size_bytes, as `done.json` has them; BadFile when it is missing or damaged."""
    done = read_json_object(path / DONE)
    files = done.get("files")
    if done.get("format") != FORMAT or not isinstance(files, dict) or not all(map(_is_record, files.values())):
        raise BadFile(
            f"{path / DONE} is not a list of finished files of format {FORMAT}. "
            "It was edited or is of another version; start in a new folder."
        )
    return files


def verify_finished(path: Path) -> None:
    """Hashes every file of a finished folder again; BadFile names the first that is missing or has changed."""
    for name, expected in read_done(path).items():
        file = path / name
        if not file.is_file():
            raise BadFile(f"{file} is missing though its run had finished. Restore it or run again in a new folder.")
        if file_record(file) != expected:
            raise BadFile(
                f"{file} has changed since its run finished: expected {expected['size_bytes']} bytes with sha256 "
                f"{expected['sha256'][:12]}..., came others. Restore it or run again in a new folder."
            )


def remove_temporaries(path: Path) -> None:
    """Removes what a killed process left half written; run folders inside `path` are left to their own opening."""
    for parent, folders, names in os.walk(path):
        for name in filter(is_temporary, folders):
            shutil.rmtree(Path(parent, name), ignore_errors=True)
        folders[:] = [name for name in folders if not is_temporary(name) and not Path(parent, name, MANIFEST).exists()]
        for name in filter(is_temporary, names):
            Path(parent, name).unlink(missing_ok=True)


def _is_record(record: Any) -> bool:
    """Whether a value is a file's hash and size."""
    return isinstance(record, dict) and record.keys() == {"sha256", "size_bytes"} and isinstance(record["sha256"], str)


def _manifest_of(path: Path, resolved: dict[str, Any], kind: str) -> dict[str, Any]:
    """The folder's manifest, checked against what is asked for; written first when the folder is new."""
    if not (path / MANIFEST).exists():
        return write_manifest(path, resolved, kind)
    manifest = read_manifest(path)
    check_same(path, manifest, resolved, kind)
    return manifest


def _prepare(path: Path) -> None:
    """Makes the folder; BadInput, with nothing touched, when there is something else at `path`."""
    try:
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        others = [name for name in os.listdir(path) if name not in (LOCK, LOCK_HOLDER) and not is_temporary(name)]
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise BadInput(f"{path} can not be a run folder: {error.strerror}. Choose another path.") from error
    if others and not (path / MANIFEST).exists():
        raise BadInput(
            f"{path} is not a run folder: expected an empty folder or one with {MANIFEST}, came one with "
            f"{min(others)}. Nothing there was touched; choose another path."
        )


@contextmanager
def _locked(path: Path, wait_s: float) -> Iterator[None]:
    """Holds the folder's lock, which the system frees when the process dies however it dies."""
    lock = FileLock(path / LOCK, timeout=max(wait_s, 0.0), thread_local=False)
    try:
        with disk_errors(path):
            lock.acquire()
    except Timeout as error:
        raise RunLocked(
            f"{path} is in use by {_holder(path)}. Wait until that has ended (it can be resumed from here), "
            "or choose another folder."
        ) from error
    except PermissionError as error:
        raise BadInput(f"{path} can not be written to: {error.strerror}. Choose another path.") from error
    try:
        write_text(path / LOCK_HOLDER, f"{os.getpid()}\n")
        yield
    finally:
        (path / LOCK_HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    """The process that holds the lock, in words."""
    with suppress(OSError, ValueError):
        return f"process {int((path / LOCK_HOLDER).read_text(encoding='utf-8'))}"
    return "another process"
