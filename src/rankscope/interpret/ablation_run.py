"""Which ablations are made, and what each adapter's give: effects, rounding, random shifts, all in shared passes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.truncate import n_directions
from rankscope.adapters.weights import AdapterWeights
from rankscope.interpret.ablation_records import How
from rankscope.interpret.effects import Effects, Tell, effects
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
from rankscope.interpret.site_groups import UNITS, Unit, site_groups
from rankscope.lm.sites import place_of
from rankscope.tasks.encoded import EncodedItems

FLOOR_DRAWS, FLOOR_QUANTILE = 20, 0.99
RANDOM_DRAWS = 3
"""Random shifts per ablation; their mean is compared."""
HELD_AT_MEAN: tuple[Unit, ...] = ("part", "site")
KEPT_ALONE: tuple[Unit, ...] = ("part", "kind", "layer", "site")


@dataclass(frozen=True)
class Asked:
    """Which ablations are made."""

    units: tuple[Unit, ...] = UNITS
    hows: tuple[How, ...] = ("zero", "mean", "keep only")
    directions: bool = False
    """Single directions too, where any site has several."""
    most_sites: int | None = None
    """Only so many single sites, those that cost most by first-order attribution; None is all."""
    random_draws: int = RANDOM_DRAWS
    seed: int = 0


@dataclass(frozen=True)
class Planned:
    """One ablation, of any adapter with these sites."""

    unit: str
    name: str
    how: How
    sites: tuple[str, ...]
    direction: int | None = None

    def of(self, full: AdapterWeights, means: Mapping[str, Tensor]) -> Intervention:
        """The ablation of that adapter."""
        if self.direction is not None:
            return without_direction(full, self.sites[0], self.direction)
        if self.how == "mean":
            return averaged(full, self.sites, means)
        return (kept_only if self.how == "keep only" else zeroed)(full, self.sites)

    @property
    def lowest_layer(self) -> int | None:
        """The first layer that holds any of the sites, as far as paths tell."""
        layers = [layer for site in self.sites if (layer := place_of(site).layer) is not None]
        return min(layers, default=None)


def planned_ablations(adapter: AdapterWeights, single: Sequence[str], asked: Asked) -> list[Planned]:
    """Groups of sites by every unit asked for, single sites only if they are among `single`; then directions."""
    sites = [site for site, factors in adapter.items() if factors.rank > 0]
    plans = [
        Planned(unit, group.name, how, group.sites)
        for unit in asked.units
        for group in site_groups(sites, unit)
        for how in asked.hows
        if unit in {"zero": UNITS, "mean": HELD_AT_MEAN, "keep only": KEPT_ALONE}[how]
        and (unit != "site" or group.sites[0] in single)
        and not (how == "keep only" and len(group.sites) == len(sites))
    ]
    if asked.directions and any(n_directions(adapter[site]) > 1 for site in sites):
        plans += [
            Planned("direction", f"{site} #{index}", "zero", (site,), index)
            for site in single
            for index in range(n_directions(adapter[site]))
        ]
    return plans


@dataclass(frozen=True)
class Measured:
    """One adapter's effects of V planned ablations."""

    effects: Effects
    floor_V: Float[np.ndarray, " V"]
    """KL that is rounding, from the first layer of each on."""
    random_kl_VN: Float[np.ndarray, "V N"]
    """Mean KL of random shifts of the same size at the same place; NaN where none was drawn."""


def measure(
    model: PreTrainedModel,
    full: AdapterWeights,
    items: EncodedItems,
    masks: RoleMasks,
    plans: Sequence[Planned],
    asked: Asked,
    tell: Tell | None = None,
) -> Measured:
    """Runs the plans, 20 rescalings of every layer, and random shifts for whatever is taken out."""
    means = mean_inputs(model, full, items) if any(plan.how == "mean" for plan in plans) else {}
    layers = sorted({plan.lowest_layer for plan in plans}, key=lambda layer: -1 if layer is None else layer)
    shifted = [place for place, plan in enumerate(plans) if plan.how == "zero" and plan.direction is None]
    rescalings = [
        rescaled_factors(full, _of_layer(full, layer), draw) for layer in layers for draw in range(FLOOR_DRAWS)
    ]
    shifts = [
        shifted_at_random(full, plans[place].sites, asked.seed + draw)
        for place in shifted
        for draw in range(asked.random_draws)
    ]
    n_plans, n_floors = len(plans), len(rescalings)
    found = effects(
        model, full, [*(plan.of(full, means) for plan in plans), *rescalings, *shifts], items, masks, tell=tell
    )
    drawn_LF = np.abs(found.kl_VN[n_plans : n_plans + n_floors].mean(1)).reshape(len(layers), FLOOR_DRAWS)
    floors = dict(zip(layers, np.quantile(drawn_LF, FLOOR_QUANTILE, axis=1, method="higher"), strict=True))
    random_kl_VN = np.full((n_plans, len(items)), np.nan)
    if shifts:
        of_shift = found.kl_VN[n_plans + n_floors :].reshape(len(shifted), asked.random_draws, len(items))
        random_kl_VN[shifted] = of_shift.mean(1)
    return Measured(
        effects=found.first(n_plans),
        floor_V=np.array([floors[plan.lowest_layer] for plan in plans]),
        random_kl_VN=random_kl_VN,
    )


def _of_layer(full: AdapterWeights, layer: int | None) -> list[str]:
    """The layer's sites."""
    return [site for site, factors in full.items() if factors.rank > 0 and place_of(site).layer == layer]


def single_sites(guesses: Sequence[Mapping[str, Tensor]], asked: Asked) -> list[str]:
    """Every site, or those that cost most by first-order attribution (sum over directions, mean over adapters)."""
    worth = {site: float(np.mean([abs(float(guess[site].sum())) for guess in guesses])) for site in guesses[0]}
    most = sorted(worth, key=lambda site: -worth[site])[: asked.most_sites]
    return [site for site in worth if site in set(most)]


def role_sums(found: Sequence[Effects]) -> Iterator[tuple[int, int, float, int]]:
    """(ablation, role, KL per token of that role, tokens) over all adapters, for roles that any token has."""
    count_G = sum(one.role_count_NG.sum(0) for one in found)
    kl_VG = sum(one.role_kl_VNG.sum(1) for one in found)
    for place, kl_G in enumerate(kl_VG):
        for role, kl in enumerate(kl_G):
            if count_G[role]:
                yield place, role, float(kl / count_G[role]), int(count_G[role]) // len(found)
