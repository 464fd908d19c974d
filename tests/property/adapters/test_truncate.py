import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankscope.adapters import truncate
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput

OTHERS = {
    "bottom": truncate.bottom,
    "random": lambda weights, k: truncate.random_subspace(weights, k, 7),
    "rescaled": truncate.rescaled,
    "order": lambda weights, k: truncate.by_order(
        weights, {site: list(range(truncate.n_directions(f)))[::-1] for site, f in weights.items()}, k
    ),
}


@st.composite
def adapters(draw):
    seed, ranks = draw(st.integers(0, 10**6)), draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    out, n_in = draw(st.integers(2, 9)), draw(st.integers(2, 9))
    source = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=source, dtype=torch.float64)

    return AdapterWeights(
        {f"site.{n}": Factors(normal(r, n_in), normal(out, r), float(normal(1))) for n, r in enumerate(ranks)}
    )


def errors(weights, cut):
    """Squared distance to the whole update, per site."""
    return {site: float((weights[site].delta_OI() - cut[site].delta_OI()).square().sum()) for site in weights}


def rank_of(factors):
    return int(torch.linalg.matrix_rank(factors.delta_OI(), rtol=1e-8)) if factors.rank else 0


@settings(max_examples=30, deadline=None)
@given(adapters(), st.integers(1, 5))
def test_matrix_rank_is_torchs_own_and_counts_repeated_directions_once(weights, k):
    for factors in weights.values():
        assert truncate.matrix_rank(factors) == rank_of(factors)
        A_RI, B_OR = factors.A_RI[:1].expand(k, -1), factors.B_OR[:, :1].expand(-1, k)
        assert truncate.matrix_rank(Factors(A_RI, B_OR, factors.s)) == 1
    assert truncate.matrix_rank(Factors(torch.ones(0, 3), torch.ones(2, 0), 1.0)) == 0
    assert truncate.matrix_rank(Factors(torch.ones(2, 3), torch.zeros(2, 2), 1.0)) == 0


@settings(max_examples=30, deadline=None)
@given(adapters(), st.integers(0, 5))
def test_truncation_is_nearest_and_every_cut_has_rank_k(weights, k):
    best = errors(weights, truncate.truncated(weights, k))
    for cut in OTHERS.values():
        found = cut(weights, k)
        assert all(rank_of(factors) <= k for factors in found.values())
        assert all(best[site] <= error + 1e-9 for site, error in errors(weights, found).items())
    dropped = {site: float(truncate.directions(f).S_R[k:].square().sum()) for site, f in weights.items()}
    assert best == pytest.approx(dropped, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(adapters(), st.integers(0, 5))
def test_noise_has_the_norm_and_rank_of_the_best_k_and_its_own_directions(weights, k):
    best, drawn, other = (truncate.truncated(weights, k), truncate.noise(weights, k, 3), truncate.noise(weights, k, 4))
    for site, factors in drawn.items():
        assert rank_of(factors) == min(k, truncate.n_directions(weights[site]))
        assert float(factors.delta_OI().norm()) == pytest.approx(float(best[site].delta_OI().norm()), rel=1e-9)
        if k:
            assert not torch.allclose(factors.delta_OI(), other[site].delta_OI())


@settings(max_examples=20, deadline=None)
@given(adapters())
def test_ends_are_zero_and_the_whole_update(weights):
    for cut in (truncate.truncated, *OTHERS.values(), truncate.global_budget):
        assert not any(factors.delta_OI().any() for factors in cut(weights, 0).values())
        whole = cut(weights, 5)
        assert all(torch.equal(whole[site].delta_OI(), weights[site].delta_OI()) for site in weights)


@settings(max_examples=20, deadline=None)
@given(adapters(), st.integers(1, 4))
def test_rescaling_matches_norms_and_random_cuts_are_nested_projections(weights, k):
    for site, factors in truncate.rescaled(weights, k).items():
        assert float(factors.delta_OI().norm()) == pytest.approx(float(weights[site].delta_OI().norm()))
    small, large = truncate.random_subspace(weights, k, 0), truncate.random_subspace(weights, k + 1, 0)
    for site, factors in weights.items():
        Q_OK = torch.linalg.qr(small[site].delta_OI()).Q[:, : rank_of(small[site])]
        if k < truncate.n_directions(factors):
            Q_OK = small[site].B_OR
        torch.testing.assert_close(Q_OK @ Q_OK.T @ factors.delta_OI(), small[site].delta_OI(), rtol=0, atol=1e-8)
        torch.testing.assert_close(Q_OK @ Q_OK.T @ large[site].delta_OI(), small[site].delta_OI(), rtol=0, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(adapters(), st.floats(0, 5))
def test_global_budget_keeps_the_most_energy_for_its_directions(weights, k_mean):
    cut = truncate.global_budget(weights, k_mean)
    energies = sorted((float(e) for f in weights.values() for e in truncate.directions(f).S_R.square()), reverse=True)
    lost = sum(energies[round(k_mean * len(weights)) :])
    assert sum(errors(weights, cut).values()) == pytest.approx(lost, abs=1e-9)


def test_hand_computed_case_and_refusals():
    weights = AdapterWeights(
        {
            "big": Factors(torch.eye(2), torch.tensor([[3.0, 0.0], [0.0, 2.0]]), 2.0),
            "small": Factors(torch.eye(2), torch.tensor([[0.5, 0.0], [0.0, 1.0]]), 1.0),
        }
    )
    assert truncate.truncated(weights, 1)["big"].delta_OI().tolist() == [[6.0, 0.0], [0.0, 0.0]]
    assert truncate.bottom(weights, 1)["big"].delta_OI().tolist() == [[0.0, 0.0], [0.0, 4.0]]
    assert {site: f.rank for site, f in truncate.global_budget(weights, 1).items()} == {"big": 2, "small": 0}
    with pytest.raises(BadInput, match="0 or more"):
        truncate.truncated(weights, -1)
    with pytest.raises(BadInput, match="once"):
        truncate.by_order(weights, {"big": [0, 0], "small": [0, 1]}, 1)


def test_half_precision_adapters_are_cut_in_float32():
    weights = AdapterWeights({"a": Factors(torch.ones(2, 3).bfloat16(), torch.ones(4, 2).bfloat16(), 1.0)})
    assert truncate.truncated(weights, 1)["a"].A_RI.dtype == torch.float32
