"""The adapted linear map of a pack against plain autograd, one row at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankscope.engine import low_rank
from rankscope.engine.low_rank import LowRankOp, RowFactors, pays_to_merge
from rankscope.lm.decoder import LinearMap

N_IN, N_OUT = 6, 5


def drawn(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("merging", [True, False])
@given(
    counts=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=3),
    gaps=st.lists(st.integers(0, 1), min_size=3, max_size=3),
    shared=st.booleans(),
    transposed=st.booleans(),
    biased=st.booleans(),
    seed=st.integers(0, 10),
)
def test_every_row_is_a_lora_of_its_own(merging, counts, gaps, shared, transposed, biased, seed):
    """Rows per bucket and their rank; rows in gaps have no adapter at this site."""
    original = low_rank.pays_to_merge
    low_rank.pays_to_merge = lambda *_: merging
    try:
        check_rows(counts, gaps, shared, transposed, biased, seed)
    finally:
        low_rank.pays_to_merge = original


def check_rows(counts, gaps, shared, transposed, biased, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = drawn(generator, N_IN, N_OUT) if transposed else drawn(generator, N_OUT, N_IN)
    frozen = LinearMap("site", weight, drawn(generator, N_OUT) if biased else None, transposed)
    parts, n_rows = [], 0
    for (n, rank), gap in zip(counts, gaps, strict=False):
        n_rows += gap
        A, B, scale = drawn(generator, n, rank, N_IN), drawn(generator, n, N_OUT, rank), drawn(generator, n)
        parts.append(RowFactors(n_rows, A.requires_grad_(), B.requires_grad_(), scale))
        n_rows += n
    x = drawn(generator, *(() if shared else (n_rows,)), 2, 3, N_IN).requires_grad_()
    direction = drawn(generator, n_rows, 2, 3, N_OUT)

    packed = LowRankOp(n_rows, tuple(parts))(x, frozen)
    factors = [tensor for part in parts for tensor in (part.A_KRI, part.B_KOR)]
    got = torch.autograd.grad((packed * direction).sum(), [x, *factors])

    rows = [frozen(x if shared else x[row]) for row in range(n_rows)]
    for part in parts:
        for i, row in enumerate(range(part.rows.start, part.rows.stop)):
            delta = part.scale_K[i] * part.B_KOR[i] @ part.A_KRI[i]
            rows[row] = rows[row] + (x if shared else x[row]) @ delta.T
    expected = torch.stack(rows)
    torch.testing.assert_close(packed, expected, atol=1e-12, rtol=1e-12)
    for ours, theirs in zip(got, torch.autograd.grad((expected * direction).sum(), [x, *factors]), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)


@given(rank=st.integers(1, 3), extra=st.integers(1, 3), seed=st.integers(0, 10))
def test_filling_up_a_rank_with_zeros_changes_nothing(rank, extra, seed):
    generator = torch.Generator().manual_seed(seed)
    frozen = LinearMap("site", drawn(generator, N_OUT, N_IN), None)
    x, direction = drawn(generator, 1, 2, 3, N_IN), drawn(generator, 1, 2, 3, N_OUT)
    A, B = drawn(generator, 1, rank, N_IN), drawn(generator, 1, N_OUT, rank)
    results = []
    for fill in (0, extra):
        wide_A = torch.cat([A, A.new_zeros(1, fill, N_IN)], 1).requires_grad_()
        wide_B = torch.cat([B, B.new_zeros(1, N_OUT, fill)], 2).requires_grad_()
        y = LowRankOp(1, (RowFactors(0, wide_A, wide_B, torch.ones(1, dtype=torch.float64)),))(x, frozen)
        gradient_A, gradient_B = torch.autograd.grad((y * direction).sum(), [wide_A, wide_B])
        results.append((y, gradient_A[:, :rank], gradient_B[:, :, :rank]))
        assert not gradient_A[:, rank:].any()
        assert not gradient_B[:, :, rank:].any()
    for narrow, wide in zip(*results, strict=True):
        torch.testing.assert_close(narrow, wide, atol=1e-13, rtol=1e-13)


def test_sixteen_bit_weights_are_never_merged():
    assert pays_to_merge(10_000, 8, 8, torch.float32)
    assert not pays_to_merge(10_000, 8, 8, torch.bfloat16)
    assert not pays_to_merge(3, 8, 8, torch.float32)
