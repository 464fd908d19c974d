"""Our decoder against transformers, and its own promises: trimming, starting anywhere, taps, packs, caches."""

import peft
import pytest
import torch
from tiny_models import FAMILIES, tiny_model
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rankscope.adapters.attach import attached
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.base.precision import FP32, PrecisionPlan
from rankscope.lm.decoder import Decoder, Kept, KeysAndValues
from rankscope.lm.read_decoder import read_decoder, why_not_decodable

SMALL = {"num_hidden_layers": 3, "vocab_size": 37, "initializer_range": 0.3}
ODD = {
    "gpt2: three heads, narrow MLP, exact GELU, scale by layer": lambda: GPT2LMHeadModel(
        GPT2Config(
            n_layer=3,
            n_head=3,
            n_embd=21,
            n_inner=10,
            n_positions=19,
            vocab_size=37,
            activation_function="gelu",
            scale_attn_by_inverse_layer_idx=True,
            initializer_range=0.3,
        )
    ),
    "gpt2: no scale, own head": lambda: GPT2LMHeadModel(
        GPT2Config(
            n_layer=2,
            n_head=2,
            n_embd=20,
            vocab_size=37,
            activation_function="relu",
            scale_attn_weights=False,
            tie_word_embeddings=False,
            initializer_range=0.2,
        )
    ),
    "llama: biases, wide heads, stretched positions": lambda: LlamaForCausalLM(
        LlamaConfig(
            **SMALL,
            hidden_size=18,
            intermediate_size=29,
            num_attention_heads=6,
            num_key_value_heads=3,
            head_dim=8,
            attention_bias=True,
            mlp_bias=True,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        )
    ),
    "mistral: one key head, short window": lambda: MistralForCausalLM(
        MistralConfig(
            **SMALL,
            hidden_size=20,
            intermediate_size=24,
            num_attention_heads=5,
            num_key_value_heads=1,
            head_dim=6,
            sliding_window=5,
        )
    ),
    "qwen2: tied, window in the last layer": lambda: Qwen2ForCausalLM(
        Qwen2Config(
            **SMALL,
            hidden_size=16,
            intermediate_size=40,
            num_attention_heads=4,
            num_key_value_heads=2,
            use_sliding_window=True,
            sliding_window=4,
            max_window_layers=2,
            tie_word_embeddings=True,
        )
    ),
}
KERNELS = ("sdpa", "matmul")


def tokens(n: int = 3, length: int = 13, n_words: int = 37) -> torch.Tensor:
    return torch.randint(n_words, (n, length), generator=torch.Generator().manual_seed(0))


def odd(name: str):
    torch.manual_seed(0)
    return ODD[name]().eval()


def with_kernel(decoder: Decoder, kernel: str) -> Decoder:
    return decoder.in_precision(PrecisionPlan(kernel=kernel))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ODD)
