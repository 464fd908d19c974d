"""Estimators held against ranks made by hand."""

import numpy as np
import pytest

from rankscope.rank.estimator_scores import AS_TUNED, NOMINAL, Estimated, estimator_scores, mean_estimates, moved_by


def cell(
    teacher: str, nominal: int, planted: int, nuisance: str = AS_TUNED, functional: int | None = None, **says: float
):
    return Estimated(teacher, nominal, 1, planted, functional, nuisance, says)


def test_error_bias_and_order() -> None:
    """`good` is right but once, by a factor of 2; `bad` says 16 always, 8 and 2 times too much."""
    cells = [
        cell("a", 16, 2, good=2.0, bad=16.0),
        cell("b", 16, 8, good=16.0, bad=16.0),
        cell("c", 1, 8, good=1.0, bad=1.0),
    ]
    good, bad = estimator_scores(cells)
    assert (good.estimator, bad.estimator) == ("good", "bad")
    assert (good.n_cells, good.error_doublings.estimate, good.bias_doublings) == (2, 0.5, 0.5)
    assert (bad.error_doublings.estimate, bad.bias_doublings) == (2.0, 2.0)
    assert good.correlation == pytest.approx(1.0)
    assert bad.correlation is None


def test_teachers_count_alike_however_many_adapters_they_have() -> None:
    cells = [cell("a", 8, 2, x=2.0)] * 3 + [cell("b", 8, 2, x=8.0)]
    assert estimator_scores(cells)[0].error_doublings.estimate == 1.0


def test_functional_ranks_of_no_gain_are_no_target() -> None:
    cells = [cell("a", 8, 2, functional=0, x=2.0), cell("b", 8, 2, functional=4, x=2.0)]
    by_target = {row.target: row for row in estimator_scores(cells)}
    assert (by_target["planted"].n_cells, by_target["functional"].n_cells) == (2, 1)
    assert by_target["functional"].bias_doublings == -1


def test_nuisances_are_held_against_the_same_teacher_as_tuned() -> None:
    cells = [
        cell("a", 8, 2, x=2.0),
        cell("a", 32, 2, x=8.0),
        cell("a", 8, 2, "half the steps", x=4.0),
        cell("a", 32, 2, "half the steps", x=4.0),
        cell("b", 8, 2, "half the steps", x=64.0),
    ]
    assert moved_by(cells, "x") == {"half the steps": 1.0, NOMINAL: 2.0}


def test_an_estimator_without_an_answer_is_left_out() -> None:
    spectra = [np.array([1.0]), np.array([3.0])]
    found = mean_estimates(spectra, {"double": lambda s: 2.0 * s[0], "shy": lambda s: None if s[0] == 3 else 1.0})
    assert found == {"double": 4.0}
