import numpy as np
import pytest
from scipy import stats

from rankscope.base.errors import BadInput
from rankscope.stats.crossed import crossed_interval, crossed_moments
from rankscope.stats.fieller import fieller
from rankscope.stats.power import minimum_detectable_effect, seeds_needed, times_as_many
from rankscope.stats.proportion import clopper_pearson, wilson


def test_mean_squares_by_hand():
    # rows 1, 3 and 5, 11: seed means 2 and 8, item means 3 and 7, residuals -1 and 1 around 5
    moments = crossed_moments(np.array([[[1.0, 3.0], [5.0, 11.0]]]))
    assert moments.mean_K[0] == 5
    assert moments.seed_KK[0, 0] == pytest.approx(18 / 2)  # variance of (2, 8) over 2 seeds
    assert moments.item_KK[0, 0] == pytest.approx((16 - 4) / 4)


def test_without_item_variance_it_is_the_plain_t_interval():
    seeds_S = np.array([0.1, 0.4, 0.2, 0.6, 0.3])
    found = crossed_interval(np.repeat(seeds_S[:, None], 30, axis=1))
    half = stats.t.ppf(0.975, 4) * seeds_S.std(ddof=1) / np.sqrt(5)
    assert (found.low, found.high) == pytest.approx((0.32 - half, 0.32 + half))
    assert found.by_seed == pytest.approx(tuple(seeds_S))
    one_sided = crossed_interval(np.repeat(seeds_S[:, None], 30, axis=1), level=0.975, side="lower")
    assert (one_sided.low, one_sided.high) == (pytest.approx(found.low), None)


def test_one_seed_has_points_but_no_interval():
    found = crossed_interval(np.array([0.0, 1.0, 1.0, 1.0]))
    assert (found.estimate, found.low, found.high, found.by_seed) == (0.75, None, None, (0.75,))
    assert "one seed" in found.method


def test_no_variation_seen_is_not_certainty():
    found = crossed_interval(np.ones((5, 100)), share=True)
    assert found.high == 1.0
    assert found.low == pytest.approx(0.025 ** (1 / 100))
    none_right = crossed_interval(np.zeros((12, 100)), level=0.975, side="upper", share=True)
    assert (none_right.low, none_right.high) == (None, pytest.approx(1 - 0.025 ** (1 / 100)))


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -0.9])
@pytest.mark.parametrize("S", [2, 5, 12])
def test_a_constant_that_is_no_share_is_that_constant(value, S):
    found = crossed_interval(np.full((S, 30), value))
    assert (found.estimate, found.low, found.high) == (value, value, value)
    assert found.method.startswith("constant")
    assert crossed_interval(np.full((S, 30), value), side="lower").high is None


def test_what_is_no_share_is_refused_as_one():
    with pytest.raises(BadInput, match="between 0 and 1"):
        crossed_interval(np.array([[0.2, -0.1], [0.0, 1.0]]), share=True)


def test_missing_scores_are_refused():
    with pytest.raises(BadInput, match="not finite"):
        crossed_interval(np.array([[0.0, np.nan]]))


def test_fieller_by_hand_and_unbounded():
    # ends solve (8 - 4 r)^2 = 4 (1 + r^2 / 4)
    low, high = fieller(8.0, 4.0, 1.0, 0.25, 0.0, quantile=2.0)
    for end in (low, high):
        assert (8 - 4 * end) ** 2 == pytest.approx(4 * (1 + end**2 / 4))
    assert low < 2 < high
    assert fieller(1.0, 0.1, 0.01, 0.01, 0.0, quantile=2.0) == (None, None)


def test_shares_against_published_values():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert clopper_pearson(81, 263) == pytest.approx((0.2527, 0.3676), abs=1e-4)
    assert clopper_pearson(0, 10)[0] == wilson(0, 10)[0] == 0.0
    with pytest.raises(BadInput, match="share"):
        wilson(3, 2)


@pytest.mark.parametrize(("p", "wanted"), [(0.05, 0.05), (0.03, 0.0125), (0.2, 0.01)])
def test_so_many_times_the_data_reach_the_wanted_p_in_four_of_five_repeats(p: float, wanted: float):
    """The same effect measured on t times the data has a quantile root t times as large, and a spread of 1."""
    seen = stats.norm.isf(p / 2) * times_as_many(p, wanted) ** 0.5
    assert stats.norm.sf(stats.norm.isf(wanted / 2) - seen) == pytest.approx(0.8)


def test_seeds_needed_is_the_first_that_suffices():
    needed = seeds_needed(0.05, seed_sd=0.06, item_var=1e-5)
    effects = [minimum_detectable_effect(0.06, n, 1e-5) for n in (needed - 1, needed)]
    assert effects[0] >= 0.05 > effects[1]
    assert seeds_needed(0.01, seed_sd=0.06, item_var=1e-3) is None
