"""The loss with and without padding against one computed by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from rankscope.tasks.encoded import EncodedItems
from rankscope.train.batches import batch_of
from rankscope.train.loss import answer_loss

ITEMS = EncodedItems(
    task="by hand",
    split="train",
    tokens_NT=np.array([[3, 1, 2, 0, 0, 0], [3, 3, 1, 2, 2, 0]]),
    n_prompt_N=np.array([1, 2]),
    n_tokens_N=np.array([4, 6]),
    answer_start_N=np.array([1, 2]),
    answer_end_N=np.array([3, 5]),
    item_ids_N=np.arange(2),
)
"""Two items of four words; 0 stops and pads."""
CHANCES = (0.5, 0.25, 0.125, 0.125)
"""What the model below gives words 0 to 3, wherever it is."""


class Fixed(nn.Module):
    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.tensor(CHANCES).log().expand(*input_ids.shape, 4))


@pytest.mark.parametrize(
    ("padded", "words"),
    [
        (False, [1, 2, 0, 1, 2, 2, 0]),
        (True, [1, 2, 0, 0, 0, 1, 2, 2, 0]),
    ],
)
def test_mean_over_what_is_covered(padded: bool, words: list[int]) -> None:
    batch = batch_of(replace(ITEMS, loss_on_padding=padded), np.arange(2), torch.device("cpu"))
    expected = -sum(math.log(CHANCES[word]) for word in words) / len(words)
    assert answer_loss(Fixed(), batch).item() == pytest.approx(expected, rel=1e-6)


def test_padding_is_that_of_the_batch_not_of_the_set() -> None:
    batch = batch_of(replace(ITEMS, loss_on_padding=True), np.array([0]), torch.device("cpu"))
    assert batch.tokens_NT.shape == (1, 4)
    assert int(batch.predicts_NT.sum()) == 3
