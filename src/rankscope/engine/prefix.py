"""The frozen prefix: the residual below the lowest adapted layer, computed once per item and read when items return."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rankscope.base.errors import BadFile
from rankscope.lm.decoder import Decoder

MEMORY_BYTES = 2**30
"""Larger caches go to the disk."""
KEPT_BYTES = 2**26
"""Caches up to this size outlive their training, for the next one on the same tokens; at most RECENT_CACHES of them."""
RECENT_CACHES = 8
CHECKED_ROWS = 8
BLOCK = 32
"""Rows computed together: the last bits of a row depend on which others are computed with it."""
TOLERANCE = 1e-4
"""Largest difference, relative to the residual's scale, between a row on the disk and the same row computed again."""


class PrefixCache:
    """Item -> the residual below `layer` at every token [T, D], in memory or in a file that processes may share.

    A file is named by base, items, layer, dtype and torch version. On opening, up to 8 rows that it holds are
    computed again. Two processes that fill the same row write the same values.
    """

    def __init__(
        self,
        decoder: Decoder,
        layer: int,
        tokens_NT: Int[np.ndarray, "N T"],
        identity: str,
        folder: Path,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """`identity` says which base and items these are. Raises BadFile when a file's rows are not the base's."""
        self.layer = layer
        self.identity = identity
        self._decoder = decoder
        self._tokens_NT = tokens_NT
        embedding = decoder.embedding_VD
        self._dtype = embedding.dtype
        n_items, n_tokens = tokens_NT.shape
        shape = (n_items, n_tokens, embedding.shape[1])
        self.size_bytes = prefix_bytes(tokens_NT.size, decoder)
        if self.size_bytes <= memory_bytes:
            self.path = None
            self._values = np.empty(shape, _numpy_dtype(self._dtype))
            self._filled = np.zeros(n_items, dtype=bool)
        else:
            name = hashlib.sha256(f"{identity}|{layer}|{self._dtype}|{shape}|{torch.__version__}".encode()).hexdigest()
            self.path = folder / f"prefix-{name[:16]}"
            self._values = _mapped(self.path.with_suffix(".values"), shape, _numpy_dtype(self._dtype))
            self._filled = _mapped(self.path.with_suffix(".filled"), (n_items,), np.dtype(bool))
            self._check()

    @torch.no_grad()
    def residual(self, rows_N: Int[np.ndarray, " N"], tokens_NT: Int[Tensor, "N T"]) -> Float[Tensor, "N T D"]:
        """The residual of a batch, computed where it is not there yet. `tokens_NT` are the rows' first T tokens."""
        width = tokens_NT.shape[1]
        for block in np.unique(rows_N[~self._filled[rows_N]] // BLOCK):
            self._fill(np.arange(block * BLOCK, min((block + 1) * BLOCK, len(self._filled))))
        return torch.from_numpy(self._values[rows_N, :width]).to(tokens_NT.device)

    def _fill(self, rows_M: Int[np.ndarray, " M"]) -> None:
        self._values[rows_M] = self._computed(rows_M)
        self._filled[rows_M] = True

    @torch.no_grad()
    def _computed(self, rows_M: Int[np.ndarray, " M"]) -> Float[np.ndarray, "M T D"]:
        tokens = torch.from_numpy(np.maximum(self._tokens_NT[rows_M], 0).astype(np.int64))
        residual = self._decoder.below(tokens.to(self._decoder.embedding_VD.device), self.layer)
        found: np.ndarray = residual.cpu().numpy()
        return found

    def _check(self) -> None:
        rows = np.flatnonzero(self._filled)
        if len(rows) == 0:
            return
        some = rows[np.linspace(0, len(rows) - 1, min(CHECKED_ROWS, len(rows))).astype(int)]
        fresh = self._computed(some)
        if not np.abs(self._values[some] - fresh).max() <= TOLERANCE * np.abs(fresh).max():
            raise BadFile(f"{self.path}.values does not hold what this base computes. Delete it; it is made again.")


def prefix_bytes(n_tokens: int, decoder: Decoder) -> int:
    """Size of a cache of so many tokens, padding included."""
    return n_tokens * decoder.embedding_VD.shape[1] * decoder.embedding_VD.dtype.itemsize


class RecentCaches:
    """The small caches of a base's last trainings: what is frozen is the same for every task on the same tokens."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[nn.Module, dict[str, PrefixCache]] = WeakKeyDictionary()

    def forget(self) -> None:
        """Drops all, so that whoever trains next computes its own."""
        self._kept.clear()

    def of(self, base: nn.Module, key: str, build: Callable[[], PrefixCache]) -> PrefixCache:
        """The base's cache under that key, or a new one, which is kept where it is small."""
        kept = self._kept.setdefault(base, {})
        cache = kept.pop(key, None) or build()
        if cache.path is None and cache.size_bytes <= KEPT_BYTES:
            kept[key] = cache
            while len(kept) > RECENT_CACHES:
                del kept[next(iter(kept))]
        return cache


RECENT = RecentCaches()


def recent_prefix(
    base: nn.Module, decoder: Decoder, layer: int, tokens_NT: Int[np.ndarray, "N T"], tokens_hash: str
) -> PrefixCache | None:
    """What the base computes below a layer for these tokens; None where that is nothing, or too much to be kept."""
    if layer == 0 or prefix_bytes(tokens_NT.size, decoder) > KEPT_BYTES:
        return None
    key = f"{tokens_hash}|{layer}|{decoder.embedding_VD.dtype}"
    return RECENT.of(base, key, lambda: PrefixCache(decoder, layer, tokens_NT, tokens_hash, Path()))


def _mapped(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array in a file, zero where nothing was written; an existing file of that size is opened as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size_bytes = int(np.prod(shape)) * dtype.itemsize
    with path.open("ab") as file:
        if file.tell() not in (0, size_bytes):
            raise BadFile(f"{path} has {file.tell()} bytes, not {size_bytes}. Delete it; it is made again.")
        file.truncate(size_bytes)
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)


def _numpy_dtype(dtype: torch.dtype) -> np.dtype:
    return np.dtype({torch.float64: np.float64, torch.float32: np.float32}[dtype])
