"""What an adapter is does not depend on how its factors are written: A -> Q A, B -> B Q^-1 changes nothing."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_model

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.evals.teacher_forced import score_variants
from rankscope.lm.sites import linear_sites
from rankscope.spectra.low_rank_svd import singular_values, weighted_singular_values
from rankscope.tasks.encoded import EncodedItems

RANK = 4
SURE = 1e-6
"""Items whose margin is smaller may go either way."""


def mixing(rng: torch.Generator, condition: float) -> torch.Tensor:
    """A float64 matrix of that condition number: an orthogonal one, a diagonal, an orthogonal one."""
    left, right = (torch.linalg.qr(torch.randn(RANK, RANK, generator=rng, dtype=torch.float64)).Q for _ in range(2))
    return left @ torch.diag(torch.logspace(0, -np.log10(condition), RANK, dtype=torch.float64)) @ right


def rewritten(weights: AdapterWeights, Q: torch.Tensor) -> AdapterWeights:
    return AdapterWeights({s: Factors(Q @ f.A_RI, f.B_OR @ torch.linalg.inv(Q), f.s) for s, f in weights.items()})


def weighted(factors: Factors, inputs_NI: torch.Tensor) -> torch.Tensor:
    """Singular values weighted by the second moment of the inputs."""
    state_NR = inputs_NI @ factors.A_RI.T
    return weighted_singular_values(factors.B_OR, factors.s, state_NR.T @ state_NR / len(state_NR))


def some_items(rng: np.random.Generator) -> EncodedItems:
    full = np.full(24, 12)
    tokens_NT = rng.integers(3, 60, (24, 12))
    return EncodedItems("made up", "test", tokens_NT, full - 4, full, full - 2, full - 1, item_ids_N=np.arange(24))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from([1.0, 10.0, 100.0]))
def test_spectra_nats_and_predictions_do_not_see_how_factors_are_written(seed: int, condition: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    model = tiny_model("gpt2").double()
    shapes = {site: shape for site, shape in linear_sites(model).items() if "c_proj" in site}
    weights = AdapterWeights(
        {
            site: Factors(
                torch.randn(RANK, n_in, generator=rng, dtype=torch.float64),
                0.3 * torch.randn(n_out, RANK, generator=rng, dtype=torch.float64),
                0.5,
            )
            for site, (n_out, n_in) in shapes.items()
        }
    )
    other = rewritten(weights, mixing(rng, condition))
    for site, factors in weights.items():
        plain = singular_values(factors.A_RI, factors.B_OR, factors.s)
        again = singular_values(other[site].A_RI, other[site].B_OR, other[site].s)
        torch.testing.assert_close(again, plain, rtol=1e-6, atol=0)
        inputs_NI = torch.randn(3 * factors.A_RI.shape[1], factors.A_RI.shape[1], generator=rng, dtype=torch.float64)
        plain, again = (weighted(one, inputs_NI) for one in (factors, other[site]))
        torch.testing.assert_close(again, plain, rtol=1e-6, atol=0)
    one, two = score_variants(model, [weights, other], some_items(np.random.default_rng(seed)))
    np.testing.assert_allclose(two["nats"], one["nats"], rtol=1e-6)
    np.testing.assert_allclose(two["margin"], one["margin"], rtol=1e-6, atol=SURE)
    assert one["n_right"].equals(two["n_right"])
    sure = np.abs(one["margin"].to_numpy()) >= SURE
    assert (one["exact_output"].to_numpy() == two["exact_output"].to_numpy())[sure].all()
