import math

import pytest
import torch

from rankscope.spectra.estimators import (
    ESTIMATORS,
    EmptySpectrum,
    absolute_count,
    energy_entropy_rank,
    energy_rank,
    entropy_rank,
    noise_cut_rank,
    participation_ratio,
    relative_count_curve,
    stable_rank,
    top5_nuclear_share,
)
from rankscope.spectra.low_rank_svd import singular_values

S_R = torch.tensor([2.0, 1.0, 1.0, 0.0])


def test_values_by_hand():
    assert [energy_rank(S_R, q) for q in (0.6, 0.9, 2 / 3, 5 / 6)] == [1, 3, 1, 2]
    assert entropy_rank(S_R) == pytest.approx(math.exp(1.5 * math.log(2)))
    assert energy_entropy_rank(S_R) == pytest.approx(1.5 ** (2 / 3) * 6 ** (1 / 3))
    assert stable_rank(S_R) == pytest.approx(1.5)
    assert participation_ratio(S_R) == pytest.approx(36 / 18)
    assert top5_nuclear_share(torch.ones(10)) == pytest.approx(0.5)


def test_counts_by_threshold():
    s_R = torch.tensor([1e-2, 5e-5, 2e-6])
    assert relative_count_curve(s_R) == {1e-1: 1, 1e-2: 1, 1e-3: 2, 1e-4: 3, 1e-5: 3}
    assert absolute_count(s_R) == 2
    assert absolute_count(torch.tensor([1e-6])) == 0


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_empty_spectrum_is_an_error_not_a_number(name):
    with pytest.raises(EmptySpectrum, match="changes nothing"):
        ESTIMATORS[name](torch.zeros(4))


def test_the_noise_cut_counts_planted_directions_and_none_in_noise():
    O, I, R = 96, 64, 16
    counts = []
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        A_RI, B_OR = torch.randn(R, I, generator=random), torch.randn(O, R, generator=random)
        noise = noise_cut_rank(singular_values(A_RI, B_OR, 0.3), (O, I))
        B_OR[:, :3] *= 6
        counts.append((noise, noise_cut_rank(singular_values(A_RI, B_OR, 0.3), (O, I))))
    assert sum(noise for noise, _ in counts) <= 2
    assert sum(planted == 3 for _, planted in counts) >= 18
    assert noise_cut_rank(torch.ones(4), (O, I)) is None
