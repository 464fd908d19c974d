"""What is read off hand-made truncations, and the sentences made from it."""

import numpy as np
import polars as pl
import pytest

from rankscope.rank.adapter_reading import adapter_reading, order_lead
from rankscope.rank.functional import TruncationCurve
from rankscope.report.adapter_words import NOT_REQUIRED, ORDER_IS_IDLE, conclusion

N_ITEMS = 200


def frame(ks=(0, 1, 2, 4), nats=(-9.0, -6.0, -1.0, -1.0), **right):
    """Truncations of one adapter; per control the number of items right at each k, `energy` where none is given."""
    right = {"energy": (0, 100, 190, 200)} | right
    parts = [
        pl.DataFrame(
            {
                "control": control,
                "k": pl.Series([k] * N_ITEMS, dtype=pl.Int32),
                "draw": pl.Series([0] * N_ITEMS, dtype=pl.Int32),
                "item": range(N_ITEMS),
                "exact_output": np.arange(N_ITEMS) < n_right,
                "nats": np.full(N_ITEMS, nat) + np.linspace(-0.1, 0.1, N_ITEMS),
            }
        )
        for control, counts in right.items()
        for k, n_right, nat in zip(ks, counts, nats, strict=True)
    ]
    return pl.concat(parts)


def read(*frames, columns=("exact_output", "nats"), guess_N=None, nominal=4, numerical=4):
    return adapter_reading(frames, columns, (0.9, 0.95), guess_N, nominal, numerical)


def words(reading):
    said = conclusion(reading)
    return " ".join(said.says), " ".join(said.leaves_open)


def test_both_scores_are_read_and_exact_output_comes_first():
    found = read(frame())
    exact, nats = found.scores
    assert (exact.score, nats.score) == ("exact_output", "nats")
    assert [one.by_seed for one in exact.functional] == [(2,), (2,)]
    assert (exact.over_items[1][0].low, exact.over_items[1][0].high) == (2, 4)
    assert [one.by_seed for one in nats.functional] == [(2,), (2,)]
    assert (nats.over_items[0][0].low, nats.over_items[0][0].high) == (2, 2)
    assert (exact.base, exact.whole, exact.gain[0].estimate) == (0.0, (1.0,), 1.0)
    assert found.ks == (0, 1, 2, 4)
    says, leaves_open = words(found)
    assert "By exact output, the adapter keeps 90% of its own gain with the 2 largest of its 4 directions" in says
    assert "By log-probability it is 2." in says
    assert NOT_REQUIRED in leaves_open
    assert "over items only" in leaves_open


def test_without_a_gain_in_exact_output_the_log_probability_is_primary():
    found = read(frame(energy=(0, 0, 0, 0)))
    assert found.primary.score == "nats"
    says, _ = words(found)
    assert says.startswith("By log-probability, the adapter keeps 90%")
    assert "By exact output: no gain on 200 test items (0.0%, base 0.0%; gain 0.0% [-1.8%, 1.8%])." in says


@pytest.mark.parametrize("n_right", [0, 1, 2, 3, 4, 5, 19, 20])
@pytest.mark.parametrize("base_right", [0, 1])
def test_the_interval_of_the_gain_and_the_functional_rank_say_the_same(n_right, base_right):
    """Where a base has nothing right, one item right would by an exact interval of a share be a gain."""
    few = frame(ks=(0, 1), energy=(base_right, n_right), nats=(-9.0, -9.0)).filter(pl.col("item") < 20)
    found = read(few, columns=("exact_output",), nominal=1).primary
    (gain,) = found.gain
    assert found.gains == (gain.low > 0) == (n_right >= 4 + base_right)
    assert (found.over_items[0][0] is not None) == found.gains
    assert gain.low <= gain.estimate <= gain.high
    assert gain.high > 0


def test_three_items_of_twenty_are_no_gain_and_its_interval_holds_0():
    few = frame(energy=(0, 1, 3, 3), nats=(-2.0, -2.0, -2.0, -2.0)).filter(pl.col("item") < 20)
    says, _ = words(read(few))
    assert "By exact output: no gain on 20 test items (15.0%, base 0.0%; gain 15.0% [-2.1%, 32.1%])." in says


def test_no_gain_at_all_says_so_and_nothing_about_rank():
    says, leaves_open = words(read(frame(energy=(10, 10, 10, 10), nats=(-2.0, -2.0, -2.0, -2.0))))
    assert "By exact output: no gain" in says
    assert "By log-probability: no gain" in says
    assert "is 0 by rule" in leaves_open
    assert "another base than the adapter was trained on" in leaves_open
    assert NOT_REQUIRED not in leaves_open


