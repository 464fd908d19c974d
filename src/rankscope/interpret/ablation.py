"""Ablations of an adapter: what every part costs, above rounding, and above a random shift of its size.

Resolution: A times c and B over c changes no function, so the KL that it gives is rounding. It is drawn 20 times from
every layer, since rounding grows with the layers left to run; a KL not above the 99th percentile is below resolution.

Significance: taking an update out moves the model; so would any change of its size at its place. The excess is the
KL of taking it out less the mean KL of adding random directions of the same rank and Frobenius norm there, paired by
item and adapter; how sure it is also depends on how much such shifts differ (`ablation_chance.py`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.weights import AdapterWeights
from rankscope.base.errors import BadInput
from rankscope.interpret.ablation_chance import family_chances, over_cells
from rankscope.interpret.ablation_records import Ablation, AblationReading, RoleEffect, Screen, ScreenCheck
from rankscope.interpret.ablation_run import (
    Asked,
    Measured,
    Planned,
    adapted_sites,
    checking_sites,
    measure,
    planned_ablations,
    role_sums,
    single_sites,
)
from rankscope.interpret.attribution import attributed_losses
from rankscope.interpret.effects import Tell, effects
from rankscope.interpret.interventions import zeroed
from rankscope.interpret.role_masks import RoleMasks
from rankscope.interpret.wrong_steps import wrong_steps
from rankscope.lm.sites import place_of
from rankscope.stats.crossed import crossed_interval
from rankscope.stats.holm import holm
from rankscope.stats.interval import Interval
from rankscope.stats.over_items import difference_over_items
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.roles import RoleTable

LEAST_FOR_SCREEN = 4
"""Single ablations from which a rank correlation with their attribution is given."""
NO_ROLES = "The items carry no roles, so effects are broken down by section (trace, answer, stop) alone."
Guess = Mapping[str, Tensor]


def ablation(
    model: PreTrainedModel,
    adapters: Sequence[AdapterWeights],
    items: EncodedItems,
    roles: RoleTable | None = None,
    asked: Asked | None = None,
    tell: Tell | None = None,
) -> AblationReading:
    """Ablates adapters that share sites and ranks, all on the same items; `model` is their base.

    One adapter: intervals over items only. Several: seeds and items crossed. `tell` hears items done, and in all.
    Raises: what `effects` raises, and BadInput for adapters without a site, or a single item.
    """
    asked = asked or Asked()
    sites = adapted_sites(adapters[0])
    if not sites or len(items) < 2:
        raise BadInput(f"An ablation needs an adapted site and two items, not {len(sites)} sites, {len(items)} items.")
    masks = RoleMasks.of(items, roles)
    guesses = [attributed_losses(model, adapter, items) for adapter in adapters]
    single = single_sites(guesses, asked)
    checking = checking_sites(sites, single, asked)
    plans = planned_ablations(adapters[0], single, asked, checking)
    found = [
        measure(model, adapter, items, masks, plans, asked, place, _share(tell, place, len(adapters)))
        for place, adapter in enumerate(adapters)
    ]
    base = effects(model, adapters[0], [zeroed(adapters[0], sites)], items, masks)
    rows = _rows(plans, found, guesses)
    return AblationReading(
        n_adapters=len(adapters),
        n_items=len(items),
        n_tokens=int((items.n_tokens_N - items.n_prompt_N).sum()),
        base=float(base.exact_WN[1].mean()),
        whole=float(np.mean([one.effects.exact_WN[0].mean() for one in found])),
        ablations=rows,
        roles=_role_effects(plans, found, masks),
        screen=_screen(rows),
        check=_check(rows, checking, len(sites) - len(single)),
        missing=() if roles is not None else (NO_ROLES,),
        wrong_steps=wrong_steps(np.stack([one.effects.exact_WN[0] for one in found]), items, roles),
    )


def _share(tell: Tell | None, place: int, n: int) -> Tell | None:
    return None if tell is None else lambda done, total: tell(place * total + done, n * total)


def _rows(plans: Sequence[Planned], found: Sequence[Measured], guesses: Sequence[Guess]) -> tuple[Ablation, ...]:
    rows = [_row(place, plan, found, guesses) for place, plan in enumerate(plans)]
    families: dict[str, list[int]] = {}
    for place in found[0].random_kl:
        families.setdefault(plans[place].unit, []).append(place)
    for places in families.values():
        for place, p in zip(places, holm(_chances(places, found)), strict=True):
            rows[place] = rows[place].override(p=p)
    return tuple(rows)


def _chances(places: Sequence[int], found: Sequence[Measured]) -> list[float]:
    """p-values of the ablations of one unit, before correction."""
    return family_chances(
        [_kl_SN(place, found) for place in places],
        [np.stack([one.random_kl[place] for one in found]) for place in places],
        [np.array([one.floor_V[place] for one in found]) for place in places],
    )


def _kl_SN(place: int, found: Sequence[Measured]) -> Float[np.ndarray, "S N"]:
    return np.stack([one.effects.kl_VN[place] for one in found])


def _row(place: int, plan: Planned, found: Sequence[Measured], guesses: Sequence[Guess]) -> Ablation:
    kl_SN = _kl_SN(place, found)
    is_drawn = place in found[0].random_kl
    random_SN = np.stack([one.random_kl[place].mean(0) for one in found]) if is_drawn else None
    at = place_of(plan.sites[0])
    return Ablation(
        unit=plan.unit,
        name=plan.name,
        how=plan.how,
        layer=at.layer if plan.unit in ("site", "direction", "layer") else None,
        kind=at.kind if plan.unit in ("site", "direction", "kind") else None,
        n_sites=len(plan.sites),
        kl=over_cells(kl_SN),
        floor=float(np.mean([one.floor_V[place] for one in found])),
        exact_loss=_exact_loss(np.stack([one.effects.exact_WN[0] for one in found]),
                               np.stack([one.effects.exact_WN[place + 1] for one in found])),
        nats_loss=over_cells(np.stack([one.effects.nats_loss_VN[place] for one in found])),
        random_kl=None if random_SN is None else float(random_SN.mean()),
        excess=None if random_SN is None else over_cells(kl_SN - random_SN),
        attributed=_attributed(plan, guesses),
    )  # fmt: skip


def _exact_loss(whole_SN: np.ndarray, changed_SN: np.ndarray) -> Interval:
    whole_SN, changed_SN = whole_SN.astype(float), changed_SN.astype(float)
    if len(whole_SN) == 1:
        return difference_over_items(whole_SN[0], changed_SN[0], share=True)
    return crossed_interval(whole_SN - changed_SN)


def _attributed(plan: Planned, guesses: Sequence[Guess]) -> float | None:
    """The first-order guess of what taking the plan's part out costs; None for anything else done to it."""
    if plan.how != "zero":
        return None
    worths = [[guess[site] for site in plan.sites] for guess in guesses]
    if plan.direction is not None:
        return float(np.mean([float(worth[0][plan.direction]) for worth in worths]))
    return float(np.mean([sum(float(of_site.sum()) for of_site in worth) for worth in worths]))


