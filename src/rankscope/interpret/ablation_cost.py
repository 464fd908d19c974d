"""How long ablations will take, from one pass over a few of the items."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedModel

from rankscope.adapters.weights import AdapterWeights
from rankscope.base.timing import seconds
from rankscope.evals.completion_pass import model_device
from rankscope.evals.teacher_forced import VARIANTS_PER_PASS
from rankscope.interpret.ablation_run import (
    FLOOR_DRAWS,
    Asked,
    Planned,
    adapted_sites,
    checking_sites,
    draws_of,
    layers_of,
    planned_ablations,
)
from rankscope.interpret.attribution import POINTS
from rankscope.interpret.effects import effects
from rankscope.interpret.interventions import zeroed
from rankscope.interpret.role_masks import RoleMasks
from rankscope.lm.read_decoder import read_decoder, why_not_decodable
from rankscope.tasks.encoded import EncodedItems

MEASURED_ITEMS = 8
BACKWARD = 3
"""A pass with gradients, in passes without."""


def estimate_seconds(
    model: PreTrainedModel, adapters: Sequence[AdapterWeights], items: EncodedItems, asked: Asked
) -> float:
    """Seconds that `ablation` takes: one measured pass times the layers that all passes run, and the tokens they read.

    With a screen any sites stand for those that it will choose.
    """
    full = adapters[0]
    sites = adapted_sites(full)
    single = sites[: asked.most_sites]
    plans = planned_ablations(full, single, asked, checking_sites(sites, single, asked))
    few = items.take(np.unique(np.linspace(0, len(items) - 1, MEASURED_ITEMS).astype(np.int64)))
    lowest = Planned("site", "", "zero", tuple(sites)).lowest_layer(full)
    first = next(site for site in sites if Planned("site", "", "zero", (site,)).lowest_layer(full) == lowest)
    some = [zeroed(full, [first])] * (VARIANTS_PER_PASS - 1)
    masks = RoleMasks.of(few)
    pass_s = seconds(lambda: effects(model, full, some, few, masks), model_device(model)) / len(some)
    tokens = float(items.n_tokens_N.sum() / few.n_tokens_N.sum())
    return pass_s * tokens * len(adapters) * (n_whole_passes(model, full, plans) + BACKWARD * len(POINTS))


def n_whole_passes(model: PreTrainedModel, full: AdapterWeights, plans: Sequence[Planned]) -> float:
    """Ablations, rescalings and random shifts, each by its share of the layers from the first adapted one on."""
    layers, draws = layers_of(plans, full), draws_of(plans)
    n_by_layer = {layer: float(FLOOR_DRAWS) for layer in layers}
    for place, plan in enumerate(plans):
        n_by_layer[plan.lowest_layer(full)] += 1 + draws.get(place, 0)
    if why_not_decodable(model) is not None:
        return sum(n_by_layer.values())
    n_layers, lowest = read_decoder(model).n_layers, layers[0] or 0
    return sum(n * (n_layers - (layer or 0)) / (n_layers - lowest) for layer, n in n_by_layer.items())
