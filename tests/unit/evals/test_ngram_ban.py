"""The ban on repeated n-grams against transformers' own, against brute force, and what it does to an oracle."""

import numpy as np
import pytest
import torch
from hand_items import random_items
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_model
from transformers import NoRepeatNGramLogitsProcessor

from rankscope.evals.generate import generate
from rankscope.evals.ngram_ban import banned_next, is_allowed
from rankscope.evals.paper_generations import allowed_shares
from rankscope.lm.byte_bpe import build_byte_bpe
from rankscope.tasks.catalog import load_task

rows_of = st.integers(1, 20).flatmap(
    lambda length: st.lists(st.lists(st.integers(0, 4), min_size=length, max_size=length), min_size=1, max_size=4)
)


@given(rows_of, st.integers(1, 3))
def test_bans_what_transformers_bans(rows: list[list[int]], n: int) -> None:
    tokens_NT = torch.tensor(rows)
    theirs = NoRepeatNGramLogitsProcessor(n)(tokens_NT, torch.zeros(len(rows), 5)).isinf()
    assert torch.equal(banned_next(tokens_NT, n, 5), theirs)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(0, 19), st.integers(1, 3))
def test_a_text_is_allowed_where_no_step_of_it_is_banned(text: list[int], start: int, n: int) -> None:
    start = min(start, len(text))
    stepwise = all(
        not (at and bool(banned_next(torch.tensor([text[:at]]), n, 5)[0, text[at]])) for at in range(start, len(text))
    )
    assert is_allowed(text, start, n) is stepwise


@pytest.mark.parametrize("n", [2, 3])
def test_generates_what_transformers_generates(n: int) -> None:
    model, items = tiny_model("gpt2"), random_items(3, 12)
    ours = generate(model, items, 12, batch_size=5, stop_id=None, no_repeat_ngram=n)
    plain = generate(model, items, 12, batch_size=5, stop_id=None)
    for row in range(len(items)):
        prompt = torch.from_numpy(items.tokens_NT[row, : items.n_prompt_N[row]])[None]
        theirs = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=12,
            do_sample=False,
            no_repeat_ngram_size=n,
            eos_token_id=None,
        )
        assert ours[row].tolist() == theirs[0, prompt.shape[1] :].tolist()
    assert (ours != plain).any()


def test_an_oracle_under_the_ban_loses_most_answers_and_none_without() -> None:
    """The oracle writes the gold answer unless a token of it is banned; published GPT-2's tokens: 74 % are."""
    task = load_task("paper-hop:nodes=8,hops=1-4")
    tokenizer = build_byte_bpe((item.full for item in task.items("bpe", 1000, 0)), 600, 256)
    items = task.items("test", 300, 0)
    lengths = [len(tokenizer(f" {item.answer}")["input_ids"]) for item in items]
    assert np.mean(lengths) > 1.5
    allowed = allowed_shares(items, tokenizer, (3, 4))
    assert 0 < np.mean(allowed[4]) < 0.5
    assert all(first or not whole for first, whole in zip(allowed[3], allowed[4], strict=True))
    for item, may in zip(items, allowed[4], strict=True):
        prompt = tokenizer(item.prompt)["input_ids"]
        text = list(prompt)
        for token in tokenizer(f" {item.answer}")["input_ids"]:
            if bool(banned_next(torch.tensor([text]), 2, len(tokenizer))[0, token]):
                break
            text.append(token)
        assert (tokenizer.decode(text) == item.full) is may
