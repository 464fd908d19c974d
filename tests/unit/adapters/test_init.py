import math

import torch

from rankscope.adapters.init import initial_factors, paper_factors
from rankscope.train.cell import LoraSpec


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


def test_the_papers_start_has_sd_one_over_rank_whatever_the_fan_in():
    for rank in (8, 64):
        factors = paper_factors("a.b", 7, 3000, rank, 0.5, 0)
        assert abs(float(factors.A_RI.std()) * rank - 1) < 0.02
        assert not factors.B_OR.any()
    large, small = (paper_factors("a.b", 7, 13, rank, 0.5, 3).A_RI * rank for rank in (20, 5))
    assert torch.allclose(large[:5], small)


def test_the_papers_kind_scales_by_a_half_at_every_rank():
    for rank in (2, 8, 256):
        spec = LoraSpec(kind="paper", rank=rank)
        assert (spec.resolved_alpha, spec.scale, spec.label) == (rank / 2, 0.5, f"rank {rank}")
