"""What every direction's values are like, and what stands around its examples: two passes over a capture's blocks."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from rankscope.capture.store import Block
from rankscope.interpret.look_records import Example, ExampleKind

N_BINS = 40
BEFORE, AFTER = 14, 6
"""Tokens shown on either side of an example; models read to the right, so more stand before."""


@dataclass(frozen=True)
class Distribution:
    """Values of F directions over all tokens."""

    mean_F: Float[np.ndarray, " F"]
    rms_F: Float[np.ndarray, " F"]
    edges_FE: Float[np.ndarray, "F E"]
    """From the smallest to the largest value."""
    counts_FB: Int[np.ndarray, "F B"]
    """Tokens in each bin, B = E - 1."""


def distribution(blocks: Iterable[Block], again: Iterable[Block], n_bins: int = N_BINS) -> Distribution:
    """Moments and histograms; `again` are the same blocks a second time, since bins need the range first."""
    n_tokens = 0
    total_F, square_F, low_F, high_F = (np.array(start) for start in (0.0, 0.0, np.inf, -np.inf))
    for block in blocks:
        values = block.values_MF.astype(np.float64)
        n_tokens += len(values)
        total_F, square_F = total_F + values.sum(0), square_F + (values**2).sum(0)
        low_F, high_F = np.minimum(low_F, values.min(0)), np.maximum(high_F, values.max(0))
    width_F = np.where(high_F > low_F, high_F - low_F, 1.0)
    counts_FB = np.zeros((len(low_F), n_bins), dtype=np.int64)
    for block in again:
        bin_MF = np.minimum(((block.values_MF - low_F) / width_F * n_bins).astype(np.int64), n_bins - 1)
        for direction, bin_M in enumerate(bin_MF.T):
            counts_FB[direction] += np.bincount(bin_M, minlength=n_bins)
    edges_FE = low_F[:, None] + width_F[:, None] * np.linspace(0, 1, n_bins + 1)
    return Distribution(total_F / n_tokens, np.sqrt(square_F / n_tokens), edges_FE, counts_FB)


def shown_examples(
    table: pl.DataFrame, blocks: Iterable[Block], place_of: Mapping[int, int], with_roles: bool
) -> dict[int, tuple[Example, ...]]:
    """Direction -> its examples with the tokens around them, kind by kind, the strongest first.

    table: as `examples` gives it. place_of: token id -> its place among the words shown; all ids that occur.
    """
    wanted: dict[int, list[tuple[int, str, int, int, float]]] = {}
    for direction, kind, rank, item, position, value in table.iter_rows():
        wanted.setdefault(item, []).append((direction, kind, rank, position, value))
    found: dict[int, list[tuple[tuple[int, int], Example]]] = {}
    for block in blocks:
        for item, rows in _items(block):
            for direction, kind, rank, position, value in wanted.get(item, ()):
                example = _example(block, rows, direction, kind, position, value, place_of, with_roles)
                found.setdefault(direction, []).append(((_KINDS.index(example.kind), rank), example))
    return {
        direction: tuple(one for _, one in sorted(some, key=lambda pair: pair[0])) for direction, some in found.items()
    }


_KINDS: tuple[ExampleKind, ...] = ("positive", "negative", "decile", "random", "near zero")


def _items(block: Block) -> Iterator[tuple[int, slice]]:
    starts = [*block.tokens.item_starts.tolist(), len(block.tokens)]
    for start, end in pairwise(starts):
        yield int(block.tokens.item[start]), slice(start, end)


def _example(
    block: Block,
    rows: slice,
    direction: int,
    kind: str,
    position: int,
    value: float,
    place_of: Mapping[int, int],
    with_roles: bool,
) -> Example:
    first = max(rows.start, rows.start + position - BEFORE)
    last = min(rows.stop, rows.start + position + AFTER + 1)
    tokens = block.tokens.take(slice(first, last))
    return Example(
        kind="decile" if kind.startswith("decile") else "near zero" if kind == "near_zero" else _plain(kind),
        item=int(tokens.item[0]),
        position=position,
        value=float(value),
        start=first - rows.start,
        tokens=tuple(place_of[int(token)] for token in tokens.token_ids),
        values=tuple(float(f"{one:.4g}") for one in block.values_MF[first:last, direction]),
        sections=tuple(tokens.section.tolist()),
        surfaces=tuple(tokens.surface.tolist()) if with_roles else (),
        tags=tuple((tokens.tags & tokens.known).tolist()) if with_roles else (),
    )


def _plain(kind: str) -> ExampleKind:
    return next(name for name in _KINDS if name == kind)


def ids_around(table: pl.DataFrame, blocks: Iterable[Block]) -> list[int]:
    """Ids of all tokens of items that have an example, ascending."""
    items = set(table["item"].to_list())
    ids: set[int] = set()
    for block in blocks:
        for item, rows in _items(block):
            if item in items:
                ids.update(block.tokens.token_ids[rows].tolist())
    return sorted(ids)
