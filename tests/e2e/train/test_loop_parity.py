"""Our decoder against transformers and PEFT: fifty steps of the same training, and the executors as a whole."""

from contextlib import nullcontext
from dataclasses import fields, replace

import numpy as np
import pytest
import tiny_training as tiny
import torch
from fp64 import computing_in_fp64
from tiny_models import FAMILIES, save_tiny

from rankscope.engine import passes
from rankscope.engine.passes import WHOLE, Passes
from rankscope.engine.switches import ALL_ON, Switches
from rankscope.lm.bases import load_base
from rankscope.train.batches import batch_stream
from rankscope.train.cell import DenseSpec, FullSpec, LoraSpec
from rankscope.train.kinds import build_arm_of, passes_of, prefix_of, resolve_kind
from rankscope.train.loss import answer_loss
from rankscope.train.materials import Materials
from rankscope.train.schedule import lr_at
from rankscope.train.training import add_gradients

N_STEPS = 50
DOWN = {"gpt2": "*.c_proj", "llama": "*.down_proj", "qwen2": "*.v_proj", "mistral": "*.q_proj"}


def trained(kind, base, cell, items, prefix=None, switches=ALL_ON):
    """Losses of every step, and the trained tensors."""
    arm = build_arm_of(kind, base, cell, prefix, switches)
    batch_at = batch_stream(items, cell.budget, cell.seeds.order, base.model.device)
    optimiser = torch.optim.AdamW(arm.parameters.values(), betas=(0.9, 0.99), weight_decay=0.01)
    how = passes_of(kind, torch.device("cpu"), None, switches)
    losses = []
    for step in range(N_STEPS):
        for group in optimiser.param_groups:
            group["lr"] = lr_at(step, N_STEPS, cell.optimiser)
        optimiser.zero_grad()
        loss = add_gradients(arm, batch_at(step), answer_loss, nullcontext(), how)
        torch.nn.utils.clip_grad_norm_(arm.parameters.values(), cell.optimiser.clip)
        optimiser.step()
        losses.append(loss.item())
    return losses, {name: parameter.detach() for name, parameter in arm.parameters.items()}


@pytest.fixture(autouse=True)
def every_length_apart(monkeypatch):
    """The items here are short: cut them where it saves a single token."""
    monkeypatch.setattr(passes, "PASS_TOKENS", 0)


BUT_FOR_LAST_SLOW = [*FAMILIES[:-1], pytest.param(FAMILIES[-1], marks=pytest.mark.slow)]
"""Mistral differs from Llama in nothing that a step computes on maps as short as these."""


def specs(family):
    return (
        LoraSpec(rank=3),
        LoraSpec(kind="rslora", rank=2, placement=(DOWN[family],)),
        DenseSpec(placement=(DOWN[family],)),
        FullSpec(),
    )


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("family", BUT_FOR_LAST_SLOW)
def test_fifty_steps_are_the_references(tiny_model_folder, monkeypatch, device, family, number):
    cell = tiny.copy_cell(tiny_model_folder(family), "lora", n_items=8 * N_STEPS)
    cell = cell.override(arm=specs(family)[number].model_dump())
    base = load_base(cell.base)
    base = replace(base, model=base.model.to(device, torch.float64))
    items = tiny.copy_items("copy", "train", cell.budget.n_items, 0, base.tokenizer)
    with computing_in_fp64(monkeypatch, base.model):
        expected, theirs = trained("reference", base, cell, items)
    losses, ours = trained("loop", base, cell, items)
    assert expected[-1] < expected[0]
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-9)
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-9)


@pytest.mark.parametrize("off", [None, *(field.name for field in fields(Switches))])
@pytest.mark.parametrize("family", ["gpt2", pytest.param("llama", marks=pytest.mark.slow)])
def test_no_switch_changes_a_training(tmp_path, monkeypatch, device, family, off):
    """Sites from layer 1 on, and items that come back."""
    switches = replace(ALL_ON, **({off: False} if off else {}))
    cell = tiny.copy_cell(save_tiny(family, tmp_path / family, n_layers=3), "lora", n_items=8 * N_STEPS // 2)
    placement = ["*.1.*c_proj", "*.2.*"] if family == "gpt2" else ["*.1.*down_proj", "*.2.*"]
    cell = cell.override(arm={"kind": "lora", "rank": 3, "placement": placement})
    base = load_base(cell.base)
    base = replace(base, model=base.model.to(device, torch.float64))
    items = tiny.copy_items("copy", "train", cell.budget.n_items, 0, base.tokenizer)
    prefix = prefix_of(Materials(cell, "key", base, items), tmp_path, switches)
    assert (prefix is None) == (off == "prefix")
    with computing_in_fp64(monkeypatch, base.model):
        expected, theirs = trained("reference", base, cell, items)
    losses, ours = trained("loop", base, cell, items, prefix, switches)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-9)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-9)


def test_what_our_decoder_can_not_train_goes_to_the_reference(tiny_model_folder):
    cell = tiny.copy_cell(tiny_model_folder("gpt2"), "lora")
    base = load_base(cell.base)
    assert resolve_kind("auto", base, cell) == "loop"
    assert resolve_kind("reference", base, cell) == "reference"
    with_dropout = cell.override(arm=cell.arm.model_dump() | {"dropout": 0.1})
    assert resolve_kind("auto", base, with_dropout) == "reference"
    assert resolve_kind("loop", base, cell.override(precision="bf16")) == "loop"
    base.model.config.reorder_and_upcast_attn = True
    assert resolve_kind("auto", base, cell) == "reference"


@pytest.mark.parametrize("kind", ["reference", "loop"])
def test_a_batch_in_passes_has_the_gradients_of_the_whole(tiny_model_folder, device, kind):
    cell = tiny.copy_cell(tiny_model_folder("gpt2"), "lora")
    base = load_base(cell.base)
    base = replace(base, model=base.model.to(device, torch.float64))
    items = tiny.copy_items("copy", "train", cell.budget.n_items, 0, base.tokenizer)
    batch = batch_stream(items, cell.budget, 0, device)(0)
    found = []
    for how in (WHOLE, Passes(3), Passes(1), Passes(by_length=True), Passes(3, by_length=True)):
        arm = build_arm_of(kind, base, cell)
        loss = add_gradients(arm, batch, answer_loss, nullcontext(), how)
        found.append([loss, *(parameter.grad for parameter in arm.parameters.values())])
    for ours in found[1:]:
        for tensor, expected in zip(ours, found[0], strict=True):
            torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-12)
