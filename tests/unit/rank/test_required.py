import itertools

import numpy as np
import pytest

from rankscope.base.errors import BadInput
from rankscope.rank.recovery import recovery
from rankscope.rank.required import gain_interval, rank_ratio, reference_scores, required_rank

N = 400


def _scores(mean, n_seeds=5, spread=0.004, noise=0.05, seed=0):
    """Continuous scores of one arm around a mean, paired by seed and item through a common seed."""
    random = np.random.default_rng(seed)
    seeds_S1, cells_SN = random.standard_normal((n_seeds, 1)), random.standard_normal((n_seeds, N))
    return mean + spread * seeds_S1 + noise * cells_SN


def _found(means, dense=0.9, full=None, **options):
    ranks = {r: _scores(mean, seed=r, **options.get("arm", {})) for r, mean in means.items()}
    like = options.pop("arm", {})
    full_SN = None if full is None else _scores(full, seed=98, **like)
    return required_rank(ranks, _scores(dense, seed=99, **like), full_SN, np.full(N, 0.1), 0.9, **options)


def test_estimated_between_trained_ranks():
    found = _found({1: 0.3, 2: 0.5, 4: 0.88, 8: 0.9})
    assert (found.verdict, found.low, found.high) == ("estimated", 4, 4)
    assert found.by_rank == {1: "insufficient", 2: "insufficient", 4: "sufficient", 8: "sufficient"}
    assert found.contrast[2].estimate == pytest.approx(0.5 - 0.9 * 0.9 - 0.1 * 0.1, abs=0.02)
    assert found.sentence == "The rank that reaches 90% of dense's gain is 4 (95% set)."
    assert found.seeds_missing is None


@pytest.mark.parametrize(
    ("means", "options", "verdict", "ends"),
    [
        ({2: 0.88, 4: 0.9}, {}, "censored below", (None, 2)),
        ({1: 0.88, 2: 0.9}, {}, "estimated", (1, 1)),
        ({1: 0.2, 2: 0.3}, {}, "not reached", (3, None)),
        ({1: 0.82, 2: 0.3}, {}, "underpowered", (1, None)),
        ({1: 0.2, 2: 0.88}, {"full": 1.2}, "placement-limited", (2, 2)),
        ({1: 0.2, 2: 0.88}, {"full": 0.9, "not_converged": True}, "not converged", (2, 2)),
        ({1: 0.1, 2: 0.1}, {"dense": 0.1}, "no headroom", (None, None)),
        ({1: 0.2, 2: 0.88}, {"arm": {"n_seeds": 3}}, "underpowered", (2, 2)),
        ({1: 0.2, 2: 0.83}, {"arm": {"spread": 0.06}}, "underpowered", (2, None)),
        ({2: 0.2, 4: 0.88}, {"arm": {"n_seeds": 1}}, "underpowered", (None, None)),
    ],
)
def test_verdicts(means, options, verdict, ends):
    found = _found(means, **options)
    assert (found.verdict, (found.low, found.high)) == (verdict, ends)
    assert found.sentence.endswith(".")


def test_one_seed_has_no_interval_and_says_what_its_scores_show():
    one = {"arm": {"n_seeds": 1}}
    assert "without an interval. By its scores rank 2 is the smallest" in _found({1: 0.2, 2: 0.88}, **one).sentence
    assert "By its scores no rank reaches 90% of dense's gain." in _found({1: 0.2, 2: 0.3}, **one).sentence
    nothing = _found({1: 0.0, 2: 0.0}, dense=0.0, **one)
    assert "dense training gains" in nothing.sentence
    assert (nothing.low, nothing.high) == (None, None)


def test_underpowered_says_how_many_seeds_are_missing():
    assert _found({1: 0.2, 2: 0.88}, arm={"n_seeds": 3}).seeds_missing == 2
    open_set = _found({1: 0.2, 2: 0.84}, arm={"spread": 0.03})
    assert open_set.by_rank[2] == "undecided"
    assert open_set.seeds_missing is not None
    assert f"About {open_set.seeds_missing} more seed" in open_set.sentence


