"""Significance: an update that is itself a random draw of its norm rarely is, one aligned with what the model uses is.

1. By numbers alone: chances of updates that are draws keep 5 %, where the interval over items alone does not.
2. On a model: random updates against one along the site's mean input, into the direction that the head reads most.
3. The excess is the KL less the mean KL of the shifts, worked out here from the shifts themselves.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from rankscope.adapters.truncate import directions
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.interpret.ablation import ablation
from rankscope.interpret.ablation_chance import family_chances, p_over_cells, p_over_draws
from rankscope.interpret.ablation_run import Asked, _shift_seed, draws_of, measure, planned_ablations
from rankscope.interpret.effects import effects
from rankscope.interpret.interventions import shifted_in_direction
from rankscope.interpret.mean_inputs import mean_inputs
from rankscope.interpret.role_masks import RoleMasks
from tests.unit.interpret.test_ablation import adapter_on, model_of, role_items

SITES = Asked(units=("site",), hows=("zero",))


def most_by_chance(n: int) -> int:
    """How many of n p-values are at most 5 % at the most, by a binomial bound of one in a thousand."""
    return int(stats.binom.ppf(0.999, n, 0.05))


def test_draws_are_judged_as_worked_out_by_hand():
    random_FSK = np.exp(np.array([[[0.0, 0.0, 3.0]]]))  # mean 1, variance 3: the error is root of 3 x 4 / 3
    kl_FS, no_floor_FS = np.exp(np.array([[5.0]])), np.zeros((1, 1))
    assert p_over_draws(kl_FS, random_FSK, no_floor_FS) == pytest.approx(stats.t.sf((5 - 1) / 2, 2))
    twice = (np.repeat(one, 2, axis=1) for one in (kl_FS, random_FSK, no_floor_FS))
    assert p_over_draws(*twice) == pytest.approx(stats.t.sf(2 * np.sqrt(2), 4))


def test_shifts_below_resolution_can_only_be_fewer():
    random_FSK, floor_FS = np.full((2, 1, 4), 1e-9), np.full((2, 1), 1e-6)
    assert p_over_draws(np.array([[1.0], [1e-8]]), random_FSK, floor_FS).tolist() == [1 / 9, 1.0]


def test_an_update_that_is_a_draw_is_rarely_significant_on_however_many_items():
    random = np.random.default_rng(0)
    by_items, by_both = [], []
    for _ in range(10):
        size_FK = random.chisquare(2, (20, 1)) * random.chisquare(1, (20, 4)) * random.chisquare(4, (20, 4))
        kl_FKN = size_FK[..., None] * random.gamma(4, 0.25, (20, 4, 60))
        kl, shifts = list(kl_FKN[:, :1]), list(kl_FKN[:, None, 1:])
        by_items += [p_over_cells(one - some.mean(1)) for one, some in zip(kl, shifts, strict=True)]
        by_both += family_chances(kl, shifts, [np.zeros(1)] * 20)
    n, most = len(by_both), most_by_chance(len(by_both))
    assert sum(p <= 0.05 for p in by_both) <= most < n / 8
    assert sum(p <= 0.05 for p in by_items) > 2 * most


def test_on_a_model_random_updates_are_rarely_significant():
    items, _ = role_items()
    model = model_of("qwen2")
    chances = []
    for seed in (11, 12):
        full = adapter_on(model, rank=2, seed=seed)
        plans = planned_ablations(full, list(full), SITES)
        found = measure(model, full, items, RoleMasks.of(items), plans, SITES)
        kl, shifts = list(found.effects.kl_VN[:, None]), [found.random_kl[place][None] for place in range(len(plans))]
        chances += family_chances(kl, shifts, list(found.floor_V[:, None]))
    assert len(chances) == 42
    assert sum(p <= 0.05 for p in chances) <= most_by_chance(42)


def test_an_update_along_what_the_model_uses_is_significant_and_random_ones_of_its_norm_are_not():
    items, roles = role_items()
    model = model_of("qwen2")
    full = adapter_on(model, rank=1)
    site = "model.layers.2.mlp.down_proj"
    along_I = mean_inputs(model, full, items)[site]
    read_D = torch.linalg.svd(model.get_output_embeddings().weight.data, full_matrices=False)[2][0]
    norm = float(full[site].delta_OI().norm())
    aligned = Factors((along_I / along_I.norm())[None], read_D[:, None] * norm, 1.0)
    reading = ablation(model, [AdapterWeights({**full.factors, site: aligned})], items, roles, SITES)
    assert len(reading.of("site")) == 21
    assert [row.name for row in reading.of("site") if row.significant] == [site]


def test_the_excess_is_the_kl_less_the_mean_kl_of_the_shifts():
    items, roles = role_items()
    model = model_of("gpt2")
    full = adapter_on(model)
    plans = planned_ablations(full, list(full), asked := Asked(units=("part",), hows=("zero",), seed=4))
    reading = ablation(model, [full], items, roles, asked)
    for plan, row in zip(plans, reading.of("part"), strict=True):
        shifts = [plan.shifted(full, _shift_seed(4, 0, plan, draw)) for draw in range(10)]  # 20 for two parts
        kl_VN = effects(model, full, [plan.of(full, {}), *shifts], items, RoleMasks.of(items)).kl_VN
        assert row.kl.estimate == pytest.approx(kl_VN[0].mean(), rel=1e-4)
        assert row.random_kl == pytest.approx(kl_VN[1:].mean(), rel=1e-4)
        assert row.excess.estimate == pytest.approx(row.kl.estimate - row.random_kl, rel=1e-9)
        half = stats.t.ppf(0.975, len(items) - 1) * (kl_VN[0] - kl_VN[1:].mean(0)).std(ddof=1) / np.sqrt(len(items))
        assert row.excess.high - row.excess.estimate == pytest.approx(half, rel=1e-3)


def test_a_direction_is_held_against_one_random_direction_of_its_size():
    model = model_of("gpt2")
    full = adapter_on(model, rank=3)
    site = list(full)[2]
    sizes_R = directions(full[site]).S_R
    for index in range(3):
        changed = shifted_in_direction(full, site, index, seed=index)
        added = changed.weights[site].delta_OI() - full[site].delta_OI()
        assert changed.changed(full) == [site]
        assert torch.linalg.svdvals(added)[:2].tolist() == pytest.approx([float(sizes_R[index]), 0], rel=1e-4, abs=1e-5)
    items, roles = role_items()
    reading = ablation(model, [full], items, roles, replace(SITES, directions=True))
    rows = reading.of("direction")
    assert len(rows) == 36
    assert all(row.p is not None and row.random_kl is not None and row.excess is not None for row in rows)


def test_small_families_get_more_draws_and_every_ablation_its_own():
    model = model_of("gpt2")
    full = adapter_on(model)
    plans = planned_ablations(full, list(full), Asked())
    draws = draws_of(plans)
    assert {plans[place].how for place in draws} == {"zero"}
    n = {unit: {k for place, k in draws.items() if plans[place].unit == unit} for unit in ("part", "layer", "site")}
    assert n == {"part": {10}, "layer": {7}, "site": {3}}
    of = [(seed, member, draw) for seed in (0, 1) for member in (0, 1) for draw in (0, 1)]
    seeds = [_shift_seed(seed, member, plans[place], draw) for place in draws for seed, member, draw in of]
    assert len(set(seeds)) == len(seeds)
