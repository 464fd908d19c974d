"""A cell's folder: one process at a time, trained once, then only read."""

import json
import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from rankscope.base.atomic import disk_errors, write_json
from rankscope.lm.bases import Base
from rankscope.runs.folder import is_finished, remove_temporaries, verify_finished
from rankscope.runs.hashing import LOCK
from rankscope.train.cell import SEMANTICS, Cell
from rankscope.train.events import Diverged, Event, Finished
from rankscope.train.kinds import ExecutorKind, resolve_kind
from rankscope.train.materials import Materials, MaterialStore
from rankscope.train.pack_checkpoint import keys_in
from rankscope.train.pack_plan import Job, pack_folder
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
        if len(job) == 1:
            yield from self._alone(job[0])
        else:
            yield from self._together(job)

    def _together(self, job: Job) -> Generator[Event, None, None]:
        """A pack; members that are finished already are told at once, and trained along only if they had begun here."""
        members = [Member(materials, self.root / materials.key) for materials in map(self._store.of, job)]
        folder = pack_folder(self.root, job)
        with ExitStack() as stack:
            for path in sorted(member.folder for member in members):
                stack.enter_context(_held(path))
            finished = [member for member in members if is_finished(member.folder)]
            for member in finished:
                yield cached_event(member.materials.key, member.cell, member.folder)
            left = [member for member in members if member not in finished]
            for member in left:
                remove_temporaries(member.folder)
                write_json(member.folder / CELL, _identity(member.materials, "packed"))
            if left:
                saved = keys_in(folder / PACK_CHECKPOINT)
                begun = [member for member in members if member.materials.key in saved]
                together = begun if all(member in begun for member in left) else left
                yield from train_pack(together, folder, self.settings)
            shutil.rmtree(folder, ignore_errors=True)

    def _alone(self, cell: Cell) -> Generator[Event, None, None]:
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
            kind = self._kind(materials, folder)
            write_json(folder / CELL, _identity(materials, kind))
            yield from train_cell(materials, folder, self.settings, kind)

    def _kind(self, materials: Materials, folder: Path) -> ExecutorKind:
        """The executor that left the checkpoint, unless another was asked for, so that resuming is exact."""
        kind = resolve_kind(self.settings.executor, materials.base, materials.cell)
        if self.settings.executor == "auto" and (folder / CHECKPOINT).exists():
            return "reference" if _executor_of(folder) == "reference" else kind
        return kind


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
    """What trained, or began to train, the cell in this folder."""
    try:
        return str(json.loads((folder / CELL).read_text(encoding="utf-8")).get("executor", "reference"))
    except (OSError, ValueError):
        return "unknown"


def _identity(materials: Materials, kind: str) -> dict[str, object]:
    return {
        "executor": kind,
        "key": materials.key,
        "semantics": SEMANTICS,
        "base_hash": materials.base.content_hash,
        "items_hash": materials.items.content_hash,
        "cell": materials.cell.model_dump(mode="json"),
    }
