"""A capture folder: recorded values of every token with what the token is, in shards that are read by memory map.

```
manifest.json        first: what was recorded, of which adapter, base and items
view.npz             how recorded columns are shown (canonical directions of an adapter)
shards/00000/        state.npy [tokens, columns], token_ids.npy, item.npy, position.npy, surface.npy, tags.npy, ...
done.json            last: hash and size of every file
```

A shard holds whole items and appears by a rename, so an interrupted recording goes on after its last whole shard. Disk:
columns x 4 + 22 bytes per token (x 2 in float16), and a few kilobytes per shard.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import PositiveInt, ValidationError

from rankscope.base.atomic import atomic_folder, atomic_path
from rankscope.base.config import Config
from rankscope.base.errors import BadFile, BadInput, OutOfSpace
from rankscope.capture.channels import Population
from rankscope.capture.tokens import BYTES_BESIDE, TOKEN_DTYPES, Tokens
from rankscope.capture.views import Direction, Part, View
from rankscope.runs.folder import is_finished
from rankscope.runs.manifest import read_manifest

KIND = "capture"
SHARDS, VIEW, STATE = "shards", "view.npz", "state.npy"
StateDtype = Literal["float32", "float16"]
BLOCK_TOKENS = 2**13
"""Tokens of a block, unless one item is longer."""
_HEADERS = 2**12
"""Bytes per shard for the headers of its arrays."""


class SiteColumns(Config):
    """The recorded columns of one site, which follow those of the site before."""

    site: str
    n_columns: PositiveInt
    """Nominal rank of an adapter's site; units or directions elsewhere."""
    units: tuple[int, ...] | None = None
    """Which values of the site's input were recorded; None where columns are products."""


class CaptureSpec(Config):
    """What was recorded; stored as the folder's manifest, and what a later call must agree with."""

    population: Population
    adapter_hash: str
    """Of the adapter at work while recording, whatever the population."""
    base: str
    base_hash: str
    task: str
    split: str
    items_hash: str
    roles_hash: str | None = None
    """Of the items' roles; None where they have none."""
    n_items: PositiveInt
    n_tokens: PositiveInt
    sites: tuple[SiteColumns, ...]
    """In model order."""
    dtype: StateDtype = "float32"
    tokens_per_shard: PositiveInt = 2**16
    seed: int | None = None
    """Of what was drawn: units, layers or random directions."""
    surfaces: tuple[str, ...] = ()
    """Names of surface roles; empty where the items have no roles."""
    tags: tuple[str, ...] = ()

    @property
    def n_columns(self) -> int:
        """Recorded values per token."""
        return sum(site.n_columns for site in self.sites)

    @property
    def bytes_per_token(self) -> int:
        """Columns in their dtype and what stands beside them."""
        return self.n_columns * np.dtype(self.dtype).itemsize + BYTES_BESIDE

    @property
    def size_bytes(self) -> int:
        """Of all tokens; headers of files come on top."""
        return self.n_tokens * self.bytes_per_token


def shard_plan(n_tokens_N: Int[np.ndarray, " N"], tokens_per_shard: int) -> list[slice]:
    """Consecutive items of each shard: as many as fit, and at least one."""
    plan, first, held = [], 0, 0
    for row, length in enumerate(n_tokens_N):
        if held and held + int(length) > tokens_per_shard:
            plan.append(slice(first, row))
            first, held = row, 0
        held += int(length)
    return [*plan, slice(first, len(n_tokens_N))]


def check_room(folder: Path, spec: CaptureSpec, n_shards: int, n_done: int) -> None:
    """Raises OutOfSpace, before anything is recorded, when the disk can not hold the shards still missing."""
    needed = round((spec.size_bytes + n_shards * _HEADERS) * (n_shards - n_done) / n_shards)
    standing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(standing).free
    if needed > free:
        raise OutOfSpace(
            f"{spec.n_tokens:,} tokens x {spec.bytes_per_token} bytes take {needed / 1e9:.1f} GB at {folder}, where "
            f"{free / 1e9:.1f} GB are free. Record fewer items, use --dtype float16, or choose another disk."
        )


def shard_path(folder: Path, number: int) -> Path:
    """Folder of a shard."""
    return folder / SHARDS / f"{number:05d}"


def write_shard(folder: Path, number: int, state_MD: Float[np.ndarray, "M D"], tokens: Tokens) -> None:
    """Writes a shard, whole or not at all."""
    with atomic_folder(shard_path(folder, number)) as temporary:
        np.save(temporary / STATE, state_MD)
        for item in fields(tokens):
            np.save(temporary / f"{item.name}.npy", getattr(tokens, item.name))


