"""A first-order guess of what each direction is worth, from a few backward passes: a screen for real ablations."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.truncate import directions
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.engine.model import adapted
from rankscope.evals.completion_pass import iter_completion_logits
from rankscope.tasks.encoded import EncodedItems

POINTS = (1 / 6, 1 / 2, 5 / 6)
"""Sizes of the adapter at which gradients are taken: the middles of three equal parts of the way from the base."""


def attributed_losses(
    model: PreTrainedModel,
    full: AdapterWeights,
    items: EncodedItems,
    batch_size: int = 64,
    points: Sequence[float] = POINTS,
) -> dict[str, Tensor]:
    """Site -> for each singular direction, the nats per item that it brings: its part of integrated gradients [R].

    A gate multiplies every direction's output; derivatives of the completion's log-probability by it are averaged
    over the way from the base (all 0) to the adapter (all 1). They sum to what the whole adapter brings. At the adapter
    itself alone they would be about 0: training moved every direction until its size no longer mattered. Only a
    screen, which `ablation` checks against real ablations.
    Source: Sundararajan, Taly and Yan 2017.
    """
    worth: dict[str, Tensor] = {}
    for point in points:
        for site, worth_R in _at(point, model, full, items, batch_size).items():
            worth[site] = worth.get(site, 0) + worth_R / (len(points) * len(items))
    return worth


def _at(
    point: float, model: PreTrainedModel, full: AdapterWeights, items: EncodedItems, batch_size: int
) -> dict[str, Tensor]:
    """Derivatives by the gates, summed over items, with all gates at `point`."""
    gated = {site: _canonical(factors, point) for site, factors in full.items() if factors.rank > 0}
    with torch.enable_grad(), adapted(model, AdapterWeights(gated)) as variant:
        for batch in iter_completion_logits(variant, items, batch_size):
            gold_P = batch.log_probs_PV.gather(1, batch.target_P[:, None])
            gold_P.sum().backward(inputs=[factors.B_OR for factors in gated.values()])
    return {site: _worth(factors.B_OR) / point for site, factors in gated.items()}


def _canonical(factors: Factors, gate: float) -> Factors:
    """The site's update as its singular directions times a gate, whose B wants a gradient."""
    found = directions(factors)
    dtype = torch.promote_types(factors.A_RI.dtype, torch.float32)
    return Factors(found.V_RI.to(dtype), (gate * found.U_OR * found.S_R).to(dtype).requires_grad_(), 1.0)


def _worth(B_OR: Float[Tensor, "O R"]) -> Float[Tensor, " R"]:
    """Each column times its own gradient; 0 where none came."""
    return (B_OR * (0 if B_OR.grad is None else B_OR.grad)).detach().sum(0)
