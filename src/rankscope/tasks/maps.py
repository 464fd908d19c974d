"""Twin maps: directed edges over unique symbols, drawn for many items at once.

A map holds m chains from one branching start (the shortest is unique) and d detached distractor chains that
pad every map to the same number of lines. Both questions are asked of the same map.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int
from pydantic import Field, PositiveInt, model_validator

from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.base.vocabulary import SYMBOLS

MAX_REDRAWS = 2_000


class MapKnobs(Config):
    """What decides the distribution of maps. Lengths count nodes, start included; hops count edges."""

    lines: PositiveInt | None = 14
    """Lines of every map, filled up by distractor chains; None leaves them as they fall (no distractors)."""
    chains: int = Field(default=3, ge=2)
    """m, chains from the branching start."""
    min_length: int = Field(default=2, ge=2)
    """Smallest length of a chain, in nodes."""
    max_length: int = Field(default=5, ge=3)
    """Largest length of a chain, in nodes; the shortest chain is at most one less."""
    distractors: int = Field(default=1, ge=0)
    """d, detached chains of at least one edge each."""
    symbols: int = Field(default=128, ge=4)
    """Size of the alphabet that nodes are drawn from."""
    symbol_length: int = Field(default=2, ge=2)
    """Characters per symbol; 2 is one token for the tiny bases."""
    lengths: Literal["uniform", "p1"] = "uniform"
    """`uniform`: longer chains drawn with replacement. `p1`: the rule of arXiv 2412.00029's generator."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_length >= self.max_length:
            raise BadInput(f"min_length must be below max_length, not {self.min_length} and {self.max_length}.")
        if self.lines is None and self.distractors:
            raise BadInput("Distractor chains fill a map up to `lines`; set lines, or distractors=0.")
        if self.lines is not None and not self._can_fill(self.lines):
            raise BadInput(
                f"{self.chains} chains of up to {self.max_length} nodes and {self.distractors} distractors need "
                f"at least {self.most_chain_lines + max(1, self.distractors)} lines with distractors >= 1, not "
                f"lines={self.lines}, distractors={self.distractors}."
            )
        if self.symbol_length == 2 and self.symbols > len(SYMBOLS):
            raise BadInput(f"There are {len(SYMBOLS)} symbols of two characters, not {self.symbols}.")
        if self.n_nodes > self.symbols:
            raise BadInput(f"A map has up to {self.n_nodes} nodes, but there are only {self.symbols} symbols.")
        return self

    def _can_fill(self, lines: int) -> bool:
        """Whether every map can have exactly that many lines; without distractors the chains alone must come to it."""
        if self.distractors:
            return lines >= self.most_chain_lines + self.distractors
        return self.max_length == self.min_length + 1 and lines == self.most_chain_lines

    @property
    def most_chain_lines(self) -> int:
        """Most lines that the chains from the start can take."""
        return (self.max_length - 2) + (self.chains - 1) * (self.max_length - 1)

    @property
    def most_lines(self) -> int:
        """Most lines of a map."""
        return self.lines if self.lines is not None else self.most_chain_lines

    @property
    def n_nodes(self) -> int:
        """Most nodes of a map."""
        return 1 + self.most_lines + self.distractors


@dataclass(frozen=True)
class Maps:
    """N maps. Edge e leads to node e + 1; node 0 is the start, nodes 1 + L + j are heads of distractors."""

    knobs: MapKnobs
    edges_NC: Int[np.ndarray, "N C"]
    """Edges of each chain: the m chains from the start (column 0 the shortest), then d distractors."""
    chain_NL: Int[np.ndarray, "N L"]
    """Chain of each edge; C where there is no such edge."""
    at_NL: Int[np.ndarray, "N L"]
    """Position of each edge within its chain, from 0."""
    source_NL: Int[np.ndarray, "N L"]
    """Node each edge leaves from."""
    symbol_NV: Int[np.ndarray, "N V"]
    """Symbol index of each node."""
    line_NL: Int[np.ndarray, "N L"]
    """Edge shown on each line (shuffled); absent edges come last."""

    def __len__(self) -> int:
        return len(self.edges_NC)

    @property
    def n_lines_N(self) -> Int[np.ndarray, " N"]:
        """Lines per map."""
        return self.edges_NC.sum(1)

    @property
    def present_NL(self) -> Bool[np.ndarray, "N L"]:
        """Whether edge e exists."""
        return self.chain_NL < self.edges_NC.shape[1]

    @property
    def left_NL(self) -> Int[np.ndarray, "N L"]:
        """Edges left from the source of each edge to the leaf of its chain."""
        padded = np.concatenate([self.edges_NC, np.zeros((len(self), 1), dtype=np.int64)], axis=1)
        return np.take_along_axis(padded, self.chain_NL, 1) - self.at_NL

    @property
    def line_of_edge_NL(self) -> Int[np.ndarray, "N L"]:
        """Line on which each edge stands."""
        return np.argsort(self.line_NL, axis=1)

    @property
    def leaf_edge_NC(self) -> Int[np.ndarray, "N C"]:
        """Last edge of each chain; its target is the chain's leaf."""
        return np.cumsum(self.edges_NC, axis=1) - 1

    @property
    def shortest_length_N(self) -> Int[np.ndarray, " N"]:
        """Nodes of the shortest chain, start included."""
        return self.edges_NC[:, 0] + 1


