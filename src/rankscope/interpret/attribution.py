"""A first-order guess of what each direction is worth, from one backward pass: a screen for real ablations."""

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.truncate import directions
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.engine.model import adapted
from rankscope.evals.completion_pass import iter_completion_logits
from rankscope.tasks.encoded import EncodedItems


def attributed_losses(
    model: PreTrainedModel, full: AdapterWeights, items: EncodedItems, batch_size: int = 64
) -> dict[str, Tensor]:
    """Site -> for each singular direction, the nats per item that taking it out would cost, to first order.

    A gate g = 1 multiplies each direction's output; the cost of g = 0 is about the derivative of the completion's
    log-probability by g, which is the product of the direction's column of B with that column's gradient. Only a
    screen: KL to the whole adapter has no first-order part at all, and far from g = 1 the guess may be wrong, which
    `ablation` checks against real ablations.
    """
    canonical = {site: _canonical(factors) for site, factors in full.items() if factors.rank > 0}
    with torch.enable_grad(), adapted(model, AdapterWeights(canonical)) as variant:
        for batch in iter_completion_logits(variant, items, batch_size):
            gold_P = batch.log_probs_PV.gather(1, batch.target_P[:, None])
            gold_P.sum().backward(inputs=[factors.B_OR for factors in canonical.values()])
    return {site: _worth(factors.B_OR) / len(items) for site, factors in canonical.items()}


def _canonical(factors: Factors) -> Factors:
    """The site's update as its singular directions, whose B wants a gradient."""
    found = directions(factors)
    dtype = torch.promote_types(factors.A_RI.dtype, torch.float32)
    return Factors(found.V_RI.to(dtype), (found.U_OR * found.S_R).to(dtype).requires_grad_(), 1.0)


def _worth(B_OR: Float[Tensor, "O R"]) -> Float[Tensor, " R"]:
    """Each column times its own gradient; 0 where none came."""
    return (B_OR * (0 if B_OR.grad is None else B_OR.grad)).detach().sum(0)
