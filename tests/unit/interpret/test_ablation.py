"""Ablations against the plainest way of doing them: transformers' own model, its weights changed by hand.

1. Every intervention's KL, exact output and log-probability is that of a model with the changed weights.
2. Taking all sites out is the base; rescaling changes nothing but rounding; a random shift has the update's norm.
3. Below the first changed layer nothing is run again: block calls are counted.
4. Attribution is the derivative by a gate, found by finite differences; over the whole way it sums to the gain.
5. An update that does nothing is below resolution, also by role; one that does is not. What is kept alone is held
   against rounding from the first layer that changes.
6. What the screen says of itself, on rows made by hand.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.engine.variants import Variants
from rankscope.interpret import ablation_cost
from rankscope.interpret import effects as effects_file
from rankscope.interpret.ablation import _check, _screen, ablation
from rankscope.interpret.ablation_cost import estimate_seconds, n_whole_passes
from rankscope.interpret.ablation_records import Ablation, ScreenCheck
from rankscope.interpret.ablation_run import Asked, checking_sites, planned_ablations, single_sites
from rankscope.interpret.attribution import attributed_losses
from rankscope.interpret.effects import effects
from rankscope.interpret.interventions import (
    Intervention,
    averaged,
    kept_only,
    rescaled_factors,
    shifted_at_random,
    without_direction,
    zeroed,
)
from rankscope.interpret.mean_inputs import mean_inputs
from rankscope.interpret.role_masks import RoleMasks
from rankscope.interpret.site_groups import site_groups
from rankscope.lm import decoder
from rankscope.lm.sites import is_transposed, linear_sites, place_of
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.stats.interval import Interval
from rankscope.tasks.catalog import load_role_items
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.roles import RoleTable
from tests.tiny_models import tiny_model, tiny_opt

TASK = "hashhop:mode=trace,lines=8,chains=2,max_length=4,hops=1"
FAMILIES = ("gpt2", "qwen2", "opt")


def model_of(family: str) -> PreTrainedModel:
    """A random model; OPT is one that our decoder does not run."""
    return tiny_opt(n_layers=3) if family == "opt" else tiny_model(family, n_layers=3)


def adapter_on(model: PreTrainedModel, rank: int = 2, seed: int = 0, size: float = 0.4) -> AdapterWeights:
    """Random factors of that rank on every linear map."""
    draw = torch.Generator().manual_seed(seed)
    return AdapterWeights(
        {
            site: Factors(
                torch.randn(rank, n_in, generator=draw) / n_in**0.5,
                torch.randn(n_out, rank, generator=draw) * size,
                0.7,
            )
            for site, (n_out, n_in) in linear_sites(model).items()
        }
    )


@pytest.fixture(scope="module")
def items() -> EncodedItems:
    return role_items()[0]


def role_items() -> tuple[EncodedItems, RoleTable]:
    found, roles = load_role_items(TASK, "test", 12, 0, build_word_tokenizer())
    assert roles is not None
    return found, roles


def by_hand(model: PreTrainedModel, one: Intervention) -> PreTrainedModel:
    """The model with the intervention added to its weights and biases."""
    changed = copy.deepcopy(model)
    for site, factors in one.weights.items():
        weight = changed.get_submodule(site).get_parameter("weight")
        weight.data += factors.delta_OI().T if is_transposed(model, site) else factors.delta_OI()
    for site, offset_O in one.offsets.items():
        module = changed.get_submodule(site)
        bias = getattr(module, "bias", None)
        module.bias = torch.nn.Parameter(offset_O if bias is None else bias.data + offset_O)
    return changed


@torch.no_grad()
def completion_log_probs(model: PreTrainedModel, items: EncodedItems, row: int) -> tuple[Tensor, Tensor]:
    """One item's log-probabilities at its completion, and the gold tokens."""
    n_prompt, n_tokens = int(items.n_prompt_N[row]), int(items.n_tokens_N[row])
    tokens = torch.from_numpy(items.tokens_NT[row : row + 1, :n_tokens].astype(np.int64))
    return model(input_ids=tokens).logits[0, n_prompt - 1 : n_tokens - 1].log_softmax(-1), tokens[0, n_prompt:]


