"""The built-in check of every item notices a wrong answer."""

from dataclasses import replace

import numpy as np
import pytest

from rankscope.tasks.catalog import load_task
from rankscope.tasks.solver import check_solutions


@pytest.mark.parametrize(("name", "question"), [("hashhop", "hop"), ("hashchain", "chain")])
def test_another_leaf_is_no_answer(name: str, question: str) -> None:
    items = load_task(name).items("test", 20, 0)
    check_solutions(items, question)
    codes = items.codes_NT.copy()
    codes[7, items.answer_at_N[7]] = items.candidates_NC[7, 1]
    with pytest.raises(AssertionError, match=r"\[7\]"):
        check_solutions(replace(items, codes_NT=codes), question)


def test_a_tie_has_no_answer() -> None:
    items = load_task("hashchain:chains=2,max_length=3,lines=5,hops=1,end=leaf").items("test", 1, 0)
    codes, start = items.codes_NT.copy(), items.codes_NT[0, 12]
    keys, values = codes[0, 1:11:2], codes[0, 2:12:2]
    middle = next(value for key, value in zip(keys, values, strict=True) if key == start and value in keys)
    cut = int(np.flatnonzero(keys == middle)[0])
    codes[0, 1 + 2 * cut] = codes[0, 2 + 2 * cut]
    with pytest.raises(AssertionError):
        check_solutions(replace(items, codes_NT=codes), "chain")
