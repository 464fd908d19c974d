"""The tiny bases' tokenizer and the base that is shipped with it."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from rankscope.base.vocabulary import ID, SIZE, WORDS
from rankscope.lm.bases import SHIPPED
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.catalog import load_task
from rankscope.tasks.words import layout
from rankscope.train.base_recipe import lookup_accuracy

FOLDER = SHIPPED / "tiny-gpt2"
BUILT = build_word_tokenizer()
MAP_WORDS = [ID[word] for word in ("Map:", "Look:", "Start:", "shortest path", "a2", "b3", "c4")]
TASKS = [f"{name}:mode={mode}" for name in ("hashhop", "hashchain") for mode in ("direct", "trace", "matched")]


@pytest.fixture(scope="module")
def shipped() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER)


def encoded(text: str) -> list[int]:
    return BUILT(text, add_special_tokens=False)["input_ids"]


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=60))
def test_encoding_what_was_decoded_gives_the_tokens_back(ids: list[int]) -> None:
    assert encoded(BUILT.decode(ids)) == ids


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(st.sampled_from(MAP_WORDS), min_size=1, max_size=20))
def test_so_it_does_for_anything_that_looks_like_a_map(ids: list[int]) -> None:
    assert encoded(BUILT.decode(ids)) == ids


@pytest.mark.parametrize("task", TASKS)
def test_items_decode_to_their_layout_and_back(task: str) -> None:
    items = load_task(task).items("test", 50, 2)
    for row, n in zip(items.codes_NT, items.n_tokens_N, strict=True):
        codes = row[:n].tolist()
        text = layout(codes, WORDS)[0]
        assert BUILT.decode(codes) == text
        assert encoded(text) == codes


def test_a_map_line_is_two_tokens() -> None:
    assert encoded("Map:\nq7=>m8\nStart: q7") == [ID[word] for word in ("Map:", "q7", "m8", "Start:", "q7")]


def test_auto_tokenizer_reads_the_same_tokenizer(shipped: PreTrainedTokenizerBase) -> None:
    assert shipped.get_vocab() == BUILT.get_vocab() == ID
    assert (shipped.pad_token, shipped.eos_token, shipped.padding_side) == ("<pad>", "<stop>", "right")
    items = load_task("hashchain:mode=trace").items("test", 20, 0)
    for row, n in zip(items.codes_NT, items.n_tokens_N, strict=True):
        text = shipped.decode(row[:n])
        assert text == BUILT.decode(row[:n])
        assert shipped(text)["input_ids"] == encoded(text)


def test_the_shipped_base_is_the_recipes_and_looks_up() -> None:
    recipe = json.loads((FOLDER / "recipe.json").read_text())
    digest = hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest()
    assert recipe["model.safetensors"]["sha256"] == digest
    assert digest in (FOLDER / "README.md").read_text()
    model = AutoModelForCausalLM.from_pretrained(FOLDER).eval()
    assert lookup_accuracy(model, 12) >= 0.99
