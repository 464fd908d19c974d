"""The relabelling task: its permutation, its items against the one-hop task, its rank."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankscope.base.errors import BadInput, UnknownName
from rankscope.base.vocabulary import ID
from rankscope.lm.bases import load_base
from rankscope.tasks.catalog import load_items, load_task
from rankscope.tasks.relabel import RelabelKnobs, RelabelTask
from rankscope.tasks.words import FIRST_SYMBOL

MAP = "lines=6,chains=2,max_length=4,distractors=1"


@given(st.sampled_from([(2, 2), (4, 2), (6, 3), (12, 4), (128, 2), (5, 5)]), st.integers(0, 5))
def test_rank_of_p_less_identity(size: tuple[int, int], seed: int) -> None:
    moved, cycle = size
    knobs = RelabelKnobs(moved=moved, cycle=cycle, seed=seed)
    P = np.eye(128)[knobs.permutation()]
    assert (P.sum(0) == 1).all()
    assert int((np.diag(P) == 0).sum()) == moved
    assert np.linalg.matrix_rank(P - np.eye(128)) == knobs.rank


def test_answers_are_what_the_map_says_exchanged() -> None:
    task = load_task(f"relabel:moved=8,{MAP}")
    assert isinstance(task, RelabelTask)
    items = task.items("train", 400, 3)
    new_V = task.relabelling.permutation()
    looks = items.codes_NT[0].tolist().index(ID["Look:"])
    for row in range(len(items)):
        codes = items.codes_NT[row].tolist()
        key, answer = codes[looks + 1], codes[looks + 2]
        pairs = list(zip(codes[1:looks:2], codes[2:looks:2], strict=True))
        (value,) = [b for a, b in pairs if a == key]
        assert answer - FIRST_SYMBOL == new_V[value - FIRST_SYMBOL]
        assert items.groups["moved"][row] == (answer != value)
    assert 160 < items.groups["moved"].sum() < 240


def test_items_do_not_depend_on_where_one_starts() -> None:
    task = load_task(f"relabel:moved=4,{MAP}")
    whole, part = task.items("test", 50, 1), task.items("test", 10, 1, start=40)
    assert np.array_equal(whole.codes_NT[40:], part.codes_NT)
    assert np.array_equal(whole.groups["moved"][40:], part.groups["moved"])
    other = task.items("validation", 50, 1)
    assert not np.array_equal(whole.codes_NT, other.codes_NT)


def test_the_base_answers_what_is_not_moved() -> None:
    """Without the stop the base's own lookup is right on half of the items, and on them alone."""
    base = load_base("tiny-gpt2")
    items = load_items(f"relabel:moved=8,{MAP}", "test", 200, 0, base.tokenizer)
    rows = np.arange(len(items))
    with torch.no_grad():
        logits = base.model(torch.from_numpy(items.tokens_NT.astype(np.int64))).logits
    said = logits[rows, items.answer_start_N - 1].argmax(-1).numpy()
    right = said == items.tokens_NT[rows, items.answer_start_N]
    moved = items.groups["moved"].astype(bool)
    assert right[~moved].mean() > 0.95
    assert right[moved].mean() < 0.05


def test_knobs_that_can_not_be_are_refused() -> None:
    with pytest.raises(BadInput, match="multiple"):
        load_task("relabel:moved=5,cycle=2")
    with pytest.raises(UnknownName, match="moved"):
        load_task("relabel:move=4")
    with pytest.raises(BadInput, match="symbols"):
        load_task("relabel:moved=4,symbols=64")
