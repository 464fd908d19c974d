"""The best update of a rank, where the update to be imitated is known: what no training of that rank can beat.

Cutting a planted update to its best r directions gives an update of rank r, and not the best one. Others move the
outputs more where the model's distribution is more sensitive, or share one direction between several planted ones. So
the best is sought from the cut by L-BFGS, on many items at once and from their exact targets: another optimiser, start
and data than the trainings that are judged by it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.engine.model import AdaptedSite
from rankscope.evals.completion_pass import CompletionBatch, model_device
from rankscope.lm.bases import Base
from rankscope.lm.decoder import Decoder, Kept, SiteOp
from rankscope.lm.read_decoder import read_decoder
from rankscope.tasks.encoded import EncodedItems

MOST_STEPS = 150
"""Of L-BFGS, each with a line search."""
N_ITEMS, SEED = 1024, 77
"""Items that the best update is sought on, and their data seed; on a quarter of them it does not carry over as well to
test items (LOG.md)."""
HISTORY = 20
LogProbs = Callable[[AdapterWeights], Tensor]
"""An update -> log-probabilities [P, V] at the completion positions."""


def best_update(base: Base, items: EncodedItems, teacher: AdapterWeights, start: AdapterWeights) -> AdapterWeights:
    """The update of the start's ranks with the least KL(teacher || update) on the items' completions."""
    log_probs = _tail(base, items, list(teacher))
    with torch.no_grad():
        target_PV = log_probs(teacher)
    found = {site: _balanced(factors) for site, factors in start.items()}
    parameters = [tensor for f in found.values() for tensor in (f.A_RI, f.B_OR)]
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=MOST_STEPS, history_size=HISTORY, line_search_fn="strong_wolfe", tolerance_change=1e-8
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = (target_PV.exp() * (target_PV - log_probs(AdapterWeights(found)))).sum(-1).mean()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return AdapterWeights({site: Factors(f.A_RI.detach(), f.B_OR.detach(), f.s) for site, f in found.items()})


def _tail(base: Base, items: EncodedItems, sites: Sequence[str]) -> LogProbs:
    """The base with an update at these sites, on the items' completions; what no site changes is computed once."""
    decoder, device = read_decoder(base.model), model_device(base.model)
    batch = CompletionBatch.of(items, np.arange(len(items)))
    tokens, wanted = batch.read_MT.to(device), batch.wanted_MT.to(device)
    last = decoder.blocks[-1].mlp_out.path
    if list(sites) == [last]:
        return _last_map(decoder, last, tokens, wanted)
    layer, kept = decoder.lowest_layer(sites), Kept.of(wanted)
    with torch.no_grad():
        residual = decoder.below(tokens, layer)

    def log_probs(update: AdapterWeights) -> Tensor:
        ops: dict[str, SiteOp] = {
            site: AdaptedSite(f.A_RI.to(device), f.B_OR.to(device), f.s, own_backward=False)
            for site, f in update.items()
        }
        hidden = decoder.forward(start_layer=layer, residual=residual, site_ops=ops, kept=kept)
        return decoder.logits(hidden[kept.is_wanted_NA]).float().log_softmax(-1)

    return log_probs


def _last_map(decoder: Decoder, site: str, tokens: Tensor, wanted: Tensor) -> LogProbs:
    """Only norm and head stand behind the last block's last map."""
    seen: list[Tensor] = []
    with torch.no_grad():
        decoder.forward(tokens, taps={site: lambda x, _y: seen.append(x[wanted])})
        residual_PD = decoder.below(tokens, decoder.n_layers)[wanted]

    def log_probs(update: AdapterWeights) -> Tensor:
        f = update[site]
        added_PD = f.s * (seen[0] @ f.A_RI.to(seen[0]).T) @ f.B_OR.to(seen[0]).T
        return decoder.logits(decoder.norm(residual_PD + added_PD)).float().log_softmax(-1)

    return log_probs


def _balanced(factors: Factors) -> Factors:
    """The same update with A and B of like norms, as leaves that want gradients."""
    A_RI, B_OR = factors.A_RI.detach().float(), factors.s * factors.B_OR.detach().float()
    ratio = (B_OR.norm() / A_RI.norm()).sqrt()
    return Factors(_leaf(A_RI * ratio), _leaf(B_OR / ratio), 1.0)


def _leaf(values: Tensor) -> Tensor:
    """A tensor of its own that wants a gradient; L-BFGS takes contiguous ones only."""
    return values.contiguous().requires_grad_()
