"""How many directions an update has is the same in every dtype, also on wide maps."""

import pytest
import torch

from rankscope.adapters.truncate import matrix_rank, random_subspace
from rankscope.adapters.weights import AdapterWeights, Factors

WIDE = (1024, 4096)
HALF = (torch.bfloat16, torch.float16)


def drawn(dtype: torch.dtype, width: int, n_repeated: int = 0) -> Factors:
    """Three directions, and some of them a second time, rounded to the dtype once."""
    draw = torch.Generator().manual_seed(1)
    A_RI, B_OR = torch.randn(3, width, generator=draw), torch.randn(width, 3, generator=draw) / 50
    A_RI, B_OR = torch.cat([A_RI, A_RI[:n_repeated]]), torch.cat([B_OR, B_OR[:, :n_repeated]], dim=1)
    return Factors(A_RI.to(dtype), B_OR.to(dtype), 2.0)


@pytest.mark.parametrize("width", WIDE)
@pytest.mark.parametrize("dtype", [*HALF, torch.float32])
def test_a_wide_map_keeps_its_rank_in_every_dtype(dtype, width):
    assert matrix_rank(drawn(dtype, width)) == 3
    assert matrix_rank(drawn(dtype, width, n_repeated=2)) == 3
    zero = drawn(dtype, width)
    assert matrix_rank(Factors(zero.A_RI, torch.zeros_like(zero.B_OR), 2.0)) == 0


@pytest.mark.parametrize("dtype", HALF)
def test_a_weak_direction_of_a_16_bit_adapter_counts(dtype):
    factors = drawn(dtype, 1024)
    weaker = Factors(factors.A_RI, factors.B_OR * torch.tensor([1.0, 0.5, 1 / 64], dtype=dtype), 1.0)
    assert matrix_rank(weaker) == 3


@pytest.mark.parametrize("dtype", HALF)
def test_the_random_control_cuts_16_bit_adapters_too(dtype):
    cut = random_subspace(AdapterWeights({"map": drawn(dtype, 1024)}), 1, seed=0)["map"]
    assert (cut.rank, cut.B_OR.dtype) == (1, torch.float32)