@torch.no_grad()
def test_logits_are_those_of_transformers(name, kernel):
    model = odd(name)
    decoder = with_kernel(read_decoder(model), kernel)
    expected = model(input_ids=tokens()).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(decoder.head(decoder.forward(tokens())), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_weights_are_shared_with_the_model(family):
    model = tiny_model(family)
    decoder = read_decoder(model)
    for parameter in model.parameters():
        parameter.mul_(1.5)
    expected = model(input_ids=tokens()).logits
    torch.testing.assert_close(decoder.head(decoder.forward(tokens())), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ODD)
@torch.no_grad()
def test_trimming_and_starting_higher_change_no_logit(name, kernel):
    decoder = with_kernel(read_decoder(odd(name)), kernel)
    wanted = torch.zeros(3, 13, dtype=torch.bool)
    wanted[0, 4:9] = wanted[1, 12] = wanted[2, [1, 3, 7]] = True
    everything = decoder.forward(tokens())
    kept = Kept.of(wanted)
    trimmed = decoder.forward(tokens(), kept=kept)
    assert trimmed.shape[:2] == (3, 5)
    torch.testing.assert_close(trimmed[kept.is_wanted_NA], everything[wanted], atol=1e-5, rtol=1e-5)
    for layer in (1, decoder.n_layers):
        residual = decoder.below(tokens(), layer)
        higher = decoder.forward(start_layer=layer, residual=residual, kept=kept)
        torch.testing.assert_close(higher[kept.is_wanted_NA], everything[wanted], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ODD)
@torch.no_grad()
def test_a_cache_reads_on_where_it_stopped(name):
    decoder = read_decoder(odd(name))
    whole = decoder.forward(tokens())
    cache = KeysAndValues()
    parts = [decoder.forward(part, cache=cache) for part in tokens().split([6, 1, 1, 5], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_rows_of_a_pack_agree_until_a_site_sets_them_apart(family):
    decoder = read_decoder(tiny_model(family, n_layers=3))
    site = decoder.blocks[1].qkv[-1].path
    scale = torch.tensor([1.0, 0.0, -2.0])[:, None, None, None]
    below: list[torch.Tensor] = []
    packed = decoder.forward(
        tokens(),
        site_ops={site: lambda x, frozen: frozen(x) * scale},
        taps={decoder.blocks[1].qkv[0].path: lambda x, y: below.append(x)},
    )
    assert below[0].shape == (3, 13, 16)
    assert packed.shape == (3, 3, 13, 16)
    for row, factor in enumerate(scale.flatten()):
        alone = decoder.forward(tokens(), taps={site: lambda x, y, factor=factor: y * factor})
        torch.testing.assert_close(packed[row], alone, atol=1e-5, rtol=1e-5)
    own = torch.stack([tokens(), tokens().flip(0), tokens().roll(1, 1)])
    kept = Kept.of(torch.zeros(3, 3, 13, dtype=torch.bool).index_fill_(2, torch.tensor([5, 12]), True))
    each = decoder.forward(own, site_ops={site: lambda x, frozen: frozen(x) * scale}, kept=kept)
    for row, factor in enumerate(scale.flatten()):
        alone = decoder.forward(own[row], taps={site: lambda x, y, factor=factor: y * factor})
        torch.testing.assert_close(each[row], alone[:, [5, 12]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_transformers(family):
    model = tiny_model(family)
    parameters = list(model.parameters())
    decoder = read_decoder(model)
    ours = decoder.head(decoder.forward(tokens(), kept=Kept.of(torch.ones(3, 13, dtype=torch.bool))))
    theirs = model(input_ids=tokens()).logits
    for got, expected in zip(
        *(torch.autograd.grad(y.logsumexp(-1).sum(), parameters) for y in (ours, theirs)), strict=True
    ):
        torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "plan", [PrecisionPlan("bf16", "fp32", "fp32"), PrecisionPlan("fp32", "bf16", "bf16"), PrecisionPlan.of("bf16")]
)
@torch.no_grad()
def test_sixteen_bits_are_near_and_leave_the_weights_alone(family, plan):
    decoder = read_decoder(tiny_model(family))
    rough = decoder.in_precision(plan)
    exact, near = decoder.logits(decoder.forward(tokens())), rough.logits(rough.forward(tokens()))
    assert near.dtype == plan.dtype("products", torch.float32)
    assert not torch.equal(near.float(), exact)
    assert (near.float() - exact).abs().mean() < 0.05 * exact.abs().mean()
    assert decoder.blocks[0].mlp_out.weight.dtype == torch.float32
    assert rough.forward(tokens()).dtype == torch.float32  # the residual stream


def test_in_float64_a_plan_changes_nothing():
    decoder = read_decoder(tiny_model("llama").double())
    assert torch.equal(decoder.in_precision(PrecisionPlan.of("bf16")).forward(tokens()), decoder.forward(tokens()))


def test_precisions_have_names():
    for plan in (FP32, PrecisionPlan("bf16", "fp32", "bf16")):
        assert PrecisionPlan.of(plan.name) == plan
    assert FP32.name == "fp32"
    with pytest.raises(BadInput, match="is no precision"):
        PrecisionPlan.of("fp16")


def test_what_it_does_not_run_is_told():
    model = tiny_model("gpt2")
    assert why_not_decodable(model) is None
    model.config.reorder_and_upcast_attn = True
    assert "reorders attention" in why_not_decodable(model)
    assert "Linear" in why_not_decodable(torch.nn.Linear(2, 2))
    plain = tiny_model("gpt2")
    with attached(
        plain, AdapterWeights({"transformer.h.0.mlp.c_fc": Factors(torch.ones(1, 16), torch.ones(64, 1), 1.0)})
    ):
        assert "hook" in why_not_decodable(plain)
    assert why_not_decodable(plain) is None
    peft.inject_adapter_in_model(peft.LoraConfig(r=1, target_modules=["c_fc"], fan_in_fan_out=True), plain)
    assert "peft.tuners.lora" in why_not_decodable(plain)
    llama = tiny_model("llama")
    llama.config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert "dynamic" in why_not_decodable(llama)
