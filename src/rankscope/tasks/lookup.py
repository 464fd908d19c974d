"""One-hop lookup over twin maps: what the tiny bases are trained on, and nothing else.

After the map comes `Look:`, then pairs: a node with one way on, and the node it leads to. No path, question or
target of HashHop or HashChain ever appears.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from rankscope.base.seeds import numpy_stream
from rankscope.base.vocabulary import ID
from rankscope.tasks.maps import MapKnobs, Maps, build_maps, draw_edges
from rankscope.tasks.words import FIRST_SYMBOL


@dataclass(frozen=True)
class LookupBatch:
    """N maps of one size, each with Q lookups."""

    tokens_NT: Int[np.ndarray, "N T"]
    """Word ids; T = 2 * lines + 2 + 2 * Q, no padding."""
    asked_NT: Bool[np.ndarray, "N T"]
    """True at the answers of lookups."""


def lookup_knobs(lines: int) -> MapKnobs:
    """Twin maps of a given number of lines: two chains in small maps, three in large ones."""
    if lines < 6:
        return MapKnobs(lines=lines, chains=2, max_length=3, distractors=1)
    if lines < 10:
        return MapKnobs(lines=lines, chains=2, max_length=4, distractors=1)
    return MapKnobs(lines=lines, chains=3, max_length=4, distractors=2)


def draw_lookups(lines: int, n: int, n_lookups: int, *stream: str | int) -> LookupBatch:
    """Maps, n of them, with n_lookups lookups each, a function of the stream's name."""
    rng = numpy_stream("lookup", lines, *stream)
    knobs = lookup_knobs(lines)
    maps = build_maps(knobs, draw_edges(knobs, n, rng), rng)
    asked_edge = _single_edges(maps, n_lookups, rng)
    key = np.take_along_axis(maps.source_NL, maps.line_NL, 1)
    shown = np.stack([key, maps.line_NL + 1], axis=2).reshape(n, -1)
    source = np.take_along_axis(maps.source_NL, asked_edge, 1)
    pairs = np.stack([source, asked_edge + 1], axis=2).reshape(n, -1)
    symbols = [FIRST_SYMBOL + np.take_along_axis(maps.symbol_NV, nodes, 1) for nodes in (shown, pairs)]
    marks = [np.full((n, 1), ID[mark]) for mark in ("Map:", "Look:")]
    tokens = np.concatenate([marks[0], symbols[0], marks[1], symbols[1]], axis=1)
    asked = np.zeros(tokens.shape, dtype=bool)
    asked[:, 2 * lines + 3 :: 2] = True
    return LookupBatch(tokens, asked)


def _single_edges(maps: Maps, n_lookups: int, rng: np.random.Generator) -> np.ndarray:
    """Edges whose source has one way on, drawn with replacement."""
    allowed = maps.source_NL != 0
    weights = rng.random((n_lookups, *allowed.shape)) * allowed
    return weights.argmax(2).T
