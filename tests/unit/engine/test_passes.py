"""Passes against every way to cut, for few items."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankscope.engine.passes import PASS_TOKENS, WHOLE, Passes

LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=8).map(lambda found: np.array(sorted(found)[::-1]))


def cost(cuts, length_N):
    return sum((end - first) * length_N[first] + PASS_TOKENS for first, end in cuts)


@given(length_N=LENGTHS, most=st.integers(1, 9) | st.none())
def test_they_are_the_cheapest_of_all_ways_to_cut(length_N, most):
    n_items = len(length_N)
    shuffled_N = np.random.default_rng(0).permutation(length_N)
    parts = Passes(most, by_length=True).of(shuffled_N)
    assert sorted(np.concatenate([part.items_M for part in parts])) == list(range(n_items))
    assert [part.n_tokens for part in parts] == [shuffled_N[part.items_M].max() for part in parts]
    ends = np.cumsum([len(part.items_M) for part in parts]).tolist()
    found = list(zip((0, *ends), ends, strict=False))
    ways = [
        list(zip((0, *inner), (*inner, n_items), strict=True))
        for n_cuts in range(n_items)
        for inner in combinations(range(1, n_items), n_cuts)
    ]
    allowed = [way for way in ways if most is None or all(end - first <= most for first, end in way)]
    assert found in allowed
    assert cost(found, length_N) == min(cost(way, length_N) for way in allowed)


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        # Apart they cost 4 * 100 + 4 * 10 + a pass, together 8 * 100: 360 tokens of padding against 128.
        ([100] * 4 + [10] * 4, [4, 4]),
        ([100] * 4 + [70] * 4, [8]),  # 120 tokens of padding
        ([50] * 8, [8]),
    ],
)
def test_by_hand(lengths, sizes):
    found = Passes(by_length=True).of(np.array(lengths))
    assert [len(part.items_M) for part in found] == sizes


def test_without_lengths_they_are_of_one_size():
    lengths = np.array([3, 9, 1, 2, 5])
    for passes, items in ((WHOLE, [[0, 1, 2, 3, 4]]), (Passes(2), [[0, 1], [2, 3], [4]])):
        found = passes.of(lengths)
        assert [part.items_M.tolist() for part in found] == items
        assert {part.n_tokens for part in found} == {9}
