"""The lookup bases' first weights do what their tables say, and tiny-qwen2 runs on our decoder."""

import pytest
import torch
from transformers import PreTrainedModel

from rankscope.lm.bases import load_base
from rankscope.lm.lookup_bases import UNTRAINED
from rankscope.lm.lookup_qwen2 import FAST, HEAD, N_POSITIONS
from rankscope.lm.read_decoder import read_decoder, why_not_decodable
from rankscope.lm.sites import linear_sites
from rankscope.tasks.catalog import load_items
from rankscope.tasks.lookup import draw_lookups


@pytest.fixture(scope="module")
def qwen() -> PreTrainedModel:
    return UNTRAINED["tiny-qwen2"](0).eval()


@torch.no_grad()
def attention(model: PreTrainedModel, tokens: torch.Tensor) -> list[torch.Tensor]:
    """Per layer, attention of the first item [heads, T, T]."""
    model.set_attn_implementation("eager")
    found = model(input_ids=tokens, output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    return [layer[0] for layer in found]


def test_the_previous_token_is_found_throughout_the_context(qwen: PreTrainedModel) -> None:
    tokens = torch.randint(66, 194, (1, N_POSITIONS), generator=torch.Generator().manual_seed(0))
    back = attention(qwen, tokens)[0][0].diagonal(-1)
    assert back.min() > 0.95


def test_even_places_see_the_mark_and_the_asked_value_is_matched(qwen: PreTrainedModel) -> None:
    batch = draw_lookups(14, 40, 1, "test")
    n_right = 0
    for tokens in torch.from_numpy(batch.tokens_NT):
        layers = attention(qwen, tokens[None, :-1])
        mark = layers[0][1][1:, 0]
        assert mark[1::2].min() > 0.9
        assert mark[::2].max() < 0.1
        key, value = tokens[-2:]
        best = int(layers[1][0][-1].argmax())
        n_right += int(tokens[best] == value and best % 2 == 0)
        assert tokens[-2] == key
    assert n_right > 30, "the matching head finds the value of most keys before training"


def test_first_weights_are_a_function_of_the_seed(qwen: PreTrainedModel) -> None:
    again, other = UNTRAINED["tiny-qwen2"](0), UNTRAINED["tiny-qwen2"](1)
    assert all(torch.equal(a, b) for a, b in zip(qwen.parameters(), again.parameters(), strict=True))
    assert not torch.equal(qwen.lm_head.weight, other.lm_head.weight)


def test_frequencies_are_those_of_the_table(qwen: PreTrainedModel) -> None:
    frequencies = qwen.model.rotary_emb.inv_freq
    assert len(frequencies) == HEAD // 2
    torch.testing.assert_close(frequencies[: len(FAST)], torch.tensor(FAST))
    assert float(frequencies[len(FAST) :].max()) * N_POSITIONS < 1.3, "slow ones hardly turn over the context"


@torch.no_grad()
def test_the_shipped_base_runs_on_our_decoder() -> None:
    base = load_base("tiny-qwen2")
    assert why_not_decodable(base.model) is None
    kinds = {path.rpartition(".")[2] for path in linear_sites(base.model)}
    assert kinds == {f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")}
    assert len(linear_sites(base.model)) == 28
    tokens = torch.from_numpy(load_items("reasoning", "test", 20, 0, base.tokenizer).tokens_NT)
    decoder = read_decoder(base.model)
    torch.testing.assert_close(
        decoder.head(decoder.forward(tokens)), base.model(input_ids=tokens).logits, atol=1e-4, rtol=0
    )


def test_frequencies_that_follow_the_length_are_not_run(qwen: PreTrainedModel) -> None:
    model = UNTRAINED["tiny-qwen2"](0)
    rotary = model.config.rope_parameters
    model.config.rope_parameters = rotary | {"long_factor": [2 * factor for factor in rotary["short_factor"]]}
    assert "longrope" in why_not_decodable(model)
