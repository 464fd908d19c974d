"""An independent solver: it reads the tokens of the prompt alone and checks every item's answer by search."""

import numpy as np
from jaxtyping import Int

from rankscope.base.vocabulary import ID
from rankscope.tasks.word_items import WordItems
from rankscope.tasks.words import FIRST_SYMBOL

NOTHING = -1


def _edges(items: WordItems) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys, values and the position of `Start:`, read off the tokens. Absent lines hold NOTHING."""
    start_at_N = (items.codes_NT == ID["Start:"]).argmax(1)
    n_lines = int((start_at_N.max() - 1) // 2)
    there = np.arange(n_lines) < ((start_at_N - 1) // 2)[:, None]
    keys = np.where(there, items.codes_NT[:, 1 : 1 + 2 * n_lines : 2], NOTHING)
    values = np.where(there, items.codes_NT[:, 2 : 2 + 2 * n_lines : 2], NOTHING)
    return keys, values, start_at_N


def solve_hops(items: WordItems) -> Int[np.ndarray, " N"]:
    """Code reached by following the stated number of hops; NOTHING if a hop has no or several ways on."""
    keys, values, start_at_N = _edges(items)
    rows = np.arange(len(items))
    here = items.codes_NT[rows, start_at_N + 1]
    hops_N = items.codes_NT[rows, start_at_N + 3] - ID["0"]
    for hop in range(int(hops_N.max())):
        match = keys == here[:, None]
        onward = np.where(match.sum(1) == 1, values[rows, match.argmax(1)], NOTHING)
        here = np.where(hop < hops_N, onward, here)
    return np.asarray(here)


def solve_shortest(items: WordItems) -> Int[np.ndarray, " N"]:
    """Code of the nearest leaf by breadth-first search from the start; NOTHING when none or a tie."""
    keys, values, start_at_N = _edges(items)
    n, n_codes = len(items), len(items.words)
    rows = np.arange(n)[:, None]
    has_way_on = np.zeros((n, n_codes + 1), dtype=bool)
    has_way_on[rows, keys] = True
    frontier = np.zeros((n, n_codes + 1), dtype=bool)
    frontier[rows[:, 0], items.codes_NT[rows[:, 0], start_at_N + 1]] = True
    answer = np.full(n, NOTHING)
    open_N = np.ones(n, dtype=bool)
    for _ in range(keys.shape[1]):
        reached = np.take_along_axis(frontier, keys, 1) & (keys != NOTHING)
        frontier = np.zeros_like(frontier)
        frontier[np.broadcast_to(rows, keys.shape)[reached], values[reached]] = True
        leaves = frontier & ~has_way_on
        found = leaves.any(1) & open_N
        answer = np.where(found & (leaves.sum(1) == 1), leaves.argmax(1), answer)
        open_N &= ~found
        if not open_N.any():
            break
    return answer


def check_solutions(items: WordItems, question: str) -> None:
    """Raises AssertionError unless search finds exactly the stated answer of every item."""
    solution = solve_hops(items) if question == "hop" else solve_shortest(items)
    stated = items.codes_NT[np.arange(len(items)), items.answer_at_N]
    wrong = np.flatnonzero(solution != stated)
    assert not len(wrong), f"{items.task}: the solver disagrees on items {items.item_ids_N[wrong[:5]].tolist()}"
    assert (stated >= FIRST_SYMBOL).all()
