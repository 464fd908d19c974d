from dataclasses import replace

import numpy as np
import pytest
import tiny_training as tiny
import torch

from rankscope.base.errors import BadInput
from rankscope.lm.bases import load_base
from rankscope.tasks.catalog import load_items
from rankscope.train.batches import batch_of, batch_rows, batch_stream
from rankscope.train.cell import Budget
from rankscope.train.kinds import passes_of


def test_an_epoch_visits_each_item_once_and_epochs_differ() -> None:
    budget = Budget(n_items=12, batch_size=4, n_epochs=2)
    first, second = (np.concatenate([batch_rows(budget, 0, 3 * epoch + b) for b in range(3)]) for epoch in range(2))
    assert sorted(first) == sorted(second) == list(range(12))
    assert list(first) != list(second)


def test_what_fills_no_batch_sits_the_epoch_out() -> None:
    budget = Budget(n_items=11, batch_size=4, n_epochs=2)
    assert budget.n_steps == 4
    rows = np.concatenate([batch_rows(budget, 0, step) for step in (0, 1)])
    assert len(set(rows)) == 8


def test_a_batch_is_trimmed_and_marks_what_predicts_the_completion() -> None:
    items = tiny.copy_items("copy", "train", 40, 0, None)
    rows = np.flatnonzero(items.n_tokens_N <= 6)[:2]
    batch = batch_of(items, rows, torch.device("cpu"))
    assert batch.tokens_NT.shape == (2, 6) or batch.tokens_NT.shape[1] == items.n_tokens_N[rows].max()
    n_prompt, n_tokens = int(items.n_prompt_N[rows[0]]), int(items.n_tokens_N[rows[0]])
    assert (batch.predicts_NT[:, :-1].numpy() == items.completion_mask_NT[rows, 1 : batch.tokens_NT.shape[1]]).all()
    assert batch.predicts_NT[0].nonzero().flatten().tolist() == list(range(n_prompt - 1, n_tokens - 1))


def test_items_of_like_length_go_through_together_unless_the_loss_is_on_padding() -> None:
    """Of a batch of the reasoning mix, our decoder on a CPU reads less; every item is in one pass, whole."""
    cpu = torch.device("cpu")
    items = load_items("reasoning", "train", 64, 0, load_base("tiny-qwen2").tokenizer)
    batch = batch_of(items, np.arange(64), cpu)
    parts = [part for part, _ in batch.parts(passes_of("loop", cpu, None))]
    assert len(parts) > 1
    assert sorted(np.concatenate([part.rows_N for part in parts])) == list(range(64))
    assert sum(part.tokens_NT.numel() for part in parts) < batch.tokens_NT.numel()
    for part in parts:
        whole = batch_of(items, part.rows_N, cpu)
        assert torch.equal(part.tokens_NT, whole.tokens_NT)
        assert torch.equal(part.predicts_NT, whole.predicts_NT)
    padded = batch_of(replace(items, loss_on_padding=True), np.arange(64), cpu)
    for uncut, how in ((batch, passes_of("reference", cpu, None)), (padded, passes_of("loop", cpu, None))):
        assert [part is uncut for part, _ in uncut.parts(how)] == [True]


def test_too_few_items_are_refused_with_both_counts() -> None:
    items = tiny.copy_items("copy", "train", 10, 0, None)
    with pytest.raises(BadInput, match="needs 12 items .* there are 10"):
        batch_stream(items, Budget(n_items=12, batch_size=4), 0, torch.device("cpu"))
    with pytest.raises(BadInput, match="at least one batch"):
        batch_stream(items, Budget(n_items=10, batch_size=64), 0, torch.device("cpu"))