def write_view(folder: Path, view: View) -> None:
    """Writes the maps of a view and what their rows are."""
    described = [
        {"start": part.start, "directions": [(d.site, d.indices, d.strengths) for d in part.directions]}
        for part in view.parts
    ]
    maps = {f"map_{place}": part.map_KC for place, part in enumerate(view.parts)}
    with atomic_path(folder / VIEW) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, allow_pickle=False, parts=np.array(json.dumps(described)), **maps)


def read_view(folder: Path) -> View:
    """The view of a capture folder; BadFile when it is missing or damaged."""
    try:
        with np.load(folder / VIEW) as stored:
            described = json.loads(str(stored["parts"]))
            return View(
                tuple(
                    Part(
                        part["start"],
                        stored[f"map_{place}"],
                        tuple(Direction(site, tuple(at), tuple(s)) for site, at, s in part["directions"]),
                    )
                    for place, part in enumerate(described)
                )
            )
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise BadFile(f"{folder / VIEW} is missing or damaged ({error}). Record again in a new folder.") from None


@dataclass(frozen=True)
class Block:
    """Some whole items: their tokens and a row of values for each."""

    tokens: Tokens
    values_MF: Float[np.ndarray, "M F"]


@dataclass(frozen=True)
class AdapterState:
    """A finished capture. Values are read block by block from memory maps, so memory does not grow with tokens."""

    path: Path
    spec: CaptureSpec

    @cached_property
    def view(self) -> View:
        """How columns are shown: the canonical view of an adapter, columns as they are elsewhere."""
        return read_view(self.path)

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return len(list((self.path / SHARDS).iterdir()))

    def iter_raw(self, block_tokens: int = BLOCK_TOKENS) -> Iterator[Block]:
        """Blocks of recorded values [M, D], in the recorded order; no item is split between blocks."""
        for number in range(self.n_shards):
            arrays = _opened(shard_path(self.path, number), self.spec)
            starts_N = np.append(_starts(arrays["item"]), len(arrays["item"]))
            for rows in shard_plan(np.diff(starts_N), block_tokens):
                where = slice(int(starts_N[rows.start]), int(starts_N[rows.stop]))
                tokens = Tokens(**{name: np.array(arrays[name][where]) for name in TOKEN_DTYPES})
                yield Block(tokens, np.array(arrays["state"][where]))

    def iter_shown(self, view: View | None = None, block_tokens: int = BLOCK_TOKENS) -> Iterator[Block]:
        """The same through a view, the capture's own by default: values [M, F]."""
        view = view or self.view
        for block in self.iter_raw(block_tokens):
            yield Block(block.tokens, view.of(block.values_MF))


def _starts(item_M: np.ndarray) -> Int[np.ndarray, " N"]:
    return np.flatnonzero(np.diff(item_M, prepend=item_M[:1] - 1))


def _opened(folder: Path, spec: CaptureSpec) -> Mapping[str, np.ndarray]:
    """The arrays of a shard, as memory maps."""
    expected = {"state": np.dtype(spec.dtype), **TOKEN_DTYPES}
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in expected}
    except (OSError, ValueError, EOFError) as error:
        raise BadFile(f"{folder} is damaged ({error}). Record again in a new folder.") from None
    n_rows = {len(array) for array in arrays.values()}
    if len(n_rows) > 1 or arrays["state"].shape[1:] != (spec.n_columns,):
        raise BadFile(f"The arrays of {folder} do not belong together. Record again in a new folder.")
    mistyped = [name for name, dtype in expected.items() if arrays[name].dtype != dtype]
    if mistyped:
        raise BadFile(f"{folder} has another type than expected in {', '.join(mistyped)}. Record again.")
    return arrays


def open_capture(folder: Path | str) -> AdapterState:
    """A finished capture folder. Raises BadFile when it is something else, BadInput when it is not finished."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest["kind"] != KIND:
        raise BadFile(f"{folder} holds a {manifest['kind']} run, not a capture. Give a folder that capture wrote.")
    if not is_finished(folder):
        raise BadInput(f"{folder} was interrupted while recording. Run its command again to go on where it stopped.")
    try:
        return AdapterState(folder, CaptureSpec.model_validate(manifest["resolved"]))
    except ValidationError as error:
        raise BadFile(f"{folder} is a capture of another version ({error.errors()[0]['msg']}). Record again.") from None
