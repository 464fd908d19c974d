"""Which ablations are made, and what each adapter's give: effects, rounding, random shifts, all in shared passes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.truncate import n_directions
from rankscope.adapters.weights import AdapterWeights
from rankscope.base.seeds import numpy_stream, stream_seed
from rankscope.capture.recorder import roles_hash
from rankscope.interpret.ablation_records import AblationSubject, How
from rankscope.interpret.effects import Effects, Tell, effects
from rankscope.interpret.interventions import (
    Intervention,
    averaged,
    kept_only,
    rescaled_factors,
    shifted_at_random,
    shifted_in_direction,
    without_direction,
    zeroed,
)
from rankscope.interpret.mean_inputs import mean_inputs
from rankscope.interpret.role_masks import RoleMasks
from rankscope.interpret.site_groups import UNITS, Unit, site_groups
from rankscope.lm.bases import Base
from rankscope.lm.sites import place_of
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.roles import RoleTable

FLOOR_DRAWS, FLOOR_QUANTILE = 20, 0.99
LEAST_DRAWS, FAMILY_DRAWS = 3, 20
"""Random shifts of each ablation, and of all ablations of a unit together, at least: what they differ by is pooled."""
LEAST_CHECKED = 4
"""Of the sites that a screen leaves out, so many at least are taken out too, to check it."""


@dataclass(frozen=True)
class Asked:
    """Which ablations are made."""

    units: tuple[Unit, ...] = UNITS
    hows: tuple[How, ...] = ("zero", "mean", "keep only")
    directions: bool = False
    """Single directions too, where any site has several."""
    most_sites: int | None = None
    """Only so many single sites, those that cost most by first-order attribution; None is all."""
    seed: int = 0
    """Of random shifts, and of the sites that check a screen."""


def subject_of(
    base: Base, adapters: Sequence[AdapterWeights], items: EncodedItems, roles: RoleTable | None, asked: Asked
) -> AblationSubject:
    """What ablations are of: hashes of all that they follow from, and what was asked."""
    return AblationSubject(
        base_hash=base.content_hash,
        adapter_hashes=tuple(adapter.content_hash for adapter in adapters),
        items_hash=items.content_hash,
        roles_hash=None if roles is None else roles_hash(roles),
        most_sites=asked.most_sites,
        directions=asked.directions,
        seed=asked.seed,
    )


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

    def shifted(self, full: AdapterWeights, seed: int) -> Intervention:
        """A random shift of the size of what is taken out, at its place."""
        if self.direction is not None:
            return shifted_in_direction(full, self.sites[0], self.direction, seed)
        return shifted_at_random(full, self.sites, seed)

    def lowest_layer(self, full: AdapterWeights) -> int | None:
        """The first layer in which anything changes, as far as paths tell: what is kept alone changes all others."""
        changed = self.sites
        if self.how == "keep only":
            changed = tuple(site for site in adapted_sites(full) if site not in self.sites)
        layers = [layer for site in changed if (layer := place_of(site).layer) is not None]
        return min(layers, default=None)


def adapted_sites(adapter: AdapterWeights) -> list[str]:
    """The sites that an adapter changes at all."""
    return [site for site, factors in adapter.items() if factors.rank > 0]


def planned_ablations(
    adapter: AdapterWeights, single: Sequence[str], asked: Asked, checked: Sequence[str] = ()
) -> list[Planned]:
    """Groups of sites by every unit asked for, then directions; of single sites only `single`, in every way, and
    `checked`, which are just taken out.
    """
    sites = adapted_sites(adapter)
    plans = [
        Planned(unit, group.name, how, group.sites)
        for unit in asked.units
        for group in site_groups(sites, unit)
        for how in asked.hows
        if (unit != "site" or group.sites[0] in single or (how == "zero" and group.sites[0] in checked))
        and not (how == "keep only" and len(group.sites) == len(sites))
    ]
    if asked.directions and any(n_directions(adapter[site]) > 1 for site in sites):
        plans += [
            Planned("direction", f"{site} #{index}", "zero", (site,), index)
            for site in single
            for index in range(n_directions(adapter[site]))
        ]
    return plans


def draws_of(plans: Sequence[Planned]) -> dict[int, int]:
    """Place of every ablation that takes something out -> its number of random shifts."""
    out = [place for place, plan in enumerate(plans) if plan.how == "zero"]
    n_of_unit = {unit: sum(plans[place].unit == unit for place in out) for unit in {plan.unit for plan in plans}}
    return {place: max(LEAST_DRAWS, -(-FAMILY_DRAWS // n_of_unit[plans[place].unit])) for place in out}


def layers_of(plans: Sequence[Planned], full: AdapterWeights) -> list[int | None]:
    """First changed layers, each once, lowest first; None stands for paths without a layer."""
    return sorted({plan.lowest_layer(full) for plan in plans}, key=lambda layer: -1 if layer is None else layer)


@dataclass(frozen=True)
class Measured:
    """One adapter's effects of V planned ablations."""

    effects: Effects
    floor_V: Float[np.ndarray, " V"]
    """KL that is rounding, from the first layer of each on."""
    role_floor_VG: Float[np.ndarray, "V G"]
    """The same per token of each role; NaN for a role that no token has."""
    random_kl: Mapping[int, Float[np.ndarray, "K N"]]
    """KL of random shifts of the same size at the same place, by the place of the ablation."""