def interventions_on(model: PreTrainedModel, full: AdapterWeights, items: EncodedItems) -> list[Intervention]:
    sites = list(full)
    means = mean_inputs(model, full, items)
    return [
        zeroed(full, sites[-1:]),
        zeroed(full, sites[:2]),
        kept_only(full, sites[3:5]),
        averaged(full, [sites[0], sites[-1]], means),
        shifted_at_random(full, sites[4:5], 1),
        without_direction(full, sites[2], 1),
        zeroed(full, sites),
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_effects_are_those_of_changed_weights(family: str, items: EncodedItems) -> None:
    model = model_of(family)
    full = adapter_on(model)
    changes = interventions_on(model, full, items)
    found = effects(model, full, changes, items, RoleMasks.of(items), batch_size=40)
    whole = by_hand(model, Intervention(full))
    for place, one in enumerate(changes):
        changed = by_hand(model, one)
        for row in range(len(items)):
            before, gold = completion_log_probs(whole, items, row)
            after, _ = completion_log_probs(changed, items, row)
            kl = float((before.exp() * (before - after)).sum(-1).mean())
            assert found.kl_VN[place, row] == pytest.approx(kl, rel=1e-3, abs=2e-6)
            assert found.nats_WN[place + 1, row] == pytest.approx(float(after.gather(1, gold[:, None]).sum()), rel=1e-4)
            assert found.exact_WN[place + 1, row] == bool((after.argmax(-1) == gold).all())


def test_mean_input_is_over_tokens_that_predict_another(items: EncodedItems) -> None:
    model = model_of("qwen2")
    seen: list[Tensor] = []
    full = adapter_on(model)
    whole = by_hand(model, Intervention(full))
    site = "model.layers.1.mlp.down_proj"
    whole.get_submodule(site).register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0][0]))
    for row in range(len(items)):
        whole(input_ids=torch.from_numpy(items.tokens_NT[row : row + 1, : items.n_tokens_N[row] - 1].astype(np.int64)))
    assert torch.allclose(mean_inputs(model, full, items, batch_size=5)[site], torch.cat(seen).mean(0), atol=1e-5)


def test_laws_of_interventions(items: EncodedItems) -> None:
    model = model_of("gpt2")
    full = adapter_on(model)
    site = next(iter(full))
    shift = shifted_at_random(full, [site], 3).weights[site].delta_OI() - full[site].delta_OI()
    assert float(shift.norm()) == pytest.approx(float(full[site].delta_OI().norm()), rel=1e-5)
    again = rescaled_factors(full, list(full), 5)
    assert again.changed(full) == list(full)
    assert torch.allclose(again.weights[site].delta_OI(), full[site].delta_OI(), atol=1e-6)
    assert zeroed(full, [site]).changed(full) == [site]
    kl_VN = effects(model, full, [again, zeroed(full, [site])], items, RoleMasks.of(items)).kl_VN
    assert np.abs(kl_VN[0]).max() < 1e-5 < kl_VN[1].max()
    with pytest.raises(BadInput, match="does not change nowhere"):
        zeroed(full, ["nowhere"])


