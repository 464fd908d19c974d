"""Hashes of item streams, padding left out. A change here makes every stored result one of other items; exact.

`make golden-accept` rewrites the file.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from rankscope.base.vocabulary import WORDS
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.catalog import load_items
from rankscope.tasks.lookup import draw_lookups

STORED = Path(__file__).with_name("streams.json")
TASKS = [
    "hashhop",
    "hashhop:mode=trace",
    "hashhop:mode=matched",
    "hashchain",
    "hashchain:mode=trace",
    "hashchain:mode=matched",
    "shuffled:mode=matched",
    "planted:k=2",
    "reasoning",
    "reasoning:skill=copy,trace=shuffled",
]


def check(name: str, found: str) -> None:
    golden = json.loads(STORED.read_text()) if STORED.exists() else {}
    if os.environ.get("RANKSCOPE_GOLDEN_ACCEPT") == "1":
        STORED.write_text(json.dumps(golden | {name: found}, indent=2, sort_keys=True) + "\n")
        return
    assert found == golden[name]


@pytest.mark.parametrize("task", TASKS)
def test_item_streams(task: str) -> None:
    items = load_items(task, "test", 100, 0, build_word_tokenizer())
    texts = [row[:n].tolist() for row, n in zip(items.tokens_NT, items.n_tokens_N, strict=True)]
    candidates = None if items.candidates_NCA is None else items.candidates_NCA.tolist()
    places = [items.n_prompt_N.tolist(), items.answer_start_N.tolist(), items.answer_end_N.tolist()]
    check(task, hashlib.sha256(json.dumps([texts, places, candidates]).encode()).hexdigest())


def test_lookup_stream_of_the_bases() -> None:
    batch = draw_lookups(12, 64, 16, "train", 0, 0)
    check("lookup", hashlib.sha256(np.ascontiguousarray(batch.tokens_NT, dtype=np.int64).tobytes()).hexdigest())


def test_words_keep_their_ids() -> None:
    check("words", hashlib.sha256("\n".join(WORDS).encode()).hexdigest())
