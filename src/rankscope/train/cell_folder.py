"""A cell's folder: one process at a time, trained once, then only read."""

import json
import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from rankscope.base.atomic import disk_errors, write_json
from rankscope.lm.bases import Base
from rankscope.runs.folder import is_finished, remove_temporaries, verify_finished
from rankscope.runs.hashing import LOCK
from rankscope.train.cell import SEMANTICS, Cell
from rankscope.train.events import Diverged, Event, Finished
from rankscope.train.job import Job
from rankscope.train.kinds import ExecutorKind, resolve_kind
from rankscope.train.materials import Materials, MaterialStore
from rankscope.train.pack_checkpoint import keys_in
from rankscope.train.pack_plan import pack_folder
from rankscope.train.packed import PACK_CHECKPOINT, Member, train_pack
from rankscope.train.training import CHECKPOINT, DIVERGED, TrainingSettings, train_cell

CELL = "cell.json"


@dataclass
class CellTrainer:
    """Trains jobs in this process: one cell alone, or a pack. The folder of a cell is `root / key`."""

    root: Path
    settings: TrainingSettings
    _store: MaterialStore = field(init=False)

    def __post_init__(self) -> None:
        self._store = MaterialStore(self.settings.device)

    def has_finished(self, cell: Cell) -> bool:
        """Whether the cell's folder is complete. What this loads is kept for the training."""
        return is_finished(self.root / self._store.of(cell).key)

    def base(self, name: str) -> Base:
        """The base of that name, kept in memory."""
        return self._store.base(name)

    def __call__(self, job: Job) -> Generator[Event, None, None]:
        """Trains the job's cells, or tells what finished folders hold; waits for cells that another process trains."""
        if len(job.cells) == 1:
            yield from self._alone(job.cells[0], job.micro_batch)
        else:
            yield from self._together(job)

    def _together(self, job: Job) -> Generator[Event, None, None]:
        """A pack; members that are finished already are told at once, and trained along only if they had begun here."""
        members = [Member(materials, self.root / materials.key) for materials in map(self._store.of, job.cells)]
        folder = pack_folder(self.root, job.cells)
        with ExitStack() as stack:
            for path in sorted(member.folder for member in members):
                stack.enter_context(_held(path))
            finished = [member for member in members if is_finished(member.folder)]
            for member in finished:
                yield cached_event(member.materials.key, member.cell, member.folder)
            left = [member for member in members if member not in finished]
            for member in left:
                remove_temporaries(member.folder)
                write_json(member.folder / CELL, _identity(member.materials, "packed", job.micro_batch))
            if left:
                saved = keys_in(folder / PACK_CHECKPOINT)
                begun = [member for member in members if member.materials.key in saved]
                together = begun if all(member in begun for member in left) else left
                yield from train_pack(together, folder, self.settings, job.micro_batch)
            shutil.rmtree(folder, ignore_errors=True)

    def _alone(self, cell: Cell, micro_batch: int | None) -> Generator[Event, None, None]:
        materials = self._store.of(cell)
        folder = self.root / materials.key
        if is_finished(folder):
            yield cached_event(materials.key, cell, folder)
            return
        with _held(folder):
            if is_finished(folder):
                yield cached_event(materials.key, cell, folder)
                return
            remove_temporaries(folder)
            kind = resolve_kind(self.settings.executor, materials.base, materials.cell)
            if (folder / CHECKPOINT).exists():  # resuming is exact only as it began
                kind, micro_batch = self._as_it_began(folder, kind, micro_batch)
            write_json(folder / CELL, _identity(materials, kind, micro_batch))
            yield from train_cell(materials, folder, self.settings, kind, micro_batch)

    def _as_it_began(
        self, folder: Path, kind: ExecutorKind, micro_batch: int | None
    ) -> tuple[ExecutorKind, int | None]:
        """Executor, unless another was asked for, and passes of the training that left the checkpoint."""
        began = _began(folder)
        if self.settings.executor == "auto" and began.get("executor") == "reference":
            kind = "reference"
        return kind, began.get("micro_batch", micro_batch)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone; one that holds it is waited for."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK, thread_local=False):
        yield


def cached_event(key: str, cell: Cell, folder: Path) -> Event:
    """How a finished folder's training ended. Raises BadFile when a file in it has changed or is missing."""
    verify_finished(folder)
    if (folder / CHECKPOINT).exists():  # the process died between marking the folder as finished and tidying up
        (folder / CHECKPOINT).unlink(missing_ok=True)
    executor = _executor_of(folder)
    if (folder / DIVERGED).exists():
        return Diverged(
            key, cell, folder, executor, step=json.loads((folder / DIVERGED).read_text(encoding="utf-8"))["step"]
        )
    return Finished(key, cell, folder, executor, was_cached=True)


def _executor_of(folder: Path) -> str:
    """What trained the cell in this folder."""
    return str(_began(folder).get("executor", "unknown"))


def _began(folder: Path) -> dict[str, Any]:
    """How the training in this folder was set up; nothing where that can not be read."""
    try:
        return dict(json.loads((folder / CELL).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _identity(materials: Materials, kind: str, micro_batch: int | None) -> dict[str, object]:
    return {
        "executor": kind,
        "micro_batch": micro_batch,
        "key": materials.key,
        "semantics": SEMANTICS,
        "base_hash": materials.base.content_hash,
        "items_hash": materials.items.content_hash,
        "cell": materials.cell.model_dump(mode="json"),
    }