def test_role_sums_add_up_to_the_whole(items: EncodedItems) -> None:
    found, roles = role_items()
    masks = RoleMasks.of(found, roles)
    model = model_of("qwen2")
    full = adapter_on(model)
    effect = effects(model, full, [zeroed(full, list(full)[:3])], found, masks)
    n_completion_N = found.n_tokens_N - found.n_prompt_N
    for kind in ("section:", "surface:"):
        columns = [place for place, name in enumerate(masks.names) if name.startswith(kind)]
        assert (effect.role_count_NG[:, columns].sum(1) == n_completion_N).all()
        assert np.allclose(effect.role_kl_VNG[0][:, columns].sum(1), effect.kl_VN[0] * n_completion_N)


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_attribution_is_a_derivative(family: str, items: EncodedItems) -> None:
    model = model_of(family)
    full = adapter_on(model, size=0.1)
    site = list(full)[1]
    step = 1e-2

    def nats(gate: float) -> float:
        gated = replace(full[site], B_OR=full[site].B_OR * gate)
        changed = Intervention(AdapterWeights({**full.factors, site: gated}))
        return float(effects(model, full, [changed], items, RoleMasks.of(items)).nats_WN[1].mean())

    slope = (nats(1 + step) - nats(1 - step)) / (2 * step)
    found = attributed_losses(model, full, items, batch_size=5, points=(1.0,))
    assert float(found[site].sum()) == pytest.approx(slope, rel=2e-2, abs=1e-3)


def test_attribution_over_the_whole_way_sums_to_what_the_adapter_brings(items: EncodedItems) -> None:
    model = model_of("gpt2")
    full = adapter_on(model, size=0.1)
    found = effects(model, full, [zeroed(full, list(full))], items, RoleMasks.of(items))
    brought = float((found.nats_WN[0] - found.nats_WN[1]).mean())
    total = sum(float(worth_R.sum()) for worth_R in attributed_losses(model, full, items).values())
    assert total == pytest.approx(brought, rel=0.03)


def test_reading_tells_rounding_from_effect() -> None:
    found, roles = role_items()
    model = model_of("qwen2")
    full = adapter_on(model)
    idle = "model.layers.1.mlp.up_proj"
    full = AdapterWeights({**full.factors, idle: replace(full[idle], B_OR=full[idle].B_OR * 1e-9)})
    reading = ablation(model, [full], found, roles, Asked(directions=True))
    single = {one.name: one for one in reading.of("site")}
    assert len(single) == len(full) == 21
    assert single[idle].below_resolution
    assert not single[idle].significant
    assert not any(one.below_resolution for name, one in single.items() if name != idle)
    assert len(reading.of("direction")) == 42
    assert {one.name for one in reading.of("part")} == {"attention", "MLP"}
    assert [one.name for one in reading.of("layer")] == ["layer 0", "layer 1", "layer 2"]
    assert reading.screen is not None
    assert reading.screen.n == 21
    assert reading.check is None
    assert {one.role for one in reading.roles} >= {"section:trace", "surface:step", "tag:on_path"}
    by_role = {(one.name, one.role): one for one in reading.roles if one.unit == "site" and one.how == "zero"}
    assert {role for (name, role), one in by_role.items() if name == idle and not one.below_resolution} == set()
    assert not any(one.below_resolution for (name, _), one in by_role.items() if name != idle)
    assert all(0 <= (one.p or 0) <= 1 for one in reading.ablations)
    two = ablation(model, [full, adapter_on(model, seed=1)], found, roles, Asked(units=("part",), hows=("zero",)))
    assert two.n_adapters == 2
    assert two.of("part")[0].kl.n_seeds == 2


def test_every_unit_is_ablated_in_every_way_and_kept_parts_are_held_against_the_first_layer_that_changes() -> None:
    found, roles = role_items()
    model = model_of("gpt2")
    reading = ablation(model, [adapter_on(model)], found, roles)
    units = ("part", "block", "kind", "layer", "site")
    assert {(row.unit, row.how) for row in reading.ablations} == {
        (unit, how) for unit in units for how in ("zero", "mean", "keep only")
    }
    out = [row.floor for row in reading.of("layer")]
    assert len(set(out)) == 3
    assert [row.floor for row in reading.of("layer", "keep only")] == [out[1], out[0], out[0]]
    assert {row.floor for row in reading.of("site", "keep only")} == {out[0]}
    assert [row.floor for row in reading.of("layer", "mean")] == out


