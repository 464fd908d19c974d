"""Functional rank on curves worked out by hand, and truncations of a small adapter on a tiny base."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hand_items import random_items
from tiny_models import tiny_model
from transformers import PreTrainedModel

from rankscope.adapters.attach import attached
from rankscope.adapters.truncate import bottom, global_budget, random_subspace, rescaled, truncated
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.base.seeds import stream_seed
from rankscope.evals.teacher_forced import completion_log_probs, score_teacher_forced
from rankscope.rank.functional import (
    SingularAdapter,
    TruncationCurve,
    direction_information,
    functional_rank,
    has_gain,
    k_grid,
    median_interval,
    smallest_budgets,
    truncation_curve,
    truncation_curves,
)
from rankscope.rank.records import CONTROLS

SITES = ("transformer.h.0.mlp.c_proj", "transformer.h.1.mlp.c_proj")


def adapter(rank: int = 3, size: float = 0.5) -> AdapterWeights:
    noise = torch.Generator().manual_seed(4)
    return AdapterWeights(
        {
            site: Factors(size * torch.randn(rank, 64, generator=noise), torch.randn(16, rank, generator=noise), 0.5)
            for site in SITES
        }
    )


def curve(means: list[list[float]], n_items: int = 100) -> TruncationCurve:
    """A curve whose seeds have these means at k = 0, 1, ...; the first items are the right ones."""
    shares = np.array(means)[:, :, None]
    return TruncationCurve(tuple(range(shares.shape[1])), (np.arange(n_items) < shares * n_items).astype(float))


def test_smallest_k_from_which_every_larger_k_keeps_q() -> None:
    dips = curve([[0, 0.76, 0.5, 0.74, 0.8], [0, 0.1, 0.75, 0.75, 0.8]])
    assert smallest_budgets(dips, np.zeros(100), 0.9).tolist() == [3, 2]
    assert smallest_budgets(dips, np.zeros(100), 0.95).tolist() == [4, 4]


def test_gain_counts_from_the_reference() -> None:
    # Above a reference of 0.5 the gain is 0.3: 0.76 keeps 0.26 of it (87 %), 0.78 keeps 93 %.
    above = curve([[0.5, 0.76, 0.78, 0.8]])
    reference = (np.arange(100) < 50).astype(float)
    assert smallest_budgets(above, reference, 0.9).tolist() == [2]
    assert smallest_budgets(above, np.zeros(100), 0.9).tolist() == [1]


def test_no_gain_is_rank_0() -> None:
    flat = curve([[0.04, 0.05, 0.06]] * 3)
    found = functional_rank("rank 2", {"energy": flat}, np.full(100, 0.04), 0.9)
    assert (found.no_gain, found.median, found.by_seed) == (True, 0, (0, 0, 0))
    assert all(point.share_of_gain is None for point in found.curve)


def test_perfect_shares_are_not_certain_but_other_constants_are_constant() -> None:
    ends = {
        point.k: (point.score.low, point.score.high)
        for point in functional_rank("a", {"energy": curve([[0, 0.5, 1.0]] * 5)}, np.zeros(100)).curve
    }
    assert ends[0] == (0.0, pytest.approx(1 - 0.025 ** (1 / 100)))
    assert ends[2] == (pytest.approx(0.025 ** (1 / 100)), 1.0)
    nats = TruncationCurve((0, 1), np.tile(np.array([-2.0, -0.5])[None, :, None], (5, 1, 100)))
    found = functional_rank("a", {"energy": nats}, np.full(100, -2.0))
    assert [(point.score.low, point.score.high) for point in found.curve] == [(-2.0, -2.0), (-0.5, -0.5)]


def test_gain_bound_over_items() -> None:
    # 100 items: mean 0.05 has standard error 0.0219 and bound 0.0065; mean 0.03 has 0.0171 and -0.004.
    gains = np.stack([(np.arange(100) < 5), (np.arange(100) < 3), np.zeros(100)]).astype(float)
    assert has_gain(gains).tolist() == [True, False, False]


def test_interval_needs_five_seeds() -> None:
    one = [0, 0.5, 0.9, 0.9]
    two = [0, 0.9, 0.9, 0.9]
    four = functional_rank("a", {"energy": curve([one, two] * 2)}, np.zeros(100))
    five = functional_rank("a", {"energy": curve([one, two, one, two, one])}, np.zeros(100))
    assert (four.low, four.high, four.median) == (None, None, 1.5)
    assert (five.low, five.high, five.median) == (1, 2, 2)


def test_median_interval_is_between_order_statistics() -> None:
    assert median_interval([3, 1, 2, 5, 4, 6]) == (1, 6)
    assert median_interval([9, 8, 7, 6, 5, 4, 3, 2, 1]) == (2, 8)
    assert median_interval(list(range(1, 21))) == (6, 15)


def test_global_budget_and_controls_stand_beside() -> None:
    energy, budget = curve([[0, 0.5, 0.9, 1.0]]), curve([[0, 0.95, 1.0, 1.0]])
    found = functional_rank("a", {"energy": energy, "global": budget}, np.zeros(100))
    assert (found.by_seed, found.global_mean, found.global_by_seed) == ((2,), 1.0, (1.0,))
    assert [(p.control, p.k, p.share_of_gain) for p in found.curve][:3] == [
        ("energy", 0, 0.0),
        ("energy", 1, 0.5),
        ("energy", 2, 0.9),
    ]
    assert len(found.curve) == 8


def test_grid_is_every_k_or_powers_of_two() -> None:
    assert k_grid(3) == (0, 1, 2, 3)
    assert k_grid(16) == tuple(range(17))
    assert k_grid(17) == (*range(9), 10, 12, 14, 16, 17)
    assert k_grid(48) == (*range(9), 10, 12, 14, 16, 20, 24, 28, 32, 40, 48)
    assert k_grid(64) == (*range(9), 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)


def test_bad_curves_are_refused() -> None:
    good = curve([[0, 1.0]])
    with pytest.raises(BadInput, match="`energy`"):
        functional_rank("a", {"global": good}, np.zeros(100))
    with pytest.raises(BadInput, match="from 0"):
        functional_rank("a", {"energy": replace(good, ks=(1, 2))}, np.zeros(100))
    with pytest.raises(BadInput, match="shape"):
        functional_rank("a", {"energy": good}, np.zeros(99))
    with pytest.raises(BadInput, match="share of the gain"):
        functional_rank("a", {"energy": good}, np.zeros(100), 1.5)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_model("gpt2")


def test_cuts_of_the_cores_are_cuts_of_the_adapter() -> None:
    weights = adapter(4)
    svd = SingularAdapter.of(weights)
    seed = stream_seed("truncation", 5, 1)
    for k in range(1, 4):
        for control, plain in {
            "energy": truncated(weights, k),
            "bottom": bottom(weights, k),
            "rescaled": rescaled(weights, k),
            "global": global_budget(weights, k),
        }.items():
            for site, factors in svd.cut(control, k).items():
                torch.testing.assert_close(factors.delta_OI(), plain[site].delta_OI(), rtol=1e-4, atol=1e-5)
        drawn, plain = svd.cut("random", k, 5, 1), random_subspace(weights, k, seed)
        for site, factors in drawn.items():
            values = torch.linalg.svdvals(factors.delta_OI())
            torch.testing.assert_close(values, torch.linalg.svdvals(plain[site].delta_OI()), rtol=1e-4, atol=1e-4)
            assert int((values > 1e-4).sum()) == k


def test_curves_run_from_the_base_to_the_whole_adapter(model: PreTrainedModel) -> None:
    items, weights = random_items(0, 6), adapter()
    frame = truncation_curves(model, weights, items, controls=CONTROLS, order_on=random_items(1, 5), n_draws=2)
    base = score_teacher_forced(model, items)
    with attached(model, weights):
        whole = score_teacher_forced(model, items)
    with attached(model, truncated(weights, 2)):
        two = score_teacher_forced(model, items)
    for control in CONTROLS:
        found = truncation_curve([frame], control, "nats")
        assert found.ks == (0, 1, 2, 3)
        assert found.scores_SKN[0, 0].tolist() == pytest.approx(base["nats"].to_list(), rel=1e-5)
        at_whole = found.scores_SKN[0, 3].tolist() == pytest.approx(whole["nats"].to_list(), rel=1e-5)
        assert at_whole == (control != "noise"), "noise of the adapter's norm is another update even at full rank"
    energy = truncation_curve([frame, frame], "energy", "nats")
    assert energy.scores_SKN.shape == (2, 4, 6)
    assert energy.scores_SKN[1, 2].tolist() == pytest.approx(two["nats"].to_list(), rel=1e-4)
    draws = frame.filter((pl.col("control") == "random") & (pl.col("k") == 1))
    assert draws["draw"].unique().sort().to_list() == [0, 1]
    averaged = truncation_curve([frame], "random", "nats").scores_SKN[0, 1]
    assert averaged.tolist() == pytest.approx(draws["nats"].to_numpy().reshape(2, 6).mean(0), rel=1e-6)
    assert score_teacher_forced(model, items).equals(base)


def test_fisher_information_is_the_mean_squared_finite_difference(model: PreTrainedModel) -> None:
    items, weights, step = random_items(2, 8), adapter(), 1e-2
    information = direction_information(model, weights, items, batch_size=3)
    svd = SingularAdapter.of(weights)
    for site in SITES:
        for direction in range(3):
            shifted = []
            for sign in (1, -1):
                U, S, V = svd.parts[site]
                gate = torch.ones(3, dtype=torch.float64)
                gate[direction] += sign * step
                factors = Factors(V.float(), (U * (S * gate)).float(), 1.0)
                with attached(model, AdapterWeights({**weights, site: factors})):
                    shifted.append(score_teacher_forced(model, items)["nats"].to_numpy().astype(float))
            slope_N = (shifted[0] - shifted[1]) / (2 * step)
            assert float(information[site][direction]) == pytest.approx((slope_N**2).mean(), rel=0.05, abs=1e-3)


def test_planted_scores_find_the_planted_rank(model: PreTrainedModel) -> None:
    """A student that is the teacher's rank-2 update plus a little noise needs two of its four directions."""
    items = replace(random_items(3, 30, traces=False), objective="distill")
    planted = adapter(2, size=1.0)
    noise = adapter(4, size=0.002)
    student = AdapterWeights(
        {
            site: Factors(
                torch.cat([planted[site].A_RI, noise[site].A_RI[:2]]),
                torch.cat([planted[site].B_OR, noise[site].B_OR[:, :2]], dim=1),
                0.5,
            )
            for site in SITES
        }
    )
    with attached(model, planted):
        teacher = completion_log_probs(model, items)
    frame = truncation_curves(model, student, items, controls=("energy", "bottom", "fisher"), teacher=teacher,
                              order_on=items)  # fmt: skip
    base_N = score_teacher_forced(model, items, teacher=teacher)["nats"].to_numpy().astype(float)
    curves = {name: truncation_curve([frame], name, "nats") for name in ("energy", "bottom", "fisher")}
    found = functional_rank("rank 4", curves, base_N, q=0.9)
    assert found.by_seed == (2,)
    assert smallest_budgets(curves["fisher"], base_N, 0.9).tolist() == [2]
    assert smallest_budgets(curves["bottom"], base_N, 0.9).tolist() == [4]


def test_fisher_needs_items_of_its_own(model: PreTrainedModel) -> None:
    with pytest.raises(BadInput, match="order_on"):
        truncation_curves(model, adapter(), random_items(0, 2), controls=("fisher",))


def test_seeds_must_be_scored_alike(model: PreTrainedModel) -> None:
    frames = [truncation_curves(model, adapter(), random_items(0, n), controls=("energy",)) for n in (2, 3)]
    with pytest.raises(BadInput, match="differ in their budgets or items"):
        truncation_curve(frames, "energy", "nats")
    with pytest.raises(BadInput, match="`random`"):
        truncation_curve(frames[:1], "random", "nats")
