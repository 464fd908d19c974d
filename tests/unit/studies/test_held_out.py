"""Held-out items: where guessing counts, and how many a file gives."""

import json

import numpy as np
import pytest
from tiny_models import tiny_tokenizer

from rankscope.base.errors import BadInput
from rankscope.base.vocabulary import SYMBOLS
from rankscope.lm.bases import load_base
from rankscope.studies.held_out import HeldOut, held_out, n_available
from rankscope.tasks.catalog import load_items
from rankscope.tasks.jsonl import split_of


def guess(task):
    return HeldOut(load_items(task, "test", 4, 0, tiny_tokenizer()), None).guess_N


def file_of(path, **more):
    rows = [{"prompt": f"{a} {b} answer", "answer": "a2"} | more for a in SYMBOLS[:9] for b in SYMBOLS[:9]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def test_guessing_counts_where_nothing_is_written_before_the_answer(tmp_path):
    assert guess("hashchain:mode=direct,lines=10,chains=2,distractors=1") == pytest.approx(np.full(4, 1 / 3))
    assert guess("hashhop:mode=trace,lines=10,chains=2") is None
    assert guess("planted:k=1,lines=8,chains=2") is None
    file = tmp_path / "mine.jsonl"
    file_of(file, candidates=["a2", "b2", "c2", "d2"])
    assert guess(str(file)) == pytest.approx(np.full(4, 0.25))
    file_of(file, candidates=["a2", "b2"], trace="c2 d2")
    assert guess(str(file)) is None
    file_of(file)
    assert guess(str(file)) is None


def test_a_file_gives_at_most_what_it_has(tmp_path, tiny_model_folder):
    file = tmp_path / "mine.jsonl"
    rows = file_of(file)
    n_test = sum(split_of(row["prompt"]) == "test" for row in rows)
    assert 2 < n_test < 50
    assert n_available(str(file), "test", 500) == n_test
    assert (n_available(str(file), "test", 2), n_available("hashhop", "test", 500)) == (2, 500)
    base = load_base(str(tiny_model_folder("gpt2")))
    assert len(held_out(str(file), base, 500).items) == n_test
    with pytest.raises(BadInput, match=f"at least {n_test + 1} are needed"):
        held_out(str(file), base, 500, fewest=n_test + 1)