def test_a_screen_is_checked_by_a_seeded_draw_of_what_it_leaves_out() -> None:
    found, roles = role_items()
    model = model_of("qwen2")
    full = adapter_on(model)
    asked = Asked(units=("site",), most_sites=3, seed=1)
    only = single_sites([attributed_losses(model, full, found)], asked)
    checking = checking_sites(list(full), only, asked)
    assert (len(only), len(checking), set(only) & set(checking)) == (3, 4, set())
    assert checking == checking_sites(list(full), only, asked) != checking_sites(list(full), only, Asked(seed=2))
    assert len(checking_sites(list(full), list(full)[:20], asked)) == 1
    sites = [f"{place}" for place in range(100)]
    assert len(checking_sites(sites, sites[:40], asked)) == 10
    reading = ablation(model, [full], found, roles, asked)
    assert sorted(row.name for row in reading.of("site")) == sorted([*only, *checking])
    assert {row.name for row in reading.of("site", "mean")} == set(only)
    assert reading.check is not None
    costs = {row.name: row.kl.estimate for row in reading.of("site")}
    assert reading.check.kl == max(costs[name] for name in checking) == costs[reading.check.costliest]
    assert reading.check.n_cheaper == sum(costs[name] < reading.check.kl for name in only)


def row(name: str, nats: float, attributed: float | None, kl: float = 0.0, how: str = "zero") -> Ablation:
    """A single site that costs so much."""
    given = {"estimate": nats, "low": nats, "high": nats, "method": "by hand", "n_seeds": 1, "n_items": 2}
    interval = Interval.model_validate(given)
    return Ablation.model_validate(
        {"unit": "site", "name": name, "how": how, "layer": 0, "kind": None, "n_sites": 1, "floor": 0.0,
         "kl": interval.override(estimate=kl), "exact_loss": interval, "nats_loss": interval, "attributed": attributed}
    )  # fmt: skip


def test_what_a_screen_says_of_itself_on_rows_made_by_hand() -> None:
    guessed = [1, 2, 3, 4, 5, 8, 7, 6]  # the last three turned round: squares of differences 4 + 0 + 4
    rows = [row(f"s{at}", float(at), float(guess)) for at, guess in enumerate(guessed)]
    rows += [row("s0", 99.0, None, how="mean")]
    found = _screen(rows)
    assert found is not None
    assert found.n == 8
    assert found.rank_correlation == pytest.approx(1 - 6 * 8 / (8 * 63))
    assert found.share_of_top == 0.5  # s6 and s7 cost most; s5 and s6 are attributed most
    assert _screen(rows[:3]) is None
    flat = _screen([row(f"s{at}", float(at), 1.0) for at in range(4)])
    assert flat is not None
    assert flat.rank_correlation is None


def test_what_a_screen_missed_on_rows_made_by_hand() -> None:
    rows = [row(name, 0.0, 0.0, kl) for name, kl in {"a": 0.5, "b": 0.2, "c": 0.1, "x": 0.3, "y": 0.01}.items()]
    rows += [row("y", 0.0, None, 9.0, how="mean")]
    assert _check(rows, ["x", "y"], 7) == ScreenCheck(
        n_chosen=3, n_left_out=7, n_drawn=2, costliest="x", kl=0.3, n_cheaper=2
    )
    assert _check(rows, [], 0) is None


