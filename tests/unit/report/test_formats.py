import pytest

from rankscope.rank.records import RequiredRank
from rankscope.report import formats
from rankscope.stats.interval import Interval


def interval(estimate, low, high, seeds=3):
    return Interval(
        estimate=estimate, low=low, high=high, method="crossed t", n_seeds=seeds, n_items=500, by_seed=(0.1,)
    )


def required(low, high, verdict="estimated"):
    by_rank = {1: "insufficient", 32: "insufficient"}
    return RequiredRank(q=0.9, verdict=verdict, low=low, high=high, by_rank=by_rank, contrast={}, sentence="s")


@pytest.mark.parametrize(
    ("low", "high", "verdict", "text"),
    [
        (4, 8, "estimated", "[4, 8]"),
        (8, 8, "estimated", "8"),
        (None, 1, "censored below", "≤ 1"),
        (16, None, "underpowered", "≥ 16"),
        (None, None, "underpowered", None),
        (None, None, "not reached", "not bounded"),
        (16, None, "not reached", "≥ 16"),
    ],
)
def test_rank_sets_read_as_sets(low, high, verdict, text):
    assert formats.rank_set(required(low, high, verdict)) == text


def test_interval_cell_carries_ends_seeds_items_and_csv_values():
    cell = formats.interval_cell(interval(0.342, 0.281, 0.403), formats.percent, "why")
    assert (cell.text, cell.detail) == ("34.2", "[28.1, 40.3]")
    assert (cell.csv, cell.low, cell.high) == ("34.2", "28.1", "40.3")
    assert "3 seeds × 500 items" in cell.title
    assert "95% interval" in cell.title


def test_open_end_is_a_dash_and_two_open_ends_are_no_interval():
    assert formats.span_text(interval(0.3, None, 0.4), formats.percent) == "[–, 40.0]"
    assert formats.span_text(interval(0.3, None, None), formats.percent) == "no interval"
    assert formats.interval_cell(interval(0.3, None, 0.4), formats.percent, "why").low == ""


def test_missing_is_a_dash_with_its_reason_and_an_empty_csv_value():
    cell = formats.interval_cell(None, formats.percent, "never measured")
    assert (cell.text, cell.title, cell.csv, cell.missing) == ("–", "never measured", "", True)


@pytest.mark.parametrize(
    ("x", "text"),
    [(0, "0"), (-2.41, "−2.41"), (0.01234, "0.0123"), (123.4, "123"), (-0.00001, "0.0000"), (1.0, "1.00")],
)
def test_plain_numbers(x, text):
    assert formats.plain(x) == text


def test_learning_rates():
    assert [formats.rate(x) for x in (3e-3, 2.5e-4, 0.01)] == ["3e−3", "2.5e−4", "1e−2"]
