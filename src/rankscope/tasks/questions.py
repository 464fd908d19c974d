"""The two questions asked of a map: where a path starts, and how many hops it has."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from rankscope.tasks.maps import MapKnobs, Maps

End = Literal["both", "leaf", "inside"]


@dataclass(frozen=True)
class Path:
    """A path in each of N maps: it leaves `query_N` along edge `first_edge_N` and follows `hops_N` edges."""

    query_N: Int[np.ndarray, " N"]
    first_edge_N: Int[np.ndarray, " N"]
    hops_N: Int[np.ndarray, " N"]

    @property
    def answer_N(self) -> Int[np.ndarray, " N"]:
        """Node at the end of the path."""
        return self.first_edge_N + self.hops_N

    def hop_of_NV(self, n_nodes: int) -> Int[np.ndarray, "N V"]:
        """1 to k for the nodes along the path, 0 elsewhere (the query included)."""
        steps_NV = np.arange(n_nodes)[None, :] - self.first_edge_N[:, None]
        return np.where((steps_NV >= 1) & (steps_NV <= self.hops_N[:, None]), steps_NV, 0)


@dataclass(frozen=True)
class HopWishes:
    """What each HashHop item asks for, drawn before its map so that the map can carry it."""

    hops_N: Int[np.ndarray, " N"]
    at_leaf_N: Bool[np.ndarray, " N"]
    on_distractor_N: Bool[np.ndarray, " N"]
    n_main: int
    """Chains from the start."""

    def __call__(self, edges_MC: Int[np.ndarray, "M C"], rows_M: Int[np.ndarray, " M"]) -> Bool[np.ndarray, " M"]:
        """Whether maps with these chains can carry the wishes of the given rows."""
        room_MC = edges_MC.copy()
        room_MC[:, : self.n_main] -= 1  # paths begin where one way leads on, and the start branches
        wanted_MC = self._wanted_MC(rows_M, edges_MC.shape[1])
        needed_M = self.hops_N[rows_M] + ~self.at_leaf_N[rows_M]
        return np.asarray(((room_MC >= needed_M[:, None]) & wanted_MC).any(1))

    def _wanted_MC(self, rows_M: np.ndarray, n_chains: int) -> np.ndarray:
        is_distractor_C = np.arange(n_chains) >= self.n_main
        return np.asarray(is_distractor_C[None, :] == self.on_distractor_N[rows_M][:, None])


def draw_hop_wishes(
    knobs: MapKnobs, n: int, hops: int, end: End, chains_only: bool, rng: np.random.Generator
) -> HopWishes:
    """Hops uniform over 1 to `hops`; ends and kinds of chain drawn evenly unless fixed."""
    at_leaf = rng.random(n) < 0.5
    on_distractor = rng.random(n) < 0.5
    return HopWishes(
        hops_N=rng.integers(1, hops + 1, size=n),
        at_leaf_N=np.full(n, end == "leaf") if end != "both" else at_leaf,
        on_distractor_N=np.zeros(n, dtype=bool) if chains_only or not knobs.distractors else on_distractor,
        n_main=knobs.chains,
    )


def hop_paths(maps: Maps, wishes: HopWishes, rng: np.random.Generator) -> Path:
    """A path per map that meets its wishes, drawn evenly among all that do."""
    left_NL = maps.left_NL
    hops = wishes.hops_N[:, None]
    right_end = np.where(wishes.at_leaf_N[:, None], left_NL == hops, left_NL > hops)
    is_distractor = maps.chain_NL >= wishes.n_main
    leaves_branch = ~is_distractor & (maps.at_NL == 0)
    valid = maps.present_NL & right_end & (is_distractor == wishes.on_distractor_N[:, None]) & ~leaves_branch
    assert valid.any(1).all()
    edge_N = (rng.random(valid.shape) * valid).argmax(1)
    return Path(np.take_along_axis(maps.source_NL, edge_N[:, None], 1)[:, 0], edge_N, wishes.hops_N)


def shortest_paths(maps: Maps) -> Path:
    """The shortest chain from the branching start, by construction chain 0."""
    zeros = np.zeros(len(maps), dtype=np.int64)
    return Path(zeros, zeros, maps.edges_NC[:, 0])