def _role_effects(plans: Sequence[Planned], found: Sequence[Measured], masks: RoleMasks) -> tuple[RoleEffect, ...]:
    return tuple(
        RoleEffect(
            unit=plans[place].unit,
            name=plans[place].name,
            how=plans[place].how,
            role=masks.names[role],
            kl=kl,
            floor=floor,
            n_tokens=n_tokens,
        )
        for place, role, kl, floor, n_tokens in role_sums(found)
    )


def _screen(rows: Sequence[Ablation]) -> Screen | None:
    """Attribution against real losses of single sites; None where too few were taken out."""
    single = [row for row in rows if row.unit == "site" and row.how == "zero" and row.attributed is not None]
    if len(single) < LEAST_FOR_SCREEN:
        return None
    real, guessed = ([row.nats_loss.estimate for row in single], [row.attributed or 0.0 for row in single])
    varies = min(np.ptp(real), np.ptp(guessed)) > 0
    n_top = max(1, len(single) // 4)
    top_real, top_guessed = (set(np.argsort(values)[-n_top:].tolist()) for values in (real, guessed))
    return Screen(
        n=len(single),
        rank_correlation=float(stats.spearmanr(real, guessed).statistic) if varies else None,
        share_of_top=len(top_real & top_guessed) / n_top,
    )


def _check(rows: Sequence[Ablation], checking: Sequence[str], n_left_out: int) -> ScreenCheck | None:
    """What the screen may have missed, by the sites that check it; None where none was taken out."""
    single = [row for row in rows if row.unit == "site" and row.how == "zero"]
    drawn = [row for row in single if row.name in set(checking)]
    if not drawn:
        return None
    chosen = [row for row in single if row.name not in set(checking)]
    costliest = max(drawn, key=lambda row: row.kl.estimate)
    return ScreenCheck(
        n_chosen=len(chosen),
        n_left_out=n_left_out,
        n_drawn=len(drawn),
        costliest=costliest.name,
        kl=costliest.kl.estimate,
        n_cheaper=sum(row.kl.estimate < costliest.kl.estimate for row in chosen),
    )
