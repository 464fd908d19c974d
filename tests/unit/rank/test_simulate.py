"""Simulated curves: their means are what they say, and the truth is read off them right."""

import numpy as np
import pytest
from scipy import stats

from rankscope.rank.simulate import (
    BASE,
    DENSE,
    FAMILIES,
    RANKS,
    Effects,
    Family,
    Q,
    arm_scores,
    null_tests,
    simulated_sets,
    true_rank,
)

BAR = BASE + Q * (DENSE - BASE)


@pytest.mark.parametrize("is_share", [True, False])
def test_every_arm_has_its_mean(is_share: bool) -> None:
    """Over many seeds and items the means come to what was asked, the base's over items alone."""
    rng = np.random.default_rng(0)
    means = {"low": 0.2, "high": 0.9, "base": 0.1}
    draws = [arm_scores(rng, means, Effects(), (40, 400), is_share) for _ in range(40)]
    for name, mean in means.items():
        assert np.mean([one[name].mean() for one in draws]) == pytest.approx(mean, abs=0.012)
    assert all((one["base"] == one["base"][0]).all() for one in draws)
    assert not (draws[0]["low"] == draws[0]["low"][0]).all()


def test_the_truth_is_the_rank_from_which_all_suffice() -> None:
    under, over = BAR - 0.01, BAR + 0.01
    assert true_rank((under, under, over, over, over, over)) == 4
    assert true_rank((under, over, under, over, over, over)) == 8
    assert true_rank((over,) * 6) == 1
    assert true_rank((under,) * 6) == RANKS[-1] + 1
    assert true_rank((under, BAR - 1e-9, BAR, over, over, over)) == 4


def test_curves_of_every_family_rise_and_can_be_judged() -> None:
    rng = np.random.default_rng(1)
    for family in FAMILIES:
        for _ in range(20):
            curve = family.curve(rng)
            assert len(curve) == len(RANKS)
            assert all(BASE <= mean <= DENSE + 1e-12 for mean in curve)
            assert list(curve) == sorted(curve)
            assert true_rank(curve) in (*RANKS, RANKS[-1] + 1)


def test_counts_are_of_what_was_asked() -> None:
    sets = simulated_sets(6, families=FAMILIES[:2])
    assert [row.family for row in sets] == [family.name for family in FAMILIES[:2]]
    assert all(row.n_curves == 6 and 4 <= row.covered <= 6 for row in sets)
    assert simulated_sets(6, families=FAMILIES[:1]) == sets[:1]
    for row in null_tests(8):
        exact = stats.binomtest(row.rejected, 8).proportion_ci(0.95, method="exact")
        assert (row.n_nulls, row.low, row.high) == (8, pytest.approx(exact.low), pytest.approx(exact.high))


WIDTHS = {
    "equal strengths": 0,
    "smooth curves": 1,
    "smooth curves, 10 seeds": 1,
    "smooth curves in nats": 2,
    "one rank exactly at the bar, the one below a hair under": 2,
}
"""Kind of curve -> doublings that its median set spans: sets that hold every rank would hold every truth."""


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_sets_of_every_kind_of_curve_hold_their_truth_and_are_no_wider_than_said(family: Family) -> None:
    """380 of 400 is what 95 % comes to; sets that hold their truth less often than that fail here every other time."""
    (row,) = simulated_sets(400, families=(family,))
    assert row.covered >= 380
    assert row.median_doublings == WIDTHS[family.name]


@pytest.mark.slow
def test_tests_reject_true_nulls_in_five_percent() -> None:
    """Of 1,000 nulls 50 are to be rejected, and between 36 and 64 are in 19 of 20 series."""
    rows = null_tests(1000)
    assert len(rows) == 5
    assert [row.test for row in rows if not 0.036 <= row.rejected / row.n_nulls <= 0.064] == []
