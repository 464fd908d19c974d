import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankscope.spectra.estimators import ESTIMATORS
from rankscope.spectra.low_rank_svd import singular_values

SPECTRA = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=12).map(
    lambda values: torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), R=st.integers(1, 6), log_cond=st.floats(0, 2))
def test_singular_values_do_not_depend_on_the_basis(seed, R, log_cond):
    random = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    A_RI, B_OR = normal(R, 9), normal(8, R)
    scales_R = torch.logspace(0, log_cond, R, dtype=torch.float64)
    Q_RR = torch.linalg.qr(normal(R, R))[0] * scales_R @ torch.linalg.qr(normal(R, R))[0]
    before_R = singular_values(A_RI, B_OR, 0.5)
    after_R = singular_values(Q_RR @ A_RI, B_OR @ torch.linalg.inv(Q_RR), 0.5)
    torch.testing.assert_close(after_R, before_R, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(max_examples=40, deadline=None)
@given(s_R=SPECTRA, scale=st.floats(1e-4, 1e4))
def test_a_spectral_rank_lies_between_1_and_R_and_ignores_scale(name, s_R, scale):
    rank = ESTIMATORS[name](s_R)
    assert 1 - 1e-9 <= rank <= len(s_R) + 1e-9
    if "N(" not in name:  # a count may flip where a ratio rounds onto its threshold
        assert ESTIMATORS[name](scale * s_R) == pytest.approx(rank, rel=1e-9, abs=1 if "." in name else 0)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(("k", "scale"), [(1, 1.0), (3, 1e-20), (9, 7e5)])
def test_k_equal_values_give_k(name, k, scale):
    equal_R = torch.cat([torch.full((k,), scale, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)])
    cut = 0.1 * k if name.startswith("energy .") else 0  # 90 % of the energy of nine equal values is in 8.1
    assert k - cut - 1e-9 <= ESTIMATORS[name](equal_R) <= k + 1e-9