def test_kl_in_nats_needs_no_other_rule():
    base_N = np.full(N, -2.0)
    ranks = {1: _scores(-1.0), 2: _scores(-0.1, seed=1), 4: _scores(-0.02, seed=2)}
    found = required_rank(ranks, _scores(-0.01, seed=3), None, base_N, 0.9)
    assert (found.verdict, found.low, found.high) == ("estimated", 2, 2)


def test_the_reference_is_the_larger_of_two_means():
    base_N, chance_N = np.array([True, False, False, False]), np.full(4, 0.3)
    assert reference_scores(base_N, chance_N).tolist() == [0.3] * 4
    assert reference_scores(base_N, np.full(4, 0.2)).tolist() == [1, 0, 0, 0]
    assert gain_interval(np.ones((2, 4)), reference_scores(base_N, None)).estimate == 0.75


def test_arms_that_do_not_pair_are_refused():
    with pytest.raises(BadInput, match="same seeds and items"):
        required_rank({1: np.ones((5, 3))}, np.ones((4, 3)), None, np.zeros(3))
    with pytest.raises(BadInput, match="at least one trained rank"):
        required_rank({}, np.ones((4, 3)), None, np.zeros(3))


def test_ratios_take_one_sided_sets():
    four = _found({1: 0.3, 2: 0.5, 4: 0.88, 8: 0.9})
    two = _found({1: 0.3, 2: 0.88, 4: 0.9})
    censored, unreached = _found({2: 0.89, 4: 0.9}), _found({1: 0.2, 2: 0.3})
    ratio = rank_ratio(four, two)
    assert (ratio.estimate, ratio.low, ratio.high) == (2, 1.5, 2)
    assert ratio.level == pytest.approx(0.9)
    assert (rank_ratio(four, censored).low, rank_ratio(four, censored).high) == (1.5, None)
    assert (rank_ratio(unreached, four).low, rank_ratio(unreached, four).high) == (0.75, None)


def test_a_need_of_one_is_bounded_from_both_sides():
    """Rank 0 gains nothing, so where rank 1 suffices the need is 1: {2} over {1} is 2, at every level."""
    two = _found({1: 0.3, 2: 0.88, 4: 0.9})
    for level in (0.01, 0.5, 0.95):
        one = _found({1: 0.88, 2: 0.89, 4: 0.9}, level=level)
        ratio = rank_ratio(two, one)
        assert (one.low, one.high, ratio.low, ratio.high) == (1, 1, 2, 2)


def test_dense_that_still_improves_makes_the_place_a_limit_at_this_budget_alone():
    for improving, told in ((True, "was still improving when its budget ended: at this budget"), (False, "gain: the")):
        found = _found({1: 0.2, 2: 0.88}, full=1.2, not_converged=improving)
        assert found.verdict == "placement-limited"
        assert told in found.sentence


def test_ratios_leave_open_the_needs_between_trained_ranks():
    four = _found({1: 0.3, 2: 0.5, 4: 0.88, 8: 0.9})
    eight = _found({1: 0.3, 2: 0.4, 4: 0.5, 8: 0.88})
    same, double = rank_ratio(four, four), rank_ratio(eight, four)
    assert (same.low, same.high) == (3 / 4, 4 / 3)
    assert (double.low, double.high) == (5 / 4, 8 / 3)
    assert (double.estimate, same.estimate) == (2, 1)


@pytest.mark.parametrize(("n_seeds", "verdict"), [(5, "no headroom"), (12, "no headroom"), (3, "underpowered")])
def test_where_nothing_is_gained_no_rank_suffices(n_seeds, verdict):
    zero_SN = np.zeros((n_seeds, 50))
    found = required_rank({1: zero_SN, 4: zero_SN}, zero_SN, None, np.zeros(50), 0.9)
    assert (found.verdict, found.low, found.high) == (verdict, None, None)
    assert found.by_rank == {1: "undecided", 4: "undecided"}
    assert "ense training gains 0, not clearly more than nothing" in found.sentence
    assert "reaches" not in found.sentence


