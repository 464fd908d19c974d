import peft
import pytest
import torch
from tiny_models import FAMILIES, tiny_model

from rankscope.adapters.attach import attached
from rankscope.adapters.read import read_adapter
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.base.errors import NotSupported
from rankscope.lm.sites import linear_sites, resolve_sites

# PEFT asks transformers for an attribute under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
TOKENS = torch.arange(1, 25).reshape(2, 12)


def random_weights(model, sites, ranks=(2,), scales=(2.0,)):
    draw, shapes = torch.Generator().manual_seed(1), linear_sites(model)
    return AdapterWeights(
        {
            site: Factors(
                torch.randn(ranks[n % len(ranks)], shapes[site][1], generator=draw) * 0.2,
                torch.randn(shapes[site][0], ranks[n % len(ranks)], generator=draw) * 0.2,
                scales[n % len(scales)],
            )
            for n, site in enumerate(sites)
        }
    )


def peft_logits(family, folder, n_layers=2):
    model = peft.PeftModel.from_pretrained(tiny_model(family, n_layers=n_layers), folder)
    with torch.no_grad():
        return model.eval()(TOKENS).logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("ranks", "scales"), [((2,), (2.0,)), ((1, 3, 4), (0.5, 2.0))])
@torch.no_grad()
def test_written_adapters_act_the_same_in_peft(family, ranks, scales, tmp_path):
    model = tiny_model(family)
    weights = random_weights(model, resolve_sites(model, ["*"]), ranks, scales)
    write_adapter(tmp_path, weights, "tiny")
    with attached(model, weights):
        ours = model(TOKENS).logits
    theirs = peft_logits(family, tmp_path)
    assert not torch.allclose(ours, model(TOKENS).logits, atol=1e-2)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@torch.no_grad()
def test_peft_keeps_every_site_of_a_large_mixed_placement(tmp_path):
    model = tiny_model("llama", n_layers=4)
    sites = [site for n, site in enumerate(resolve_sites(model, ["*"])) if n % 7 != 3]
    weights = random_weights(model, sites, (1, 2, 3), (1.0, 2.0))
    write_adapter(tmp_path, weights, "tiny")
    with attached(model, weights):
        torch.testing.assert_close(model(TOKENS).logits, peft_logits("llama", tmp_path, 4), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["c_proj"], "fan_in_fan_out": True},
        {"target_modules": ["c_fc"], "layers_to_transform": [1], "fan_in_fan_out": True, "use_rslora": True},
        {
            "target_modules": ["c_fc", "c_proj"],
            "fan_in_fan_out": True,
            "rank_pattern": {"mlp.c_proj": 3, "c_fc": 1},
            "alpha_pattern": {"h.1.mlp.c_proj": 7},
        },
    ],
)
@torch.no_grad()
def test_adapters_saved_by_peft_act_the_same_here(settings, tmp_path):
    torch.manual_seed(0)
    theirs = peft.get_peft_model(
        tiny_model("gpt2"), peft.LoraConfig(r=2, lora_alpha=5, task_type="CAUSAL_LM", **settings)
    ).eval()
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            parameter.normal_(std=0.2)
    theirs.save_pretrained(tmp_path)
    model = tiny_model("gpt2")
    with attached(model, read_adapter(tmp_path)):
        torch.testing.assert_close(model(TOKENS).logits, theirs(TOKENS).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"init_lora_weights": "pissa"}, {"modules_to_save": ["wte"]}])
def test_peft_adapters_of_other_kinds_are_refused(settings, tmp_path):
    config = peft.LoraConfig(r=2, target_modules=["c_fc"], fan_in_fan_out=True, **settings)
    peft.get_peft_model(tiny_model("gpt2"), config).save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(NotSupported):
        read_adapter(tmp_path)
