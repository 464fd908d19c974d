"""The calibration table on repeats whose truth and sets are made by hand."""

import numpy as np
import pytest

from rankscope.rank.calibration import (
    Planted,
    Repeat,
    calibration_row,
    functional_words,
    needed_rank,
    null_row,
    oracle_rank,
    totals,
    trained_truth,
)
from rankscope.rank.records import FunctionalRank, RequiredRank
from rankscope.rank.required import required_rank


def functional(*by_seed: int) -> FunctionalRank:
    return FunctionalRank(arm="rank 8", q=0.9, no_gain=False, median=None, by_seed=by_seed, low=None, high=None)


def repeat(
    low: int | None,
    high: int | None,
    truth: int = 2,
    dense_share: float = 0.99,
    found: int = 2,
    oracle: int | None = None,
) -> Repeat:
    by_rank = dict.fromkeys((1, 2, 4, 8), "undecided")
    required = RequiredRank(q=0.9, verdict="estimated", low=low, high=high, by_rank=by_rank, contrast={}, sentence="")
    return Repeat(
        planted=Planted(2),
        oracle=oracle or truth,
        truth=truth,
        dense_share=dense_share,
        required=required,
        functional=functional(found, found),
    )


def test_the_oracle_needs_the_fewest_directions_that_keep_q():
    gains = {0: 0.0, 1: 0.6, 2: 0.9, 3: 0.99, 4: 1.0}
    assert [oracle_rank(gains, 1.0, q) for q in (0.5, 0.9, 0.95, 1.0)] == [1, 2, 3, 4]


def test_a_truth_between_trained_ranks_counts_as_the_larger():
    assert [trained_truth(truth, (1, 2, 4, 8)) for truth in (1, 2, 3, 5, 8)] == [1, 2, 4, 8, 8]


def test_a_truth_past_the_largest_trained_rank_is_what_a_set_says_that_excludes_them_all():
    """Dense gains 1, ranks 1 and 2 next to nothing: the set begins at 3, and so does the truth."""
    noise_3SN = np.random.default_rng(0).normal(0, 0.01, (3, 5, 20))
    excluded = required_rank({1: noise_3SN[0], 2: noise_3SN[1]}, 1 + noise_3SN[2], None, np.zeros(20))
    assert (excluded.low, excluded.high) == (3, None)
    assert [trained_truth(truth, (2, 1)) for truth in (2, 3, 16)] == [2, 3, 3]
    past = [repeat(*ends, truth=9, oracle=16) for ends in ((9, None), (2, None), (8, 8))]
    assert [one.covered_by_cut for one in past] == [one.covered for one in past] == [True, True, False]


def test_the_needed_rank_goes_down_while_the_best_update_keeps_q_and_asks_no_further():
    """Cut, 6 of 8 directions are needed, so 8 of the ranks trained; the best update keeps .9 at 4, and not at 2."""
    gains = {0: 0.0, 1: 0.1, 2: 0.3, 3: 0.5, 4: 0.7, 5: 1.79, 6: 1.8, 7: 1.9, 8: 2.0}
    asked = []

    def best_gain(rank: int) -> float:
        asked.append(rank)
        return {4: 1.8, 2: 1.79, 1: 1.99}[rank]

    assert needed_rank(gains, best_gain, (1, 2, 4, 8, 16), 0.9) == 4
    assert asked == [4, 2]
    assert needed_rank(gains, {4: 1.79}.__getitem__, (1, 2, 4, 8, 16), 0.9) == 8
    assert needed_rank(gains, {4: 1.9, 2: 1.9, 1: 1.9}.__getitem__, (1, 2, 4, 8, 16), 0.9) == 1
    assert needed_rank({0: 0.0, 1: 1.0}, {}.__getitem__, (1, 2, 4), 0.9) == 1
    # In between trained ranks the larger one counts: 6 directions are needed, and 7 is trained.
    assert needed_rank(gains, {3: 1.0}.__getitem__, (3, 7, 8), 0.9) == 7
    # Where 8 diverged: one past 4, unless the best update of 4 suffices.
    assert needed_rank(gains, {4: 1.79}.__getitem__, (1, 2, 4), 0.9) == 5
    assert needed_rank(gains, {4: 1.8, 2: 1.79}.__getitem__, (1, 2, 4), 0.9) == 4


