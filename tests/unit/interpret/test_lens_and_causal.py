"""Lens and causal checks against what the model itself does.

1. Written logits are what the head gives when the direction's output is all that changes in the last residual, to
   first order in a residual of fixed size; read values are the direction's on the embedding alone.
2. Scaling by 0 is taking out; by 1 is nothing; steering adds the constant at every token, in scoring and generating.
"""

import numpy as np
import pytest
import torch

from rankscope.adapters.truncate import signed_directions
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.engine.model import adapted
from rankscope.evals.generate import generate, stop_token
from rankscope.interpret.causal import Change, causal_checks
from rankscope.interpret.effects import effects
from rankscope.interpret.interventions import scaled_direction, steered, without_direction
from rankscope.interpret.lens import last_residual_rms, lens, read_embeddings, written_logits
from rankscope.interpret.role_masks import RoleMasks
from rankscope.lm.read_decoder import read_decoder
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.catalog import load_items
from rankscope.tasks.encoded import NO_TOKEN
from tests.tiny_models import tiny_model

TASK = "hashhop:mode=trace,lines=8,chains=2,max_length=4,hops=1"
LAST = {"gpt2": "transformer.h.1.mlp.c_proj", "qwen2": "model.layers.1.mlp.down_proj"}
FIRST = {"gpt2": "transformer.h.0.attn.c_attn", "qwen2": "model.layers.0.self_attn.q_proj"}


def factors(n_out: int, n_in: int, seed: int = 0) -> Factors:
    draw = torch.Generator().manual_seed(seed)
    return Factors(torch.randn(2, n_in, generator=draw), torch.randn(n_out, 2, generator=draw) / 8, 0.5)


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_written_logits_are_the_heads(family):
    model = tiny_model(family)
    decoder = read_decoder(model)
    found = signed_directions(factors(16, 24 if family == "qwen2" else 64))
    residual = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float() * 50
    if decoder.norm.kind == "layer":
        residual = residual - residual.mean()
    size = last_residual_rms(decoder, residual)
    step = 1e-2
    u_D = found.U_OR[:, 1].float()
    u_D = u_D - (u_D @ residual[0, 0]) / residual.square().sum() * residual[0, 0]  # at a fixed size of the residual
    found.U_OR[:, 1] = u_D.double()
    with torch.no_grad():
        moved = decoder.logits(decoder.norm(residual + step * u_D)) - decoder.logits(decoder.norm(residual))
    told = written_logits(decoder, found, 1, step, size)
    assert torch.allclose(moved[0, 0], told, atol=2e-2 * float(told.abs().max()))


def test_read_values_are_the_directions_on_embeddings():
    decoder = read_decoder(tiny_model("qwen2"))
    f = factors(16, 16)
    found = signed_directions(f)
    normed = decoder.blocks[0].attention_norm(decoder.embedding_VD[7]).detach().double()
    value = found.S_R[0] * (found.V_RI[0] @ normed)
    assert float(read_embeddings(decoder, found, 0, decoder.blocks[0].attention_norm)[7].detach()) == pytest.approx(
        float(value), rel=1e-4
    )


def test_a_lens_says_what_it_can_not_show():
    decoder = read_decoder(tiny_model("gpt2"))
    words = [f"w{n}" for n in range(256)]
    last = lens(decoder, LAST["gpt2"], factors(16, 64), 0, 1.0, 2.0, words)
    first = lens(decoder, FIRST["gpt2"], factors(48, 16), 0, 1.0, 2.0, words)
    assert len(last.writes_up) == len(last.writes_down) == 8
    assert last.reads_up == ()
    assert "hidden units" in last.missing[0]
    assert first.writes_up == ()
    assert first.reads_up[0].logit > first.reads_up[1].logit > 0
    assert "queries" in first.missing[0]


def test_scaling_and_steering():
    model = tiny_model("qwen2")
    tokenizer = build_word_tokenizer()
    items = load_items(TASK, "test", 10, 0, tokenizer)
    site = FIRST["qwen2"]
    full = AdapterWeights({LAST["qwen2"]: factors(16, 24), site: factors(16, 16, 1)})
    changes = [
        scaled_direction(full, site, 0, 1.0),
        scaled_direction(full, site, 1, 0),
        without_direction(full, site, 1),
    ]
    found = effects(model, full, changes, items, RoleMasks.of(items))
    assert np.abs(found.kl_VN[0]).max() < 1e-9
    assert np.allclose(found.kl_VN[1], found.kl_VN[2], atol=1e-9)
    u_O = signed_directions(full[site]).U_OR[:, 0].float()
    assert torch.allclose(steered(full, site, 0, 2.5).offsets[site], 2.5 * u_O)
    (pushed,) = causal_checks(model, full, site, 0, [Change("steer", 30.0)], items, tokenizer.decode)
    assert pushed.text_changed.estimate > 0
    assert pushed.examples[0].before != pushed.examples[0].after
    assert "Map:" in pushed.examples[0].prompt
    with torch.no_grad():
        model.get_submodule(site).get_parameter("bias").add_(30.0 * u_O)
    with adapted(model, full) as variant:
        generated_NG = generate(variant, items, stop_id=stop_token(items))
    for one in pushed.examples:
        assert tokenizer.decode(generated_NG[one.item][generated_NG[one.item] != NO_TOKEN].tolist()) == one.after
