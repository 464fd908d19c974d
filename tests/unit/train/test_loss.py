from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_training as tiny
import torch
from tiny_models import tiny_model
from transformers import GPT2LMHeadModel

from rankscope.train.batches import Batch, batch_of
from rankscope.train.loss import answer_loss, completion_logits, distill_loss

CPU = torch.device("cpu")


class FullLogits(torch.nn.Module):
    """A family whose forward knows no `logits_to_keep`."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.inner = model

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> object:
        return self.inner(input_ids=input_ids, use_cache=use_cache)


@pytest.fixture
def gpt2(base_folder: Path) -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(base_folder).eval()


@pytest.fixture
def batch() -> Batch:
    return batch_of(tiny.copy_items("copy", "train", 8, 0, None), np.arange(8), CPU)


def labelled_loss(model: torch.nn.Module) -> float:
    """The library's own loss with every token outside the completion labelled -100."""
    items = tiny.copy_items("copy", "train", 8, 0, None)
    labels = torch.from_numpy(np.where(items.completion_mask_NT, items.tokens_NT, -100))
    attention = torch.from_numpy(np.arange(12) < items.n_tokens_N[:, None]).long()
    out = model(input_ids=torch.from_numpy(items.tokens_NT), attention_mask=attention, labels=labels)
    return float(out.loss.detach())


def test_equals_the_loss_of_transformers(gpt2: GPT2LMHeadModel, batch: Batch) -> None:
    for model in (gpt2, tiny_model("qwen2")):
        assert answer_loss(model, batch).item() == pytest.approx(labelled_loss(model), rel=2e-6)


def test_a_family_without_logits_to_keep_gives_the_same(gpt2: GPT2LMHeadModel, batch: Batch) -> None:
    torch.testing.assert_close(completion_logits(FullLogits(gpt2), batch), completion_logits(gpt2, batch))


def test_padding_has_no_influence(gpt2: GPT2LMHeadModel) -> None:
    items = tiny.copy_items("copy", "train", 8, 0, None)
    other = np.where(np.arange(12) < items.n_tokens_N[:, None], items.tokens_NT, 17)
    noisy = replace(items, tokens_NT=other)
    rows = np.arange(8)
    losses, gradients = [], []
    for version in (items, noisy):
        gpt2.zero_grad()
        loss = answer_loss(gpt2, batch_of(version, rows, CPU))
        loss.backward()
        losses.append(loss.item())
        gradients.append(gpt2.transformer.h[0].mlp.c_fc.weight.grad.clone())
    assert not np.array_equal(items.tokens_NT, other)
    assert losses[0] == losses[1]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-8)


def test_distillation_is_the_mean_kl_from_teacher_to_student(gpt2: GPT2LMHeadModel, batch: Batch) -> None:
    teacher = GPT2LMHeadModel(gpt2.config).eval()
    log_p = completion_logits(teacher, batch).double().log_softmax(-1)
    log_q = completion_logits(gpt2, batch).double().log_softmax(-1)
    by_hand = (log_p.exp() * (log_p - log_q)).sum(-1).mean().item()
    assert distill_loss(gpt2, log_p, batch).item() == pytest.approx(by_hand, rel=1e-5)
    assert distill_loss(gpt2, log_q, batch).item() == pytest.approx(0.0, abs=1e-6)
