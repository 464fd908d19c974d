"""The calibration's tables from its two files, made by hand."""

from pathlib import Path

import pytest
from calibration_makers import RANKS, oracle, repeat, skill, teacher

from rankscope.base.errors import BadFile
from rankscope.rank.calibration_records import (
    ESTIMATES,
    ORACLE,
    calibration_rows,
    read_estimates,
    read_oracle,
    recomputed,
    truths,
    write_estimates,
    write_oracle,
)
from rankscope.rank.estimator_scores import AS_TUNED, NOISE, Estimated, estimator_scores

ONE = teacher("t1", [0.4, 0.8, 0.95, 1.0], best={2: 0.91, 1: 0.5})
"""Cut, 3 of its directions are needed, so 4 of the ranks trained; the best update needs 2."""
TWO = teacher("t2", [1.0, 1.1, 1.8, 2.0], best={2: 1.7})
"""Cut, 3 are needed; the best update of rank 2 falls short, so 4 of the ranks trained."""
FOUND = (
    skill("a", ends=(2, 2), dense=0.99, ranks=(3, 2, 5)),
    skill("b", ends=(2, 4), dense=1.96, ranks=(3, 3, 4)),
    skill("c", ends=(4, 4), dense=0.97, ranks=(1, 1, 1)),
    skill("a, noise", ends=(1, 1), dense=1.0, ranks=(4, 4, 4)),
    skill("shuffled", mode="null", ranks=(0, 0, 1)),
)
TRUTH = oracle(
    ONE,
    TWO,
    repeat("a", "t1", 3, 2),
    repeat("b", "t2", 3, 4),
    repeat("c", "t1", 3, 2),
    repeat("a, noise", "t1", 3, 2, "64 tokens drawn"),
)


def adapters() -> list[Estimated]:
    return [
        Estimated("t1", 4, 1, 3, 3, AS_TUNED, {"x": 3.0, "y": 1 / 3}),
        Estimated("t1", 4, 1, 3, None, NOISE, {"x": 6.0}),
        Estimated("t2", 4, 1, 3, 0, AS_TUNED, {"x": 1.5, "z": 12.0}),
    ]


def test_rows_count_each_repeat_against_the_truth_of_its_teacher() -> None:
    plain, noisy, null = calibration_rows(TRUTH, FOUND)
    assert (plain.truth, noisy.truth) == ("planted rank 4", "planted rank 4, targets of 64 tokens drawn")
    # c's dense training stays at 97 % of the exact gain; b's reaches 98 %, which is enough.
    assert (plain.n_repeats, plain.n_judged) == (3, 2)
    assert (plain.oracle_ranks, plain.needed_ranks) == ((3, 3), (2, 4))
    assert (plain.covered, plain.covered_by_cut) == (2, 1)
    assert plain.median_doublings == 0.5
    assert (plain.n_functional, plain.functional_within_one) == (6, 5)
    assert (noisy.covered, noisy.covered_by_cut, noisy.needed_ranks) == (0, 0, (2,))
    assert (null.planted_k, null.functional_rank) == (None, "0 (2 of 3), 1 (1 of 3)")


def test_the_truth_goes_by_cut_and_best_gains() -> None:
    assert truths(ONE, RANKS, 0.9) == (3, 2)
    assert truths(TWO, RANKS, 0.9) == (3, 4)
    assert truths(ONE, RANKS, 0.95) == (3, 4)
    with pytest.raises(BadFile, match="lack the gain of the best update of rank 2"):
        truths(teacher("t3", [0.4, 0.8, 0.95]), RANKS, 0.9)


def test_what_is_written_gives_the_same_rows_again(tmp_path: Path) -> None:
    write_oracle(tmp_path, TRUTH)
    write_estimates(tmp_path, adapters())
    assert read_oracle(tmp_path) == TRUTH
    assert read_estimates(tmp_path) == adapters()
    assert recomputed(tmp_path, FOUND) == (calibration_rows(TRUTH, FOUND), estimator_scores(adapters()))
    by_name = {(row.estimator, row.target): row for row in recomputed(tmp_path, FOUND)[1]}
    x = by_name["x", "planted"]
    # t1 is right once and double once, t2 is half: teachers average to 0.5 and 1.
    assert (x.n_cells, x.error_doublings.estimate, x.moved_by) == (3, 0.75, {NOISE: 1.0})
    assert by_name["x", "functional"].n_cells == 1


def test_files_that_were_edited_or_are_of_another_study_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=ORACLE):
        read_oracle(tmp_path)
    with pytest.raises(BadFile, match=ESTIMATES):
        read_estimates(tmp_path)
    write_oracle(tmp_path, oracle(ONE, repeat("a", "t1", 3, 4)))
    with pytest.raises(BadFile, match=r"says \(3, 4\) of planted/a, but its gains give \(3, 2\)"):
        read_oracle(tmp_path)
    write_oracle(tmp_path, oracle(ONE, repeat("b", "t2", 3, 4)))
    with pytest.raises(BadFile, match="no gains of t2"):
        read_oracle(tmp_path)
    with pytest.raises(BadFile, match="lack planted/b, planted/c"):
        calibration_rows(TRUTH, (FOUND[0], FOUND[3]))
