"""HashHop and HashChain as arXiv 2412.00029 generates them, in text, with their quirks kept.

Hashes are drawn independently and never checked for being unique; a repeated hash overwrites a line of HashHop's map,
and its target is read off the damaged map. Nothing here is mended: the twin tasks (`twins.py`) are the mended version.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class PaperItem:
    """One item: the prompt ends right after `Target:`, the answer follows after one space."""

    prompt: str
    answer: str
    groups: dict[str, int] = field(default_factory=dict)
    """Labels: `hops` or `shortest_length`, and `n_lines`."""

    @property
    def full(self) -> str:
        """Prompt, a space, answer."""
        return f"{self.prompt} {self.answer}"


def draw_hash(rng: np.random.Generator, n_symbols: int) -> str:
    """Symbols of a to z and 0 to 9, drawn uniformly with replacement."""
    return "".join(ALPHABET[int(symbol)] for symbol in rng.integers(0, len(ALPHABET), size=n_symbols))


def draw_hop_item(rng: np.random.Generator, n_nodes: int, n_symbols: int, hops: tuple[int, int]) -> PaperItem:
    """One chain of n_nodes hashes, its head as the start, and a number of hops between the two given, both included.

    The walk stops where there is no way on, so n_nodes - 1 hops or more lead to the chain's end.
    """
    chain = [draw_hash(rng, n_symbols) for _ in range(n_nodes)]
    onward = dict(itertools.pairwise(chain))
    n_hops = int(rng.integers(hops[0], hops[1] + 1))
    here = chain[0]
    for _ in range(n_hops):
        here = onward.get(here, here)
    lines = _shuffled(onward.items(), rng)
    return PaperItem(
        _prompt(lines, f"Start: {chain[0]}\nHops: {n_hops}"), here, {"hops": n_hops, "n_lines": len(lines)}
    )


def draw_lengths(rng: np.random.Generator, allowed: tuple[int, ...], n_chains: int) -> list[int]:
    """Chain lengths in nodes, start included, ascending; the shortest is unique.

    The shortest is any of `allowed` but the largest; the others are drawn from what is longer, without replacement
    where there are enough.
    """
    shortest = int(rng.choice(sorted(allowed)[:-1]))
    longer = [length for length in allowed if length > shortest]
    others = rng.choice(longer, size=n_chains - 1, replace=len(longer) < n_chains - 1)
    return sorted([shortest, *(int(length) for length in others)])


def most_lines(allowed: tuple[int, ...], n_chains: int) -> int:
    """Lines of the largest map that `draw_lengths` can ask for: all other chains as long as can be."""
    ordered = sorted(allowed)
    found = []
    for at, shortest in enumerate(ordered[:-1]):
        longer = ordered[at + 1 :]
        others = longer[-(n_chains - 1) :] if len(longer) >= n_chains - 1 else [longer[-1]] * (n_chains - 1)
        found.append(shortest - 1 + sum(length - 1 for length in others))
    return max(found)


def draw_chain_item(
    rng: np.random.Generator, allowed: tuple[int, ...], n_chains: int, n_symbols: int, n_lines: int | None = None
) -> PaperItem:
    """Several chains from one start; the answer is the end of the shortest.

    With `n_lines`, a detached chain fills every map to that many lines; without, as in the paper, the number of lines
    follows from the lengths and gives the shortest away.
    """
    lengths = draw_lengths(rng, allowed, n_chains)
    start = draw_hash(rng, n_symbols)
    chains = [[start, *(draw_hash(rng, n_symbols) for _ in range(length - 1))] for length in lengths]
    lines = [pair for chain in chains for pair in itertools.pairwise(chain)]
    if n_lines is not None:
        detached = [draw_hash(rng, n_symbols) for _ in range(n_lines - len(lines) + 1)]
        lines += itertools.pairwise(detached)
    lines = _shuffled(lines, rng)
    groups = {"shortest_length": lengths[0], "n_lines": len(lines)}
    return PaperItem(_prompt(lines, f"Start: {start}\nTask: shortest path"), chains[0][-1], groups)


def _shuffled(lines: Iterable[tuple[str, str]], rng: np.random.Generator) -> list[tuple[str, str]]:
    listed = list(lines)
    return [listed[at] for at in rng.permutation(len(listed))]


def _prompt(lines: list[tuple[str, str]], query: str) -> str:
    return "\n".join(["Map:", *map_lines(lines), query, "Target:"])


def map_lines(lines: Iterable[tuple[str, str]]) -> list[str]:
    """Each line as text."""
    return [f"{key}=>{value}" for key, value in lines]
