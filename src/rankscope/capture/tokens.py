"""Who the tokens of a capture are: item, position, section and roles, beside every row of recorded values."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8, UInt32

from rankscope.base.errors import BadInput
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.roles import RoleTable


@dataclass(frozen=True)
class Tokens:
    """M tokens, whole items one after another, padding left out. Fields are stored under their names."""

    token_ids: Int32[np.ndarray, " M"]
    item: Int32[np.ndarray, " M"]
    """Index of the item in its stream, as score tables have it."""
    position: Int32[np.ndarray, " M"]
    """Place in the item, from 0."""
    surface: UInt8[np.ndarray, " M"]
    """Index into the capture's surface names; 0 where there are no roles."""
    tags: UInt32[np.ndarray, " M"]
    """Bit g set when the token has tag g."""
    known: UInt32[np.ndarray, " M"]
    """Bit g set where tag g may be scored: the prefix determines it."""
    section: UInt8[np.ndarray, " M"]
    """Index into `tasks.encoded.SECTIONS`."""

    def __len__(self) -> int:
        return len(self.item)

    def take(self, rows_K: Int[np.ndarray, " K"] | Bool[np.ndarray, " M"] | slice) -> "Tokens":
        """The given tokens."""
        return Tokens(*(getattr(self, f.name)[rows_K] for f in fields(self)))

    @property
    def item_starts(self) -> Int[np.ndarray, " N"]:
        """Where each item begins."""
        return np.flatnonzero(np.diff(self.item, prepend=self.item[:1] - 1))


TOKEN_DTYPES: dict[str, np.dtype[Any]] = {
    "token_ids": np.dtype(np.int32),
    "item": np.dtype(np.int32),
    "position": np.dtype(np.int32),
    "surface": np.dtype(np.uint8),
    "tags": np.dtype(np.uint32),
    "known": np.dtype(np.uint32),
    "section": np.dtype(np.uint8),
}
BYTES_BESIDE = sum(dtype.itemsize for dtype in TOKEN_DTYPES.values())
"""Bytes per token beside its recorded values: 22."""


def concatenated(parts: list[Tokens]) -> Tokens:
    """Tokens one after another."""
    return Tokens(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Tokens)))


def item_names(items: EncodedItems) -> Int[np.ndarray, " N"]:
    """Index of each item in its stream, or its row where items have none. Raises BadInput when two share one."""
    names_N = items.item_ids_N if len(items.item_ids_N) else np.arange(len(items))
    if len(np.unique(names_N)) < len(items):
        raise BadInput("An item stands twice among those to record; give each once.")
    return names_N


def tokens_of(items: EncodedItems, roles: RoleTable | None, names_N: Int[np.ndarray, " N"]) -> Tokens:
    """The tokens of whole items, in order. `roles` has the items' rows."""
    at_T = np.arange(items.tokens_NT.shape[1])
    row_M, position_M = np.nonzero(at_T < items.n_tokens_N[:, None])
    zero_M = np.zeros(len(row_M), dtype=np.uint32)
    known_NT = None if roles is None else _known_bits(roles, items.tokens_NT.shape[1])
    return Tokens(
        token_ids=items.tokens_NT[row_M, position_M].astype(np.int32),
        item=names_N[row_M].astype(np.int32),
        position=position_M.astype(np.int32),
        surface=(zero_M if roles is None else roles.surface_NT[row_M, position_M]).astype(np.uint8),
        tags=zero_M if roles is None else roles.tags_NT[row_M, position_M],
        known=zero_M if known_NT is None else known_NT[row_M, position_M],
        section=items.sections_NT[row_M, position_M],
    )


def _known_bits(roles: RoleTable, width: int) -> UInt32[np.ndarray, "N T"]:
    at_T = np.arange(width)
    bits_NT = np.zeros((len(roles.known_from_NG), width), dtype=np.uint32)
    for g, from_N in enumerate(roles.known_from_NG.T):
        bits_NT |= (at_T >= from_N[:, None]).astype(np.uint32) << np.uint32(g)
    return bits_NT