def test_perfect_scores_suffice():
    perfect_SN, base_N = np.ones((5, 50)), np.zeros(50)
    found = required_rank({1: perfect_SN * 0, 4: perfect_SN}, perfect_SN, None, base_N, 0.9)
    assert found.by_rank == {1: "insufficient", 4: "sufficient"}
    assert (found.contrast[4].low, found.contrast[4].high) == pytest.approx((0.1, 0.1))
    assert (found.verdict, found.low, found.high) == ("estimated", 4, 4)


def test_recovery_is_not_clipped_and_is_refused_without_a_gain_to_share():
    reference_N = np.full(N, 0.1)
    found = recovery(_scores(1.0, seed=1), _scores(0.9, seed=2), reference_N, "rank 4")
    assert found.refused is None
    assert found.ratio.estimate == pytest.approx(0.9 / 0.8, abs=0.02)
    assert 1 < found.ratio.low < found.ratio.estimate < found.ratio.high
    assert found.contrast.estimate == pytest.approx(0.9 - 0.9 * 0.8, abs=0.02)
    small = recovery(_scores(0.11, seed=1), _scores(0.115, seed=2), reference_N, "rank 4")
    assert small.ratio is None
    assert "99 % lower bound" in small.refused
    assert "One seed" in recovery(_scores(1.0, 1), _scores(0.9, 1), reference_N, "rank 4").refused


def test_an_undecided_rank_says_what_its_seeds_could_see():
    found = _found({1: 0.3, 2: 0.82, 4: 0.9})
    assert found.by_rank[2] == "undecided"
    told = found.resolution[2]
    contrast = found.contrast[2]
    assert set(found.resolution) == {r for r, verdict in found.by_rank.items() if verdict == "undecided"}
    assert (told.n_seeds, told.seen) == (contrast.n_seeds, pytest.approx(contrast.estimate))
    # The detectable contrast is the interval's half width with the quantile of 80 % power added to its own.
    assert told.detectable > contrast.high - contrast.estimate > abs(told.seen)
    assert found.seeds_missing == told.more_seeds
    assert required_rank({1: np.ones((1, 9)) * 0.5}, np.ones((1, 9)), None, np.zeros(9)).resolution == {}


def test_sets_grow_with_the_level():
    """So that the smallest error at which a rule decides is a p-value."""
    ranks = {1: _scores(0.6), 2: _scores(0.8, seed=1), 4: _scores(0.82, seed=2), 8: _scores(0.9, seed=3)}
    sets = [
        required_rank(ranks, _scores(0.9, seed=4), None, np.zeros(N), level=level)
        for level in (0.01, 0.5, 0.9, 0.99, 0.9999)
    ]
    decided = [{r for r, verdict in one.by_rank.items() if verdict != "undecided"} for one in sets]
    assert all(wider <= narrower for narrower, wider in itertools.pairwise(decided))
    assert len(decided[0]) > len(decided[-1])


def test_an_adapter_right_on_no_item_may_still_recover_what_its_items_can_not_exclude():
    """Five seeds right on none of 200 items: 1 - .025^(1/200) = 1.83 % of a full gain of 1 is not excluded."""
    nothing, everything = np.zeros((5, 200)), np.ones((5, 200))
    found = recovery(nothing, everything, np.zeros(200), "rank 1").ratio
    assert (found.estimate, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 200))
    whole = recovery(everything, everything, np.zeros(200), "rank 1").ratio
    assert (whole.estimate, whole.high) == (1, 1)
    assert whole.low == pytest.approx(0.025 ** (1 / 200))
