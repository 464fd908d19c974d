"""Needs read off learning rates by hand."""

import pytest

from rankscope.rank.rate_maps import fixed_need, score_at, shared_rates, tuned_need
from rankscope.rank.records import RateMap

FOUND = RateMap(
    skills=("matched/HashHop",),
    is_share=True,
    base_score=0.0,
    ranks={"rank 1": 1, "rank 2": 2, "rank 4": 4},
    scores={
        "rank 1": {"0.01": 0.2, "0.04": 0.8},
        "rank 2": {"0.01": 0.88, "0.02": 0.92, "0.04": 0.95},
        "rank 4": {"0.01": 0.95, "0.04": 0.5},
        "dense": {"0.001": 1.0, "0.002": 0.9},
    },
    used={"rank 1": 0.04},
    n_seeds=1,
    n_items=10,
)


def test_between_tried_rates_a_score_is_read_off_the_line() -> None:
    assert score_at({"0.01": 0.2, "0.04": 0.8}, 0.02) == pytest.approx(0.5)
    assert score_at({"0.01": 0.2, "0.04": 0.8}, 0.04) == 0.8
    assert score_at({"0.01": 0.2, "0.04": 0.8}, 0.05) is None
    assert score_at({"0.01": 0.2, "0.04": None}, 0.02) is None


def test_one_rate_shows_another_need_than_tuning() -> None:
    """At .01 rank 2 has .88, under .9 of dense; at .04 rank 4 fails; tuned, rank 2 and 4 suffice."""
    assert shared_rates(FOUND) == (0.01, 0.02, 0.04)
    assert [fixed_need(FOUND, rate) for rate in (0.01, 0.02, 0.04)] == [4, None, None]
    assert tuned_need(FOUND) == 2
    assert fixed_need(FOUND, 0.005) is None


def test_without_dense_nothing_is_asked() -> None:
    no_dense = FOUND.override(scores={arm: by_rate for arm, by_rate in FOUND.scores.items() if arm != "dense"})
    assert tuned_need(no_dense) is None
