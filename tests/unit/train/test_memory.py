"""The memory formula against what autograd really keeps, and against hand-counted states."""

import numpy as np
import pytest
import tiny_training as tiny
import torch
from tiny_models import tiny_model, tiny_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from rankscope.base.vocabulary import SIZE
from rankscope.lm.bases import Base
from rankscope.lm.read_decoder import read_decoder
from rankscope.train.batches import Batch
from rankscope.train.cell import DenseSpec, FullSpec, LoraSpec
from rankscope.train.loop_arms import build_loop_arm
from rankscope.train.loss import answer_loss
from rankscope.train.memory import BatchShape, bytes_needed, free_bytes, kept_values, n_trained

N_ITEMS, N_TOKENS = 16, 48


def base_of(family):
    if family == "wide":
        config = GPT2Config(n_layer=2, n_head=4, n_embd=64, n_positions=64, vocab_size=SIZE)
        model = GPT2LMHeadModel(config).eval()
    else:
        model = tiny_model(family)
    return Base(family, model.requires_grad_(False), tiny_tokenizer(), "hash", 64, stop_id=0, pad_id=0)


@pytest.mark.parametrize("family", ["gpt2", "wide", "llama", "qwen2"])
def test_kept_values_are_what_autograd_keeps(family):
    base = base_of(family)
    arm = build_loop_arm(base, LoraSpec(rank=1), 0)
    weights = {tensor.untyped_storage().data_ptr() for tensor in base.model.state_dict().values()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.shape.numel() >= N_ITEMS * N_TOKENS * 8:
            kept[storage.data_ptr()] = storage.nbytes() / 4
        return tensor

    tokens = torch.randint(0, SIZE, (N_ITEMS, N_TOKENS))
    predicts = torch.zeros_like(tokens, dtype=torch.bool)
    predicts[:, :-1] = True  # the last block is not trimmed either
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = answer_loss(arm.model, Batch(tokens, predicts, np.arange(N_ITEMS), np.full(N_ITEMS, N_TOKENS)))
    n_logits = N_ITEMS * (N_TOKENS - 1) * SIZE
    assert loss.requires_grad
    found = (sum(kept.values()) - n_logits) / (N_ITEMS * N_TOKENS)
    blocks = read_decoder(base.model).blocks
    mask = N_TOKENS - 1
    assert found == pytest.approx(sum(map(kept_values, blocks)) + mask, rel=0.1)


def test_trained_values_by_hand():
    base = base_of("gpt2")  # width 16: c_attn 48 x 16, c_proj 16 x 16, c_fc 64 x 16, mlp c_proj 16 x 64, two layers
    cell = tiny.copy_cell("x", "lora")
    down = ("*.mlp.c_proj",)
    assert n_trained(base, cell.override(arm=LoraSpec(rank=3, placement=down).model_dump())) == 2 * 4 * (16 + 64)
    assert n_trained(base, cell.override(arm=DenseSpec(placement=down).model_dump())) == 2 * 16 * 64
    assert n_trained(base, cell.override(arm=FullSpec().model_dump())) == sum(
        p.numel() for p in base.model.parameters()
    )


def test_need_grows_with_rows_items_and_what_is_above_the_lowest_site():
    base, cell = base_of("wide"), tiny.copy_cell("x", "lora")
    shape = BatchShape(N_ITEMS, N_TOKENS, 8)
    one = bytes_needed(base, [cell], shape, "loop")
    assert bytes_needed(base, [cell] * 2, shape, "loop") > one
    assert bytes_needed(base, [cell], BatchShape(2 * N_ITEMS, N_TOKENS, 8), "loop") > one
    assert bytes_needed(base, [cell], shape, "reference") > one
    top = cell.override(arm=LoraSpec(rank=2, placement=("*.h.1.*",)).model_dump())
    assert bytes_needed(base, [top], shape, "loop") < one
    once = top.override(budget=top.budget.model_dump() | {"n_epochs": 1})
    cached = bytes_needed(base, [top], shape, "loop") - bytes_needed(base, [once], shape, "loop")
    assert cached == top.budget.n_items * N_TOKENS * 64 * 4  # the prefix, item by item


def test_there_is_memory():
    assert free_bytes(torch.device("cpu")) > 2**20
