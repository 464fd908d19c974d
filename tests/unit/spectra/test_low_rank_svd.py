import numpy as np
import pytest
import torch

from rankscope.base.errors import BadInput
from rankscope.spectra.low_rank_svd import low_rank_svd, singular_values, weighted_singular_values


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("O", "R", "I"), [(9, 3, 7), (5, 8, 6), (4, 1, 3)])
def test_agrees_with_the_dense_svd(O, R, I):
    A_RI, B_OR = _normal(R, I), _normal(O, R, seed=1)
    U_OK, S_K, V_KI = low_rank_svd(A_RI, B_OR, -0.5)
    delta_OI = -0.5 * B_OR @ A_RI
    torch.testing.assert_close(S_K, torch.linalg.svdvals(delta_OI)[: min(O, R, I)])
    torch.testing.assert_close(U_OK * S_K @ V_KI, delta_OI)
    torch.testing.assert_close(U_OK.T @ U_OK, torch.eye(len(S_K), dtype=torch.float64))


@pytest.mark.parametrize("left_share", [0.0, 0.5, 1.0])
def test_keeps_its_digits_over_twelve_decades(left_share):
    U_OR, V_IR = torch.linalg.qr(_normal(60, 16))[0], torch.linalg.qr(_normal(40, 16, seed=1))[0]
    S_R = torch.logspace(0, -12, 16, dtype=torch.float64)
    found_R = singular_values((V_IR * S_R ** (1 - left_share)).T, U_OR * S_R**left_share, 1.0)
    assert float(((found_R - S_R) / S_R).abs().max()) < 3e-12


def test_a_zero_factor_and_bf16_work():
    A_RI = _normal(4, 6).bfloat16()
    assert singular_values(A_RI, torch.zeros(5, 4, dtype=torch.bfloat16), 2.0).tolist() == [0.0] * 4
    B_OR = _normal(5, 4, seed=1).bfloat16()
    expected_R = torch.linalg.svdvals(B_OR.double() @ A_RI.double())[:4]
    torch.testing.assert_close(singular_values(A_RI, B_OR, 1.0), expected_R)


def test_weighted_squares_sum_to_the_mean_output_energy():
    A_RI, B_OR, x_NI = _normal(3, 6), _normal(5, 3, seed=1), _normal(50, 6, seed=2)
    scalar_NR = x_NI @ A_RI.T
    S_K = weighted_singular_values(B_OR, 0.7, scalar_NR.T @ scalar_NR / 50)
    output_NO = 0.7 * x_NI @ A_RI.T @ B_OR.T
    assert float((S_K**2).sum()) == pytest.approx(float((output_NO**2).sum(1).mean()), rel=1e-10)


@pytest.mark.parametrize(("O", "R", "I"), [(5, 3, 6), (3, 4, 7), (6, 5, 4)])
def test_weighted_values_are_those_of_the_update_times_the_root_of_the_inputs_moment(O, R, I):
    """By numpy, forming update and moment; also with factors written otherwise (A -> QA, B -> B Q^-1)."""
    A_RI, B_OR, x_NI = _normal(R, I), _normal(O, R, seed=1), _normal(50, I, seed=2) * torch.logspace(0, -2, I)
    values_I, vectors_II = np.linalg.eigh((x_NI.T @ x_NI / 50).numpy())
    weighted_OI = 0.7 * (B_OR @ A_RI).numpy() @ vectors_II @ np.diag(np.sqrt(values_I)) @ vectors_II.T
    expected = np.linalg.svd(weighted_OI, compute_uv=False)[: min(O, R, I)]
    Q_RR = torch.linalg.qr(_normal(R, R, seed=3))[0] * torch.logspace(0, 2, R, dtype=torch.float64)
    for A, B in ((A_RI, B_OR), (Q_RR @ A_RI, B_OR @ Q_RR.inverse())):
        scalar_NR = x_NI @ A.T
        found = weighted_singular_values(B, 0.7, scalar_NR.T @ scalar_NR / 50)[: len(expected)]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_refuses_what_has_no_spectrum():
    with pytest.raises(BadInput, match="not finite"):
        singular_values(torch.full((1, 2), float("nan")), torch.ones(2, 1), 1.0)
    with pytest.raises(BadInput, match="symmetric"):
        weighted_singular_values(torch.ones(2, 2), 1.0, torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
