"""Intervals over items alone, by hand and by how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from rankscope.base.errors import BadInput
from rankscope.stats.over_items import paired_over_items, share_over_items, unpaired_over_items
from rankscope.stats.proportion import wilson


def test_one_seed_has_wilsons_interval() -> None:
    right = np.array([[1, 0, 1, 1, 0, 1, 1, 1]], dtype=bool)
    found = share_over_items(right)
    assert (found.low, found.high) == wilson(6, 8)
    assert (found.estimate, found.by_seed) == (0.75, (0.75,))


def test_several_seeds_are_averaged_by_item_first() -> None:
    right = np.array([[1, 0, 1, 1], [1, 0, 0, 1]], dtype=bool)
    found = share_over_items(right)
    low, high = stats.t.interval(0.95, 3, 0.625, stats.sem([1, 0, 0.5, 1]))
    assert found.estimate == 0.625
    assert found.low == pytest.approx(max(low, 0))
    assert found.high == pytest.approx(min(high, 1))


def test_paired_differences_are_those_of_the_items() -> None:
    first, second = np.array([[1, 1, 0, 1]]), np.array([[0, 1, 0, 0]])
    found = paired_over_items(first, second)
    expected = stats.ttest_rel(first[0], second[0]).confidence_interval()
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.estimate == 0.5


def test_unpaired_differences_are_welchs() -> None:
    first, second = np.array([[1, 1, 0, 1, 1]]), np.array([[0, 1, 0]])
    found = unpaired_over_items(first, second)
    expected = stats.ttest_ind(first[0], second[0], equal_var=False).confidence_interval()
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_equal_scores_have_no_width() -> None:
    ones = np.ones((1, 5))
    for found in (paired_over_items(ones, ones), unpaired_over_items(ones, ones)):
        assert (found.estimate, found.low, found.high) == (0, 0, 0)


def test_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        a, b = rng.random((1, 150)) < 0.6, rng.random((1, 150)) < 0.4
        found = paired_over_items(a, b)
        held += found.low <= 0.2 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_too_few_or_other_items_are_refused() -> None:
    with pytest.raises(BadInput, match="two items"):
        share_over_items(np.ones((1, 1)))
    with pytest.raises(BadInput, match="same items"):
        paired_over_items(np.ones((1, 3)), np.ones((1, 4)))
