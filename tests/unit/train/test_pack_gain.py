"""The arithmetic that a pack saves, counted by hand for a model of width d with two layers and V words."""

import pytest
import tiny_training as tiny

from rankscope.lm.bases import load_base
from rankscope.lm.read_decoder import read_decoder
from rankscope.train import pack_gain as module
from rankscope.train.cell import LoraSpec
from rankscope.train.memory import BatchShape
from rankscope.train.pack_gain import pack_gain

BATCH = BatchShape(n_items=8, n_tokens=20, n_completion=5)


def gain(base, placement, n_rows, n_epochs=2):
    cell = tiny.copy_cell(base.name, "lora")
    arm = LoraSpec(rank=1, placement=placement).model_dump()
    cell = cell.override(arm=arm, budget=cell.budget.model_dump() | {"n_epochs": n_epochs})
    return pack_gain(base, read_decoder(base.model), [cell] * n_rows, BATCH)


@pytest.mark.parametrize("n_rows", [2, 3])
def test_gpt2_by_hand(tiny_model_folder, monkeypatch, n_rows):
    base = load_base(str(tiny_model_folder("gpt2")))
    d, n_words = base.model.config.n_embd, base.model.config.vocab_size
    inner = base.model.transformer.h[0].mlp.c_fc.weight.shape[1]
    read = 5 / 20

    def packed(shared, own):
        return n_rows * (shared + own) / (shared + n_rows * own)

    head = 2 * read * n_words * d
    last = 2 * read * (d * d + 2 * d * inner)
    assert gain(base, ("*.1.*",), n_rows) == pytest.approx(packed(3 * d * d, last + head))
    below = 4 * d * d + 2 * d * inner  # the first layer, which is not cached where items are seen once and are many
    assert gain(base, ("*.1.mlp.c_proj",), n_rows) == pytest.approx(
        packed(3 * d * d + read * (d * d + 2 * d * inner), head)
    )
    first = 2 * (d * d + 2 * d * inner) + 2 * 3 * d * d
    assert gain(base, ("*",), n_rows) == pytest.approx(packed(3 * d * d, first + last + head))
    assert gain(base, ("*.1.*",), n_rows, n_epochs=1) == gain(base, ("*.1.*",), n_rows), "few items: always cached"
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    for n_epochs in (1, 4):
        expected = packed(below / n_epochs + 3 * d * d, last + head)
        assert gain(base, ("*.1.*",), n_rows, n_epochs) == pytest.approx(expected)
    monkeypatch.setattr(module, "MEMORY_BYTES", 0)
    assert gain(base, ("*.1.*",), n_rows, n_epochs=4) == pytest.approx(packed(3 * d * d, last + head)), "in a file"


def test_separate_queries_keys_and_values_by_hand(tiny_model_folder):
    base = load_base(str(tiny_model_folder("qwen2")))
    maps = {name: m.weight.numel() for name, m in base.model.model.layers[1].named_modules() if name.endswith("_proj")}
    sizes = {name.rpartition(".")[2]: size for name, size in maps.items()}
    read = 5 / 20
    shared = read * sizes["q_proj"] + sizes["k_proj"] + sizes["v_proj"]
    after = sum(sizes[name] for name in ("o_proj", "gate_proj", "up_proj", "down_proj"))
    own = 2 * read * (after + base.model.lm_head.weight.numel())
    for placement in ("v_proj", "[qkv]_proj"):
        found = gain(base, (f"*.1.self_attn.{placement}",), 4)
        assert found == pytest.approx(4 * (shared + own) / (shared + 4 * own))
