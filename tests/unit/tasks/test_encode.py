"""Token arrays: the tiny bases' fast path against the text path, and a subword tokenizer."""

import dataclasses

import numpy as np
import pytest
from subwords import subword_tokenizer
from transformers import PreTrainedTokenizerFast

from rankscope.base.errors import BadInput
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.catalog import load_items, load_task
from rankscope.tasks.encode import encode, encode_text
from rankscope.tasks.encoded import NO_TOKEN
from rankscope.tasks.text import text_items

N = 60
NAMES = ["hashhop", "hashhop:mode=trace", "hashhop:mode=matched", "hashchain", "hashchain:mode=matched", "shuffled"]


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return build_word_tokenizer()


@pytest.fixture(scope="module")
def subwords() -> PreTrainedTokenizerFast:
    return subword_tokenizer()


@pytest.mark.parametrize("name", NAMES)
def test_the_fast_path_equals_the_text_path(name: str, words: PreTrainedTokenizerFast) -> None:
    items = load_task(name).items("test", N, 1)
    fast = encode(items, words)
    slow = encode_text(text_items(items), words, items.task, items.split, items.item_ids_N, items.groups)
    for field in dataclasses.fields(fast):
        one, other = getattr(fast, field.name), getattr(slow, field.name)
        if field.name in ("tokens_NT", "candidates_NCA"):
            fill = NO_TOKEN if field.name == "candidates_NCA" else words.pad_token_id
            assert (one[:, other.shape[1] :] == fill).all()
            one = one[:, : other.shape[1]]
        if isinstance(one, np.ndarray):
            assert one.tolist() == other.tolist(), field.name
        else:
            assert one == other, field.name


@pytest.mark.parametrize("name", [*NAMES, "hashchain:mode=trace,symbol_length=4", "hashchain:preset=p1"])
def test_subwords_decode_back_to_the_text(name: str, subwords: PreTrainedTokenizerFast) -> None:
    texts = text_items(load_task(name).items("test", N, 1))
    items = load_items(name, "test", N, 1, subwords)
    for row, text in enumerate(texts):
        tokens = items.tokens_NT[row]
        n_prompt, start, end = (int(a[row]) for a in (items.n_prompt_N, items.answer_start_N, items.answer_end_N))
        assert subwords.decode(tokens[:n_prompt]) == text.prompt
        assert subwords.decode(tokens[n_prompt:start]) == (f" {text.trace}" if text.trace else "")
        assert subwords.decode(tokens[start:end]) == f" {text.answer}"
        assert tokens[end:].tolist() == [subwords.eos_token_id] * (len(tokens) - end), "stop, then padding by stop"
        assert items.n_tokens_N[row] == end + 1
        assert items.completion_mask_NT[row].sum() == end + 1 - n_prompt
        candidates = [subwords.decode(c[c != NO_TOKEN]) for c in items.candidates_NCA[row] if c[0] != NO_TOKEN]
        assert candidates == [f" {candidate}" for candidate in text.candidates]
        assert items.chance_N[row] == 1 / len(candidates)


def test_planted_items_are_maps_whose_every_later_token_is_scored(
    words: PreTrainedTokenizerFast, subwords: PreTrainedTokenizerFast
) -> None:
    fast, slow = (load_items("planted:k=2", "train", N, 0, tokenizer) for tokenizer in (words, subwords))
    for items, tokenizer in ((fast, words), (slow, subwords)):
        assert (items.objective, items.candidates_NCA) == ("distill", None)
        assert set(items.n_prompt_N) == {1}
        texts = [tokenizer.decode(row[:n]) for row, n in zip(items.tokens_NT, items.n_tokens_N, strict=True)]
        assert all(text.startswith("Map:") and "Start" not in text for text in texts)
        assert {text.count(" ") if tokenizer is words else text.count("=>") for text in texts} == {
            28 if tokenizer is words else 14
        }


def test_words_that_the_tiny_bases_lack_are_refused(words: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BadInput, match="not among the 256 words"):
        load_items("hashhop:symbol_length=4", "train", N, 0, words)


def test_a_tokenizer_without_a_stop_token_is_refused(subwords: PreTrainedTokenizerFast) -> None:
    endless = PreTrainedTokenizerFast(tokenizer_object=subwords.backend_tokenizer)
    with pytest.raises(BadInput, match="end-of-sequence"):
        load_items("hashhop", "train", N, 0, endless)


def test_splits_are_train_validation_and_test(words: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BadInput, match="train, validation or test"):
        load_items("hashhop", "dev", N, 0, words)


def test_splits_and_seeds_share_no_item(words: PreTrainedTokenizerFast) -> None:
    streams = [("train", 0), ("validation", 0), ("test", 0), ("train", 1)]
    prompts = [
        {tuple(row) for row in load_items("hashhop", split, 2000, seed, words).tokens_NT.tolist()}
        for split, seed in streams
    ]
    assert all(len(prompt) == 2000 for prompt in prompts)
    assert len(set.union(*prompts)) == 2000 * len(streams)
