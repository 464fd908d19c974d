"""Leak check: can a shortcut that ignores the map's edges tell what only its edges should tell?"""

from dataclasses import dataclass

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from rankscope.base.errors import BadInput
from rankscope.stats.proportion import wilson
from rankscope.tasks.solver import NOTHING
from rankscope.tasks.twins import TwinTask
from rankscope.tasks.word_items import WordItems

MIN_ITEMS = 20_000
MARGIN = 0.02
LEAST_AT_LEAF = 200
"""Items that must end at a leaf for the shortcut from the leaves' lines to be judged."""


@dataclass(frozen=True)
class Leak:
    """How well one shortcut does on held-out items."""

    shortcut: str
    """Such as `number of lines -> shortest length`."""
    accuracy: float
    upper: float
    """Upper end of the 95 % Wilson interval of the accuracy."""
    majority: float
    """Rate of the commonest value, or of each line if all are alike: what no knowledge at all gives."""
    n: int
    """Held-out items."""

    @property
    def leaks(self) -> bool:
        """Whether the upper bound lies more than 2 points above the majority rate."""
        return self.upper > self.majority + MARGIN


def leak_check(task: TwinTask, n: int = MIN_ITEMS, data_seed: int = 0) -> list[Leak]:
    """Every shortcut of the twin tasks, each a decision tree fitted on half of n items and tested on the rest."""
    if n < 1000:
        raise BadInput(f"The leak check needs at least 1,000 items ({MIN_ITEMS:,} by default), not {n}.")
    if not isinstance(task, TwinTask):
        raise BadInput("The leak check knows the shortcuts of HashHop and HashChain alone.")
    items = task.items("test", n, data_seed)
    evenly = float((1 / items.groups["n_lines"]).mean())
    line = judge_shortcut("position alone -> line of the answer", *_position(items), majority=evenly)
    return [*(judge_shortcut(name, X, y) for name, X, y in shortcuts(items, task.question)), line]


def shortcuts(items: WordItems, question: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(name, features, what they should not tell) of every shortcut; that of leaves only where answers are leaves."""
    groups = items.groups
    depth_name = "hops" if question == "hop" else "shortest length"
    depth = groups[depth_name.replace(" ", "_")]
    leaf_lines, answer_leaf = leaf_view(items)
    at_leaf = answer_leaf >= 0
    found = [
        (f"number of lines -> {depth_name}", groups["n_lines"][:, None], depth),
        (f"number of leaves -> {depth_name}", groups["n_leaves"][:, None], depth),
        (f"number of chains -> {depth_name}", groups["n_chains"][:, None], depth),
    ]
    if at_leaf.sum() >= LEAST_AT_LEAF:
        found.append(("lines of the leaves -> which leaf is the answer", leaf_lines[at_leaf], answer_leaf[at_leaf]))
    return found


def judge_shortcut(name: str, features_NF: np.ndarray, target_N: np.ndarray, majority: float | None = None) -> Leak:
    """Fits a small tree on the first half, tests it on the second; `majority` is measured there unless given."""
    half = len(target_N) // 2
    tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=50, random_state=0)
    tree.fit(features_NF[:half], target_N[:half])
    right = tree.predict(features_NF[half:]) == target_N[half:]
    _, upper = wilson(int(right.sum()), len(right))
    if majority is None:
        majority = float(np.unique(target_N[half:], return_counts=True)[1].max() / len(right))
    return Leak(name, float(right.mean()), upper, majority, len(right))


def _lines(items: WordItems) -> tuple[np.ndarray, np.ndarray]:
    """Codes of keys and values by line, read off the tokens; NOTHING where a map has fewer lines."""
    most = int(items.groups["n_lines"].max())
    there = np.arange(most) < items.groups["n_lines"][:, None]
    keys, values = items.codes_NT[:, 1 : 1 + 2 * most : 2], items.codes_NT[:, 2 : 2 + 2 * most : 2]
    return np.where(there, keys, NOTHING), np.where(there, values, NOTHING)


def _position(items: WordItems) -> tuple[np.ndarray, np.ndarray]:
    """Number of lines and line of the answer."""
    return items.groups["n_lines"][:, None], items.groups["answer_line"]


def leaf_view(items: WordItems) -> tuple[np.ndarray, np.ndarray]:
    """Lines on which the leaves stand, in order, and which of them is the answer (-1: none)."""
    keys, values = _lines(items)
    is_leaf = ~(values[:, :, None] == keys[:, None, :]).any(2) & (values != NOTHING)
    width = int(is_leaf.sum(1).max())
    order = np.where(is_leaf, np.arange(values.shape[1]), values.shape[1]).argsort(1, kind="stable")[:, :width]
    lines = np.where(np.take_along_axis(is_leaf, order, 1), order, NOTHING)
    answer = items.codes_NT[np.arange(len(items)), items.answer_at_N]
    match = (np.take_along_axis(values, order, 1) == answer[:, None]) & (lines != NOTHING)
    return lines, np.where(match.any(1), match.argmax(1), NOTHING)