def draw_lengths(
    knobs: MapKnobs, n: int, rng: np.random.Generator, shortest_N: np.ndarray | None = None
) -> Int[np.ndarray, "N M"]:
    """Lengths in nodes of the m chains, column 0 the unique shortest, uniform over its values.

    With `shortest_N` given, only the other chains are drawn.
    """
    low, high, m = knobs.min_length, knobs.max_length, knobs.chains
    shortest = rng.integers(low, high, size=n) if shortest_N is None else shortest_N
    others = rng.integers((shortest + 1)[:, None], high + 1, size=(n, m - 1))
    if knobs.lengths == "p1":
        _without_replacement_(others, shortest, high, rng)
    return np.concatenate([shortest[:, None], others], axis=1)


def _without_replacement_(others_NM: np.ndarray, shortest_N: np.ndarray, high: int, rng: np.random.Generator) -> None:
    """P1's rule: without replacement where enough larger lengths exist, else with."""
    m_others = others_NM.shape[1]
    for shortest in np.unique(shortest_N):
        if high - shortest >= m_others:
            rows = np.flatnonzero(shortest_N == shortest)
            order = rng.random((len(rows), high - shortest)).argsort(1)[:, :m_others]
            others_NM[rows] = shortest + 1 + order


def _draw_edges(
    knobs: MapKnobs, n: int, rng: np.random.Generator, shortest_N: np.ndarray | None = None
) -> Int[np.ndarray, "N C"]:
    """Edges per chain: chains from the start, then distractors that fill the map up."""
    chains_NM = draw_lengths(knobs, n, rng, shortest_N) - 1
    if not knobs.distractors:
        return chains_NM
    assert knobs.lines is not None
    spare_N = knobs.lines - chains_NM.sum(1) - knobs.distractors
    cuts = np.sort(rng.integers(0, spare_N[:, None] + 1, size=(n, knobs.distractors - 1)), axis=1)
    bounds = np.concatenate([np.zeros((n, 1), dtype=np.int64), cuts, spare_N[:, None]], axis=1)
    return np.concatenate([chains_NM, np.diff(bounds, axis=1) + 1], axis=1)


def draw_edges(
    knobs: MapKnobs, n: int, rng: np.random.Generator, feasible: "Feasible | None" = None
) -> Int[np.ndarray, "N C"]:
    """Edges per chain of n maps; rows that a question can not be asked of are drawn again, shortest kept."""
    edges_NC = _draw_edges(knobs, n, rng)
    if feasible is None:
        return edges_NC
    rows = np.flatnonzero(~feasible(edges_NC, np.arange(n)))
    for _ in range(MAX_REDRAWS):
        if not len(rows):
            return edges_NC
        edges_NC[rows] = _draw_edges(knobs, len(rows), rng, edges_NC[rows, 0] + 1)
        rows = rows[~feasible(edges_NC[rows], rows)]
    raise BadInput(
        "With these knobs some questions have no map: hops must leave room in a chain "
        "(hops <= max_length - 2 to end at a leaf, one less to end inside; in distractors, lines must leave room)."
    )


@runtime_checkable
class Feasible(Protocol):
    """Whether row r of the given edges can carry question rows[r]."""

    def __call__(self, edges_MC: Int[np.ndarray, "M C"], rows_M: Int[np.ndarray, " M"]) -> Bool[np.ndarray, " M"]:
        """True where it can."""
        ...


def build_maps(knobs: MapKnobs, edges_NC: Int[np.ndarray, "N C"], rng: np.random.Generator) -> Maps:
    """Maps with the given chains: symbols drawn without repetition, lines shuffled."""
    n, n_chains = edges_NC.shape
    n_lines = knobs.most_lines
    ends_NC = np.cumsum(edges_NC, axis=1)
    edge_L = np.arange(n_lines)
    chain_NL = (edge_L[None, :, None] >= ends_NC[:, None, :]).sum(2)
    starts_NC = np.concatenate([ends_NC - edges_NC, ends_NC[:, -1:]], axis=1)
    at_NL = edge_L - np.take_along_axis(starts_NC, chain_NL, 1)
    head_NL = np.where(chain_NL < knobs.chains, 0, 1 + n_lines + chain_NL - knobs.chains)
    shuffle = rng.random((n, n_lines)) + (chain_NL == n_chains)
    return Maps(
        knobs=knobs,
        edges_NC=edges_NC,
        chain_NL=chain_NL,
        at_NL=at_NL,
        source_NL=np.where(at_NL > 0, edge_L, head_NL),
        symbol_NV=rng.random((n, knobs.symbols)).argsort(1)[:, : knobs.n_nodes],
        line_NL=shuffle.argsort(1),
    )
