from functools import partial

import pytest

from rankscope.report import calibration_tables, rank_tables, rate_tables, score_tables

TABLES = (
    rank_tables.rank_table,
    rank_tables.sufficiency_table,
    rank_tables.analysed_table,
    rank_tables.spectral_table,
    rank_tables.recovery_table,
    calibration_tables.calibration_table,
    calibration_tables.simulated_table,
    calibration_tables.null_table,
    rate_tables.fixed_rate_table,
    rate_tables.one_rate_table,
    partial(calibration_tables.estimator_table, target="planted", of="planted update"),
)


@pytest.fixture(scope="module")
def findings(made_up):
    return made_up.example()


@pytest.mark.parametrize("make", TABLES)
def test_every_row_fills_every_column_and_every_blank_says_why(make, findings):
    table = make(findings)
    keys = {column.key for column in table.columns}
    assert table.rows
    assert all(set(row) == keys for row in table.rows)
    assert all(cell.title for row in table.rows for cell in row.values() if cell.missing)


def test_rank_table_shows_set_verdict_functional_seeds_and_nominal_rank(findings):
    row = next(r for r in rank_tables.rank_table(findings).rows if r["skill"].csv == "HashChain · matched")
    assert (row["required 0.9"].text, row["required 0.9"].badge) == ("[8, 16]", "underpowered")
    assert "About 6 more seeds" in row["required 0.9"].title
    assert row["functional 0.9"].detail == "seeds: 2, 2, 3"
    assert row["functional 0.95"].text == "3"
    assert row["nominal"].text == "32"
    assert row["spectral stable rank"].text == "4.80 of 32"
    assert row["size"].title == "800 steps of 128 items, each seen once"


def test_rank_table_marks_no_gain_as_zero_and_unasked_as_missing(findings):
    null = next(r for r in rank_tables.rank_table(findings).rows if r["skill"].detail == "null")
    assert (null["functional 0.9"].text, null["functional 0.9"].badge) == ("0", "no gain")
    assert (null["required 0.9"].missing, null["required 0.9"].badge) == (True, "no headroom")
    assert null["functional 0.95"].missing


def test_recovery_gives_a_ratio_or_the_refusal(findings):
    rows = rank_tables.recovery_table(findings).rows
    refused = next(r for r in rows if r["skill"].detail == "null")
    assert refused["ratio"].missing
    assert refused["ratio"].title == refused["why"].text
    assert "divide by noise" in refused["why"].text
    top = next(r for r in rows if r["skill"].csv == "HashHop · trace" and r["arm"].text == "rank 32")
    assert top["ratio"].text == "100.0"
    assert top["ratio"].high == "106"


def test_calibration_coverage_and_a_row_that_could_not_be_judged(findings):
    first, _, unjudged, shuffled = calibration_tables.calibration_table(findings).rows
    assert (first["coverage"].text, first["coverage"].detail) == ("11 of 11", "[71.5, 100.0]")
    assert (first["coverage"].csv, first["coverage"].low) == ("100", "71.5")
    assert unjudged["coverage"].missing
    assert unjudged["width"].missing
    assert shuffled["functional"].text == "0 (all 6)"


def test_score_table_starts_with_chance_and_base_and_shows_missing_scores_as_dashes(findings):
    skill = next(s for s in findings.skills if s.name == "HashHop" and s.mode == "matched")
    chance, base, first, *_ = score_tables.score_table(skill).rows
    assert chance["forced_choice"].text == "25.0"
    assert base["score"].text == "0.0"
    assert base["answer_correct"].missing
    assert first["forced_choice"].missing
    assert first["score"].detail.startswith("[")
    assert first["cells"].csv.count(" ") == 2


def test_a_fixed_rate_shows_the_need_that_it_would_have_shown(findings):
    """At .01 both ranks were tried: rank 2 has all of dense's gain, rank 1 has not; at .02 rank 1 diverged."""
    (row,) = rate_tables.fixed_rate_table(findings).rows
    assert row["skill"].csv == "HashHop (matched) and 1 more"
    assert (row["at-0.01"].csv, row["at-0.02"].missing, row["tuned"].csv) == ("2", True, "2")


def test_need_at_one_rate_stands_beside_the_tuned_one(findings):
    (row,) = rate_tables.one_rate_table(findings).rows
    assert (row["skill"].csv, row["rate"].csv, row["ranks"].text) == (
        "HashChain · matched",
        "0.01",
        "1, 2, 4, 8, 16, 32",
    )
    assert row["size"].text.endswith("500 items")
    assert (row["one"].csv, row["tuned"].csv) == ("16 (underpowered)", "[8, 16] (underpowered)")