def measure(
    model: PreTrainedModel,
    full: AdapterWeights,
    items: EncodedItems,
    masks: RoleMasks,
    plans: Sequence[Planned],
    asked: Asked,
    member: int = 0,
    tell: Tell | None = None,
) -> Measured:
    """Runs the plans, 20 rescalings of every layer, and random shifts for whatever is taken out.

    `member` is the adapter's place among several; each gets shifts of its own.
    """
    means = mean_inputs(model, full, items) if any(plan.how == "mean" for plan in plans) else {}
    layers, draws = layers_of(plans, full), draws_of(plans)
    rescalings = [
        rescaled_factors(full, _of_layer(full, layer), draw) for layer in layers for draw in range(FLOOR_DRAWS)
    ]
    shifts = [
        plans[place].shifted(full, _shift_seed(asked.seed, member, plans[place], draw))
        for place, n_draws in draws.items()
        for draw in range(n_draws)
    ]
    n_plans, n_floors = len(plans), len(rescalings)
    found = effects(
        model, full, [*(plan.of(full, means) for plan in plans), *rescalings, *shifts], items, masks, tell=tell
    )
    rescaled, of_layer = slice(n_plans, n_plans + n_floors), [layers.index(plan.lowest_layer(full)) for plan in plans]
    with np.errstate(invalid="ignore"):
        role_kl_EG = found.role_kl_VNG[rescaled].sum(1) / found.role_count_NG.sum(0)
    ends = np.cumsum([n_plans + n_floors, *draws.values()])
    return Measured(
        effects=found.first(n_plans),
        floor_V=_floors(found.kl_VN[rescaled].mean(1), len(layers))[of_layer],
        role_floor_VG=_floors(role_kl_EG, len(layers))[of_layer],
        random_kl={place: found.kl_VN[start:end] for place, start, end in zip(draws, ends[:-1], ends[1:], strict=True)},
    )


def _floors(kl_E: Float[np.ndarray, "E *G"], n_layers: int) -> Float[np.ndarray, "L *G"]:
    """The 99th percentile of the size of each layer's rescalings."""
    drawn = np.abs(kl_E).reshape(n_layers, FLOOR_DRAWS, *kl_E.shape[1:])
    return np.asarray(np.quantile(drawn, FLOOR_QUANTILE, axis=1, method="higher"))


def _shift_seed(seed: int, member: int, plan: Planned, draw: int) -> int:
    return stream_seed("random shift", seed, member, plan.unit, plan.name, draw)


def _of_layer(full: AdapterWeights, layer: int | None) -> list[str]:
    """The layer's sites."""
    return [site for site in adapted_sites(full) if place_of(site).layer == layer]


def single_sites(guesses: Sequence[Mapping[str, Tensor]], asked: Asked) -> list[str]:
    """Every site, or those that cost most by first-order attribution (sum over directions, mean over adapters)."""
    worth = {site: float(np.mean([abs(float(guess[site].sum())) for guess in guesses])) for site in guesses[0]}
    most = sorted(worth, key=lambda site: -worth[site])[: asked.most_sites]
    return [site for site in worth if site in set(most)]


def checking_sites(sites: Sequence[str], single: Sequence[str], asked: Asked) -> list[str]:
    """A seeded draw of the sites that the screen leaves out: a quarter as many as it takes, four at least."""
    left_out = [site for site in sites if site not in set(single)]
    n = max(LEAST_CHECKED, len(single) // 4)
    chosen = numpy_stream("screen check", asked.seed).permutation(len(left_out))[:n]
    return [left_out[place] for place in sorted(chosen)]


def role_sums(found: Sequence[Measured]) -> Iterator[tuple[int, int, float, float, int]]:
    """(ablation, role, KL per token of that role, its floor, tokens) over all adapters, for roles that a token has."""
    count_G = sum(one.effects.role_count_NG.sum(0) for one in found)
    kl_VG = sum(one.effects.role_kl_VNG.sum(1) for one in found)
    floor_VG = np.mean([one.role_floor_VG for one in found], axis=0)
    for place, kl_G in enumerate(kl_VG):
        for role, kl in enumerate(kl_G):
            if count_G[role]:
                floor = float(floor_VG[place, role])
                yield place, role, float(kl / count_G[role]), floor, int(count_G[role]) // len(found)