def test_both_truths_are_counted_side_by_side():
    """The cut needs 3 directions, so 4 of the ranks trained; the best update needs 2."""
    repeats = [repeat(2, 2, oracle=3), repeat(2, 4, oracle=3), repeat(4, 8, oracle=3)]
    assert [one.covered for one in repeats] == [True, True, False]
    assert [one.covered_by_cut for one in repeats] == [False, True, True]
    row = calibration_row([*repeats, repeat(4, 4, oracle=3, dense_share=0.9)], largest=8)
    assert (row.n_judged, row.covered, row.covered_by_cut) == (3, 2, 2)
    assert row.by_cut_low == pytest.approx(0.0943, abs=1e-4)
    assert row.oracle_ranks == (3, 3, 3)
    assert row.needed_ranks == (2, 2, 2)


def test_totals_are_of_planted_updates_and_need_every_row_for_the_cut():
    rows = [calibration_row([repeat(2, 2), repeat(4, 4)], 8), calibration_row([repeat(2, 2, oracle=3)], 8)]
    found = totals([*rows, null_row(functional(0, 0, 0))])
    assert (found.n_repeats, found.n_judged, found.covered, found.covered_by_cut) == (3, 3, 2, 1)
    assert (found.n_functional, found.functional_within_one) == (6, 6)
    assert found.interval == pytest.approx((0.0943, 0.9916), abs=1e-4)
    older = totals([rows[0], rows[1].override(covered_by_cut=None)])
    assert (older.covered, older.covered_by_cut, older.by_cut_interval) == (2, None, None)
    assert totals([]).interval is None


@pytest.mark.parametrize(
    ("low", "high", "covered"),
    [(2, 2, True), (1, 4, True), (None, 2, True), (2, None, True), (None, None, True), (4, 4, False), (1, 1, False)],
)
def test_a_set_covers_a_truth_within_its_ends(low, high, covered):
    assert repeat(low, high).covered == covered


@pytest.mark.parametrize(
    ("low", "high", "doublings"), [(2, 2, 0), (1, 4, 2), (None, 8, 3), (4, None, 2), (None, None, 4), (9, None, 0.830)]
)
def test_width_in_doublings_with_open_ends_one_doubling_past_the_ranks(low, high, doublings):
    assert repeat(low, high).doublings(largest=8) == pytest.approx(doublings, abs=1e-3)


def test_repeats_whose_dense_training_failed_are_shown_apart():
    repeats = [repeat(2, 2), repeat(4, 8, found=4), repeat(1, 2, found=3), repeat(8, 8, dense_share=0.979, found=7)]
    row = calibration_row(repeats, largest=8, note="Made by hand.")
    assert (row.truth, row.n_repeats, row.n_judged, row.covered) == ("planted rank 2", 4, 3, 2)
    # Two of three: the exact 95 % ends solve P(X >= 2) = 0.025 and P(X <= 2) = 0.025 (the latter p^3 = 0.975).
    assert row.coverage_low == pytest.approx(0.0943, abs=1e-4)
    assert row.coverage_high == pytest.approx(0.975 ** (1 / 3), abs=1e-9)
    assert row.median_doublings == 1
    assert row.functional_rank == "2 (2 of 6), 3 (2 of 6), 4 (2 of 6)"
    assert (row.functional_within_one, row.n_functional) == (4, 6)
    assert row.oracle_ranks == (2, 2, 2)
    assert row.note == ("Made by hand. 1 of 4 repeats not judged: dense training stayed under 98 % of the exact gain.")


def test_exactly_98_percent_is_judged():
    assert repeat(2, 2, dense_share=0.98).judged
    assert calibration_row([repeat(2, 2, dense_share=0.98)], 8).note == ""


def test_nothing_judged_is_no_coverage_rather_than_none_covered():
    row = calibration_row([repeat(2, 2, dense_share=0.5)], largest=8)
    assert (row.n_judged, row.coverage_low, row.coverage_high, row.median_doublings) == (0, None, None, None)


def test_shuffled_labels_count_the_seeds_at_rank_0():
    row = null_row(functional(0, 0, 1))
    assert (row.n_repeats, row.covered, row.coverage_low) == (3, 2, None)
    assert row.functional_rank == functional_words([functional(0, 0, 1)]) == "0 (2 of 3), 1 (1 of 3)"


def test_a_line_says_what_was_planted():
    assert Planted(4).words == "planted rank 4"
    told = Planted(2, "0.7", ("a", "b"), "16 tokens").words
    assert told == "planted rank 2, each 0.7 times as strong as the one before, 2 sites, targets of 16 tokens"
