import numpy as np
import pytest
import torch
from tiny_models import tiny_model

from rankscope.adapters.attach import attached
from rankscope.adapters.planted import (
    PlantedSpec,
    oracle_truncation,
    planted_sites,
    planted_update,
    second_moments,
)
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput, UnknownName

TOKENS_NT = np.random.default_rng(0).integers(1, 256, (80, 12))
LENGTHS_N = np.array([12, 7] * 40)
SITE = "transformer.h.1.mlp.c_proj"


@pytest.fixture(scope="module")
def model():
    return tiny_model("gpt2")


def inputs_of(model, site, rows):
    """Reference: inputs of the site at real tokens, one row at a time, without padding."""
    seen = []
    handle = model.get_submodule(site).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    with torch.no_grad():
        for row in rows:
            model(torch.as_tensor(TOKENS_NT[row : row + 1, : LENGTHS_N[row]]))
    handle.remove()
    return torch.cat(seen).double()


def test_second_moments_leave_padding_out(model):
    x_PI = inputs_of(model, SITE, range(80))
    expected = x_PI.T @ x_PI / len(x_PI)
    found = second_moments(model, [SITE], TOKENS_NT, LENGTHS_N)
    torch.testing.assert_close(found[SITE], expected, rtol=1e-4, atol=1e-5)
    assert not model.get_submodule(SITE)._forward_pre_hooks


@pytest.mark.parametrize(("decay", "ratio"), [("equal", 1.0), (0.5, 0.5)])
def test_planted_directions_are_orthonormal_under_the_moment_with_the_stated_energy(model, decay, ratio):
    spec = PlantedSpec(k=3, strength=0.7, decay=decay, seed=4)
    factors = planted_update(model, spec, TOKENS_NT, LENGTHS_N)[SITE]
    M_II = second_moments(model, [SITE], TOKENS_NT, LENGTHS_N)[SITE]
    A_RI, B_OR = factors.A_RI.double(), factors.B_OR.double()
    torch.testing.assert_close(A_RI @ M_II @ A_RI.T, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-4)
    energies = B_OR.T @ B_OR
    assert energies.diag() / energies[0, 0] == pytest.approx([1, ratio**2, ratio**4], rel=1e-4)
    torch.testing.assert_close(energies - energies.diag().diag(), torch.zeros(3, 3).double(), rtol=0, atol=1e-4)
    x_PI = inputs_of(model, SITE, range(80))
    own = (x_PI @ model.get_submodule(SITE).weight.detach().double()).square().sum().sqrt()
    added = (x_PI @ A_RI.T @ B_OR.T).square().sum().sqrt()
    assert float(added / own) == pytest.approx(0.7, rel=1e-4)


def test_planting_is_a_function_of_its_spec(model):
    first, again, other = (
        planted_update(model, PlantedSpec(seed=seed), TOKENS_NT, LENGTHS_N)[SITE] for seed in (0, 0, 1)
    )
    assert torch.equal(first.A_RI, again.A_RI)
    assert torch.equal(first.B_OR, again.B_OR)
    assert not torch.allclose(first.B_OR, other.B_OR)


def test_strength_is_derived_from_the_nats_on_scored_tokens(model):
    scored_NT = np.zeros(TOKENS_NT.shape, dtype=bool)
    scored_NT[::2, 10] = True
    update = planted_update(model, PlantedSpec(nats=0.3), TOKENS_NT, LENGTHS_N, scored_NT)
    tokens = torch.as_tensor(TOKENS_NT[::2])
    with torch.no_grad():
        base = model(tokens).logits[:, 9].softmax(-1)
        with attached(model, update):
            teacher = model(tokens).logits[:, 9].softmax(-1)
    nats = float((teacher * (teacher / base).log()).sum(-1).mean())
    assert 0.3 <= nats < 0.45
    with pytest.raises(BadInput, match="nats a token"):
        planted_update(model, PlantedSpec(nats=1e6), TOKENS_NT, LENGTHS_N)


def test_default_site_is_the_last_down_projection(model):
    assert planted_sites(model, PlantedSpec()) == [SITE]
    assert planted_sites(tiny_model("llama"), PlantedSpec()) == ["model.layers.1.mlp.down_proj"]
    assert planted_sites(model, PlantedSpec(placement=("*.c_fc",))) == [f"transformer.h.{n}.mlp.c_fc" for n in (0, 1)]


def test_oracle_takes_the_strongest_planted_directions_and_ties_in_order(model):
    moments = second_moments(model, [SITE], TOKENS_NT, LENGTHS_N)
    equal = planted_update(model, PlantedSpec(k=4), TOKENS_NT, LENGTHS_N)
    cut = oracle_truncation(equal, 2, moments)[SITE]
    assert torch.equal(cut.A_RI, equal[SITE].A_RI[:2])
    rising = AdapterWeights({SITE: Factors(equal[SITE].A_RI, equal[SITE].B_OR * torch.tensor([1.0, 2, 3, 4]), 1.0)})
    assert torch.equal(oracle_truncation(rising, 1, moments)[SITE].A_RI, equal[SITE].A_RI[3:])
    assert oracle_truncation(equal, 0, moments)[SITE].rank == 0
    assert oracle_truncation(equal, 9, moments)[SITE] is equal[SITE]


def test_oracle_minimises_output_error_not_weight_error():
    """Input 0 is ten times as large as input 1, so the direction that is weaker in weight space wins."""
    moment = {"a": torch.diag(torch.tensor([100.0, 1.0], dtype=torch.float64))}
    A_RI, B_OR = torch.tensor([[1.0, 2.0], [1.0, -2.0]]), torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    update = AdapterWeights({"a": Factors(A_RI, B_OR, 0.5)})
    assert update["a"].delta_OI().tolist() == [[1.0, 0.0], [0.0, 2.0]]
    cut = oracle_truncation(update, 1, moment)["a"].delta_OI()
    torch.testing.assert_close(cut, torch.tensor([[1.0, 0.0], [0.0, 0.0]]), rtol=0, atol=1e-5)


def test_knobs_are_parsed_and_refused():
    spec = PlantedSpec.parse({"k": "3", "strength": "0.5", "decay": "0.7", "placement": "*.c_fc+*.c_proj", "seed": "2"})
    assert spec == PlantedSpec(k=3, strength=0.5, decay=0.7, placement=("*.c_fc", "*.c_proj"), seed=2)
    assert PlantedSpec.parse({"decay": "equal"}) == PlantedSpec()
    with pytest.raises(UnknownName, match="strength"):
        PlantedSpec.parse({"strenght": "1"})
    for name, value in {"k": "0", "decay": "2", "strength": "much"}.items():
        with pytest.raises(BadInput, match=f"Knob {name}"):
            PlantedSpec.parse({name: value})


def test_too_large_a_rank_is_refused(model):
    with pytest.raises(BadInput, match="planted rank 17"):
        planted_update(model, PlantedSpec(k=17), TOKENS_NT, LENGTHS_N)
