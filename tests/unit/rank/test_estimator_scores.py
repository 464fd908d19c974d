"""Estimators held against ranks made by hand."""

import numpy as np
import pytest

from rankscope.base.errors import BadInput
from rankscope.rank.estimator_scores import (
    AS_TUNED,
    NOISE,
    NOMINAL,
    Estimated,
    estimator_scores,
    mean_estimates,
    moves_of,
)


def cell(
    teacher: str,
    nominal: int,
    planted: int,
    nuisance: str = AS_TUNED,
    functional: int | None = None,
    seed: int = 1,
    **says: float,
):
    return Estimated(teacher, nominal, seed, planted, functional, nuisance, says)


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
    cells = [*(cell("a", 8, 2, seed=seed, x=2.0) for seed in (1, 2, 3)), cell("b", 8, 2, x=8.0)]
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
    assert moves_of(cells, "x") == {"half the steps": [1.0, 1.0], NOMINAL: [2.0]}
    (row,) = estimator_scores(cells)
    assert (row.moved_by, row.n_moved) == ({"half the steps": 1.0, NOMINAL: 2.0}, {"half the steps": 2, NOMINAL: 1})


def test_noise_is_a_nuisance_and_hides_no_training_as_tuned() -> None:
    """Rank 32 with noise says 4 where the one as tuned says 16: the move with nominal rank stays 8-fold."""
    cells = [
        cell("a", 8, 2, x=2.0),
        cell("a", 32, 2, x=16.0),
        cell("a", 32, 2, NOISE, x=4.0),
    ]
    assert moves_of(cells, "x") == {NOISE: [2.0], NOMINAL: [3.0]}
    assert moves_of(cells[::-1], "x") == moves_of(cells, "x")


def test_two_adapters_of_one_place_are_refused() -> None:
    cells = [cell("a", 8, 2, x=2.0), cell("a", 8, 2, x=4.0)]
    with pytest.raises(BadInput, match="nominal rank 8, seed 1, of a are both 'as tuned'"):
        estimator_scores(cells)


def test_an_estimator_without_an_answer_is_left_out() -> None:
    spectra = [np.array([1.0]), np.array([3.0])]
    found = mean_estimates(spectra, {"double": lambda s: 2.0 * s[0], "shy": lambda s: None if s[0] == 3 else 1.0})
    assert found == {"double": 4.0}
