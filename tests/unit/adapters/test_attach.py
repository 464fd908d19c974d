import pytest
import torch
from tiny_models import tiny_model

from rankscope.adapters.attach import attached
from rankscope.adapters.dense import with_parameters
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput

TOKENS = torch.arange(1, 13).reshape(2, 6)
CONV, LINEAR = "transformer.h.1.mlp.c_fc", "model.layers.1.mlp.up_proj"


def weights_for(site, out, rank=2):
    draw = torch.Generator().manual_seed(0)
    return AdapterWeights(
        {site: Factors(torch.randn(rank, 16, generator=draw), torch.randn(out, rank, generator=draw), 0.5)}
    )


@pytest.mark.parametrize(("family", "site", "out"), [("gpt2", CONV, 64), ("llama", LINEAR, 24)])
@torch.no_grad()
def test_attached_equals_merged(family, site, out):
    model, weights = tiny_model(family), weights_for(site, out)
    before = model(TOKENS).logits
    name, delta_OI = f"{site}.weight", weights[site].delta_OI()
    merged = model.get_parameter(name) + (delta_OI.T if family == "gpt2" else delta_OI)
    with attached(model, weights):
        with_hooks = model(TOKENS).logits
    with with_parameters(model, {name: merged}):
        torch.testing.assert_close(model(TOKENS).logits, with_hooks, rtol=0, atol=1e-4)
    assert not torch.allclose(with_hooks, before, atol=0.1)
    assert torch.equal(model(TOKENS).logits, before)


@torch.no_grad()
def test_rank_0_changes_nothing_and_errors_leave_no_hooks():
    model = tiny_model("gpt2")
    before = model(TOKENS).logits
    with attached(model, weights_for(CONV, 64, rank=0)):
        assert torch.equal(model(TOKENS).logits, before)
    with pytest.raises(KeyError), attached(model, weights_for(CONV, 64)):
        raise KeyError
    assert torch.equal(model(TOKENS).logits, before)


def test_gradients_reach_the_factors():
    weights = weights_for(CONV, 64)
    weights[CONV].A_RI.requires_grad_()
    model = tiny_model("gpt2")
    with attached(model, weights):
        model(TOKENS).logits.square().mean().backward()
    assert weights[CONV].A_RI.grad is not None
    assert weights[CONV].A_RI.grad.abs().max() > 0


def test_misfits_are_refused_before_anything_is_attached():
    model = tiny_model("gpt2")
    for weights, words in [
        (weights_for("transformer.h.1.mlp.cfc", 64), "Near matches: transformer.h.1.mlp.c_fc"),
        (weights_for("lm_head", 256), "output head"),
        (weights_for(CONV, 63), "16 to 63 values, the base 16 to 64"),
    ]:
        with pytest.raises(BadInput, match=words), attached(model, weights):
            pass
    assert not any(module._forward_hooks for module in model.modules())
