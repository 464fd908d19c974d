import math

import torch

from rankscope.adapters.init import initial_factors


def test_distribution_is_pefts_default():
    factors = initial_factors("a.b", 7, 400, 50, 2.0, 0)
    bound = 1 / math.sqrt(400)
    assert factors.A_RI.abs().max() <= bound
    assert abs(float(factors.A_RI.std()) - bound / math.sqrt(3)) < 0.01 * bound
    assert not factors.B_OR.any()
    assert (factors.B_OR.shape, factors.s) == ((7, 50), 2.0)


def test_ranks_are_nested_and_sites_and_seeds_apart():
    largest = initial_factors("a.b", 7, 13, 20, 2.0, 3).A_RI
    for rank in (1, 2, 7, 16):
        assert torch.equal(initial_factors("a.b", 9, 13, rank, 1.0, 3).A_RI, largest[:rank])
    assert not torch.equal(initial_factors("a.c", 7, 13, 20, 2.0, 3).A_RI, largest)
    assert not torch.equal(initial_factors("a.b", 7, 13, 20, 2.0, 4).A_RI, largest)