def test_an_adapter_that_harms_is_named_worse():
    says, _ = words(read(frame(energy=(100, 50, 20, 10), nats=(-2.0, -3.0, -4.0, -5.0))))
    assert "By exact output: worse than its base" in says
    assert "(5.0%, base 50.0%; gain -45.0% [" in says
    assert "By log-probability: worse than its base" in says


def test_guessing_raises_the_reference_of_exact_output_alone():
    found = read(frame(energy=(20, 60, 110, 120)), guess_N=np.full(N_ITEMS, 0.5))
    assert [score.reference for score in found.scores] == [pytest.approx(0.5), pytest.approx(-9.0)]
    assert found.scores[0].gain[0].estimate == pytest.approx(0.1)


def test_an_adapter_that_can_not_be_cut_is_censored():
    says, _ = words(read(frame(energy=(0, 50, 100, 200), ks=(0, 1, 2, 3)), nominal=3))
    assert "only with all of its 3 directions per site" in says
    assert "Its nominal rank is the limit (censored)" in says


def test_one_direction_is_nothing_to_cut():
    says, _ = words(read(frame(ks=(0, 1), energy=(0, 200), nats=(-9.0, -1.0)), nominal=1))
    assert "there is nothing to cut" in says


def test_a_rank_on_the_coarse_grid_is_an_upper_end():
    says, _ = words(read(frame(ks=(0, 8, 16, 24), energy=(0, 100, 200, 200)), nominal=24))
    assert "Nothing between 8 and 16 was tried: 16 is the upper end of 9 to 16." in says
    says, _ = words(read(frame(ks=(0, 8, 16, 24), energy=(0, 100, 150, 200)), nominal=24))
    assert "only with more than 16 of its 24 directions per site. Nothing between 16 and 24 was tried" in says
    assert "censored" not in says
    assert "upper end" not in words(read(frame()))[0]


def test_planted_skills_have_nats_alone():
    says, _ = words(read(frame(), columns=("nats",)))
    assert says == (
        "By -KL(teacher || model), the adapter keeps 90% of its own gain with the 2 largest of its 4 directions per "
        "site: functional rank 2."
    )


def test_several_adapters_have_an_interval_over_seeds_from_five_on():
    one, two = frame(), frame(energy=(0, 190, 200, 200))
    says, leaves_open = words(read(one, two))
    assert "2 adapters of nominal rank 4 keep 90% of their own gains with the 2 and 1 largest" in says
    assert "functional rank 1.5 (median)" in says
    assert "Fewer than 5 trainings" in leaves_open
    found = read(one, two, one, one, one)
    assert (found.primary.functional[0].low, found.primary.functional[0].high) == (1, 2)
    assert "Over seeds, the median lies in 1 to 2 (93.75% interval, 5 trainings)." in words(found)[1]


def test_a_budget_over_all_sites_is_named_where_it_saves_directions():
    saved = "Allotted over all sites by energy, 1 per site on average keep as much."
    assert saved in words(read(frame(**{"global": (0, 190, 200, 200)})))[0]
    assert "Allotted" not in words(read(frame(**{"global": (0, 100, 190, 200)})))[0]


def test_random_directions_as_good_as_the_largest_are_warned_about():
    assert ORDER_IS_IDLE in words(read(frame(random=(0, 100, 190, 200))))[1]
    clear = read(frame(random=(0, 20, 80, 200)))
    assert clear.primary.order_tells is True
    assert ORDER_IS_IDLE not in words(clear)[1]
    assert "not shown to keep more" not in words(clear)[1]


def test_a_lead_that_few_items_can_not_show_is_not_called_none():
    """Of 12 items 3 more at one of two cuts."""
    few = frame(energy=(0, 6, 12, 12), random=(0, 3, 12, 12)).filter(pl.col("item") < 12)
    found = read(few, columns=("exact_output",))
    assert found.primary.order_tells is False
    said = words(found)[1]
    assert ORDER_IS_IDLE not in said
    assert (
        "With 12 items the directions with the largest singular values are not shown to keep more than random" in said
    )
    assert "they are ahead by 12.5% [-1.9%, 26.9%]." in said


def test_random_directions_that_are_ahead_are_warned_about():
    found = read(frame(random=(0, 195, 200, 200)), columns=("exact_output",))
    assert ORDER_IS_IDLE in words(found)[1]


def test_a_cut_to_the_whole_update_says_nothing_about_order():
    scores = np.ones((1, 3, 50))
    same = {name: TruncationCurve((0, 1, 2), scores) for name in ("energy", "random")}
    assert order_lead(same, 1, 1) is None
    assert order_lead(same, 1, 2).high == 0
    assert order_lead({"energy": same["energy"]}, 1, 2) is None


def test_few_items_are_said_to_be_few():
    few = frame().filter(pl.col("item") % 4 == 0)
    assert "With 50 items all of this is rough" in words(read(few))[1]
