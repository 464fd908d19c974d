"""Holm's correction and p-values read off confidence sets, against their definitions."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankscope.base.errors import BadInput
from rankscope.stats.holm import holm
from rankscope.stats.smallest_error import SMALLEST, smallest_error

P_VALUES = st.lists(st.floats(0, 1), max_size=6)


def rejected(p_values, error):
    """The step-down procedure itself: how many of the smallest values it rejects, as a set of places."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    kept = itertools.takewhile(lambda step: p_values[step[1]] <= error / (len(p_values) - step[0]), enumerate(order))
    return {place for _, place in kept}


def test_hand_values():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.01, 0.02, 0.9]) == pytest.approx((0.03, 0.04, 0.9))
    assert holm([0.5, 0.5]) == (1.0, 1.0)
    assert holm([0.2]) == (0.2,)
    assert holm([]) == ()
    with pytest.raises(BadInput, match="between 0 and 1"):
        holm([0.5, 1.2])


@given(P_VALUES, st.integers(1, 97))
def test_adjusted_values_reject_what_the_step_down_rejects(p_values, percent):
    error = percent / 100 + 1e-3  # off the values that hypothesis likes, where the two sides of `<=` round apart
    adjusted = holm(p_values)
    if all(abs(p - error) > 1e-9 for p in adjusted):
        assert {place for place, p in enumerate(adjusted) if p <= error} == rejected(p_values, error)


@given(P_VALUES)
def test_they_lie_between_the_raw_and_bonferroni_and_keep_the_order(p_values):
    adjusted = holm(p_values)
    for p, found in zip(p_values, adjusted, strict=True):
        assert p <= found <= min(1.0, len(p_values) * p)
    for (p, found), (other, other_found) in itertools.combinations(zip(p_values, adjusted, strict=True), 2):
        assert found <= other_found or p > other


@given(st.floats(1e-5, 0.98))
def test_the_smallest_error_is_found_and_never_understated(error):
    found = smallest_error(lambda level: level <= 1 - error)
    assert error * (1 - 1e-9) <= found <= error * 1.004


def test_what_always_or_never_decides():
    assert smallest_error(lambda level: True) == SMALLEST
    assert smallest_error(lambda level: False) == 1.0
