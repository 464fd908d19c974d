import numpy as np
import pytest
import tiny_training as tiny
import torch

from rankscope.base.errors import BadInput
from rankscope.train.batches import batch_of, batch_rows, batch_stream
from rankscope.train.cell import Budget


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


def test_too_few_items_are_refused_with_both_counts() -> None:
    items = tiny.copy_items("copy", "train", 10, 0, None)
    with pytest.raises(BadInput, match="needs 12 items .* there are 10"):
        batch_stream(items, Budget(n_items=12, batch_size=4), 0, torch.device("cpu"))
    with pytest.raises(BadInput, match="at least one batch"):
        batch_stream(items, Budget(n_items=10, batch_size=64), 0, torch.device("cpu"))