def test_nothing_is_run_again_below_the_first_changed_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    items, _ = role_items()
    model = model_of("qwen2")
    full = adapter_on(model)
    calls: list[tuple[int, int]] = []
    real = decoder._Run.block

    def counted(run: decoder._Run, layer: int, x: Tensor, kept: decoder.Kept | None) -> Tensor:
        calls.append((layer, 1 if x.ndim == 3 else len(x)))
        return real(run, layer, x, kept)

    monkeypatch.setattr(decoder._Run, "block", counted)
    at = {layer: [site for site in full if place_of(site).layer == layer] for layer in range(3)}
    changes = [zeroed(full, at[2][:1]), kept_only(full, [*at[0], *at[1]]), zeroed(full, at[1][-1:])]
    one = items.take(slice(0, 1))
    effects(model, full, changes, one, RoleMasks.of(one))
    # (layer, residuals that go in): layer 0 once for all, layer 1 for what starts there and below the others.
    assert calls == [(0, 1), (1, 1), (2, 2), (1, 1), (2, 1)]
    calls.clear()
    effects(model, full, [zeroed(full, at[2][:1])] * 8, one, RoleMasks.of(one))  # seven at a time
    assert calls == [(0, 1), (1, 1), (2, 1), (2, 1)]


def test_factors_too_many_to_be_kept_are_made_for_every_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    items, _ = role_items()
    model = model_of("gpt2")
    full = adapter_on(model)
    given = (model, full, [zeroed(full, [site]) for site in full], items, RoleMasks.of(items))
    kept = effects(*given, batch_size=40)
    made: list[int] = []
    real = effects_file._variants

    def counted(base: PreTrainedModel, some: Sequence[Intervention]) -> Variants:
        made.append(len(some))
        return real(base, some)

    monkeypatch.setattr(effects_file, "_variants", counted)
    monkeypatch.setattr(effects_file, "HELD_FACTORS", 0)
    found = effects(*given, batch_size=40)
    assert np.array_equal(found.kl_VN, kept.kl_VN)
    assert made == [5, 5, 5] * 3  # three layers of four sites, three batches of up to five items


def test_rescaling_does_not_round_half_precision() -> None:
    full = adapter_on(model_of("gpt2")).to(torch.bfloat16)
    again = rescaled_factors(full, list(full), 5).weights
    for site, factors in full.items():
        exact_OI = factors.s * (factors.B_OR.double() @ factors.A_RI.double())
        found_OI = again[site].s * (again[site].B_OR.double() @ again[site].A_RI.double())
        assert float((found_OI - exact_OI).norm() / exact_OI.norm()) < 1e-6
        assert not torch.equal(again[site].A_RI, factors.A_RI.float())


def test_the_time_is_that_of_a_measured_pass_times_what_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    items, _ = role_items()
    model = model_of("qwen2")
    full = adapter_on(model)
    asked = Asked(units=("layer",), hows=("zero",))
    plans = planned_ablations(full, list(full), asked)
    whole = (1 + 20 + 7) * (1 + 2 / 3 + 1 / 3)  # ablation, rescalings and 7 shifts of each of three layers
    assert n_whole_passes(model, full, plans) == pytest.approx(whole)
    assert n_whole_passes(model_of("opt"), full, plans) == pytest.approx(3 * (1 + 20 + 7))
    monkeypatch.setattr(ablation_cost, "seconds", lambda run, device: (run(), 14.0)[1])
    share = items.n_tokens_N.sum() / items.n_tokens_N[np.linspace(0, 11, 8).astype(int)].sum()
    assert estimate_seconds(model, [full, full], items, asked) == pytest.approx(2 * share * 2.0 * (whole + 9))


def test_places_and_groups() -> None:
    assert place_of("transformer.h.3.attn.c_proj").kind == "attn.c_proj"
    assert place_of("model.layers.11.self_attn.q_proj").layer == 11
    assert place_of("model.layers.11.self_attn.q_proj").part == "attention"
    assert place_of("lm_head") == place_of("lm_head")
    assert place_of("lm_head").layer is None
    sites = [f"model.layers.{layer}.{kind}" for layer in range(20) for kind in ("self_attn.q_proj", "mlp.up_proj")]
    assert [one.name for one in site_groups(sites, "block")][:2] == ["layers 0-2", "layers 3-5"]
    assert [one.name for one in site_groups(sites, "kind")] == ["self_attn.q_proj", "mlp.up_proj"]
    assert len(site_groups(sites, "layer")) == 20
