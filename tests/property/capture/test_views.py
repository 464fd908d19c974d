"""Laws of the canonical view: it shows the update, not how the update is written."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.capture.views import canonical_view, output_directions, subspaces

SITE = "layer.map"


def drawn(seed: int, rank: int) -> tuple[Factors, np.ndarray, torch.Tensor]:
    """An update of 9 x 12 in float64 with well-separated strengths, 20 inputs, and a well-conditioned mixing."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    right_RI = torch.linalg.qr(normal(12, rank)).Q.T
    left_OR = torch.linalg.qr(normal(9, rank)).Q * torch.logspace(0, -1, rank, dtype=torch.float64)
    left, right = (torch.linalg.qr(normal(rank, rank)).Q for _ in range(2))
    mixing = left @ torch.diag(torch.logspace(0, 1, rank, dtype=torch.float64)) @ right
    return Factors(right_RI, left_OR, 0.7), normal(20, 12).numpy(), mixing


def shown(factors: Factors, x_MI: np.ndarray) -> np.ndarray:
    """What the view shows of raw scalars on these inputs."""
    raw_MR = x_MI @ factors.A_RI.numpy().T
    return canonical_view(AdapterWeights({SITE: factors}), [SITE]).of(raw_MR)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), rank=st.integers(1, 5), c=st.floats(1e-3, 1e3))
def test_the_view_does_not_see_how_factors_are_written(seed, rank, c):
    factors, x_MI, mixing = drawn(seed, rank)
    A_RI, B_OR, s = factors.A_RI, factors.B_OR, factors.s
    plain = shown(factors, x_MI)
    assert plain.shape == (20, rank)
    np.testing.assert_allclose(shown(Factors(c * A_RI, B_OR / c, s), x_MI), plain, rtol=0, atol=1e-9)
    mixed = Factors(mixing @ A_RI, B_OR @ torch.linalg.inv(mixing), s)
    np.testing.assert_allclose(shown(mixed, x_MI), plain, rtol=0, atol=1e-9)
    np.testing.assert_allclose(shown(Factors(-A_RI, B_OR, -s), x_MI), plain, rtol=0, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), rank=st.integers(1, 5))
def test_what_is_shown_times_output_directions_is_the_adapters_output(seed, rank):
    factors, x_MI, _ = drawn(seed, rank)
    U_OK = output_directions(factors).numpy()
    np.testing.assert_allclose(shown(factors, x_MI) @ U_OK.T, x_MI @ factors.delta_OI().numpy().T, rtol=0, atol=1e-10)
    assert all(column[np.abs(column).argmax()] > 0 for column in U_OK.T)


def test_directions_of_like_strength_are_one_norm_and_rounding_is_left_out():
    """Strengths 4, 3.9, 2 and nothing: one subspace, one direction."""
    A_RI, B_OR = torch.eye(4, 12, dtype=torch.float64), torch.eye(9, 4, dtype=torch.float64)
    factors = Factors(A_RI, B_OR * torch.tensor([3.9, 4.0, 0.0, 2.0], dtype=torch.float64), 1.0)
    view = canonical_view(AdapterWeights({SITE: factors}), [SITE])
    assert [direction.indices for direction in view.directions] == [(0, 1), (2,)]
    assert [direction.label for direction in view.directions] == [f"{SITE} #0-1", f"{SITE} #2"]
    raw_MR = np.array([[3.0, 4.0, 5.0, -6.0]])
    np.testing.assert_allclose(view.of(raw_MR), [[np.hypot(3.0 * 3.9, 4.0 * 4.0), -12.0]])
    assert subspaces(np.array([10, 9.8, 5, 1])) == ((0, 1), (2,), (3,))
    assert subspaces(np.array([1.0, 0.96, 0.92, 0.5])) == ((0, 1, 2), (3,))
