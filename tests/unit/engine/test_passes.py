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
    found = [(some.start, some.stop) for some in Passes(most, by_length=True).of(length_N)]
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
    assert [some.stop - some.start for some in found] == sizes


def test_without_lengths_they_are_of_one_size():
    assert WHOLE.of(np.arange(5)) == [slice(0, 5)]
    assert Passes(2).of(np.arange(5)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
