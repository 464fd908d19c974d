"""Intervals over items of single trainings: by hand, and laws that any resampling of items must obey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from rankscope.base.errors import BadInput
from rankscope.rank.functional import TruncationCurve, smallest_kept
from rankscope.rank.over_items import functional_rank_over_items
from rankscope.stats.over_items import difference_over_items, mean_over_items

KS = (0.0, 1.0, 2.0, 4.0)


def curve(*shares, n_items=100):
    """One training; the first items are the right ones at every k."""
    return TruncationCurve(KS, (np.arange(n_items) < np.array(shares)[None, :, None] * n_items).astype(float))


def test_mean_has_the_t_interval():
    found = mean_over_items(np.array([0.0, 0.0, 1.0, 1.0]))
    half = 3.182446 / np.sqrt(12)
    assert (found.estimate, found.low, found.high) == (0.5, pytest.approx(0.5 - half), pytest.approx(0.5 + half))
    assert (found.n_seeds, found.n_items) == (1, 4)
    assert "one training" in found.method
    with pytest.raises(BadInput, match="at least two"):
        mean_over_items(np.array([1.0]))


def test_a_difference_is_paired_by_item():
    before, after = np.array([1.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    found = difference_over_items(before, after, share=True)
    assert found.estimate == 0.25
    assert found.high - found.low == pytest.approx(2 * 3.182446 * 0.5 / 2)


def test_no_item_that_differs_is_not_a_difference_of_exactly_0():
    same = np.ones(40)
    found = difference_over_items(same, same, share=True)
    bound = 1 - 0.025 ** (1 / 40)
    assert (found.estimate, found.low, found.high) == (0, pytest.approx(-bound), pytest.approx(bound))
    from_none = difference_over_items(same, np.zeros(40), share=True)
    assert (from_none.estimate, from_none.low, from_none.high) == (1, pytest.approx(1 - bound), 1)
    nats = difference_over_items(same, same)
    assert (nats.low, nats.high) == (0, 0)


def test_a_clear_curve_has_one_rank_and_a_close_one_several():
    (clear,) = functional_rank_over_items(curve(0, 0.4, 1, 1), np.zeros(100))
    assert (clear.estimate, clear.low, clear.high) == (2, 2, 2)
    # At k = 1, 90 of 100: kept in about half of all draws of items, which are sums of independent draws.
    (close,) = functional_rank_over_items(curve(0, 0.9, 1, 1), np.zeros(100))
    assert (close.estimate, close.low, close.high) == (1, 1, 2)


def test_ends_follow_the_chance_that_a_budget_keeps_its_share():
    """The cut to 1 keeps q when at most 10 % of the drawn items are lost ones: a binomial tail on 100 draws."""
    for n_lost in (3, 5, 14, 20):
        (found,) = functional_rank_over_items(curve(0, 1 - n_lost / 100, 1, 1), np.zeros(100), draws=20_000)
        kept = stats.binom.cdf(10, 100, n_lost / 100)
        assert abs(kept - 0.025) > 0.005
        assert abs(kept - 0.975) > 0.005
        assert (found.low, found.high) == (1 if kept > 0.025 else 2, 1 if kept > 0.975 else 2)


def test_a_training_without_a_gain_has_no_interval():
    scores = np.concatenate([curve(0, 0.4, 1, 1).scores_SKN, curve(0, 0.02, 0.01, 0.03).scores_SKN])
    first, second = functional_rank_over_items(TruncationCurve(KS, scores), np.zeros(100))
    assert first.estimate == 2
    assert second is None


def test_smallest_kept_needs_a_gain():
    gains = np.array([[0.0, 0.5, 0.4, 0.5], [0.0, -1.0, -0.5, -0.2], [0.0, 0.0, 0.0, 0.0]])
    assert smallest_kept(KS, gains, 0.9).tolist() == [4, 0, 0]
    assert smallest_kept(KS, gains, 0.7).tolist() == [1, 0, 0]


@st.composite
def some_scores(draw):
    n_items = draw(st.integers(2, 12))
    scores_SKN = draw(hnp.arrays(float, (2, len(KS), n_items), elements=st.integers(0, 4)))
    reference_N = draw(hnp.arrays(float, n_items, elements=st.integers(0, 2)))
    return scores_SKN, reference_N


@settings(max_examples=40, deadline=None)
@given(some_scores(), st.sampled_from((0.5, 0.75, 1.0)), st.integers(0, 3))
def test_laws_of_the_interval(made, q, seed):
    """Ends are budgets tried and in order; scale and shift of all scores change nothing; a larger q never lowers it."""
    found, reference_N = TruncationCurve(KS, made[0]), made[1]
    given = functional_rank_over_items(found, reference_N, q, 200, seed)
    shifted = TruncationCurve(KS, 4 * (found.scores_SKN + 3))
    assert functional_rank_over_items(shifted, 4 * (reference_N + 3), q, 200, seed) == given
    stricter = functional_rank_over_items(found, reference_N, 1.0, 200, seed)
    for one, more in zip(given, stricter, strict=True):
        assert (one is None) == (more is None)
        if one is not None:
            assert {one.low, one.high, one.estimate} <= set(KS)
            assert one.low <= one.high
            assert more.low >= one.low
            assert more.high >= one.high
            assert more.estimate >= one.estimate
