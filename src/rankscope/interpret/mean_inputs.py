"""The mean input of every adapted site over all tokens, with the adapter at work."""

import torch
from jaxtyping import Bool
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.weights import AdapterWeights
from rankscope.capture.site_inputs import See, inputs_seen
from rankscope.evals.completion_pass import CompletionBatch, length_batches, model_device
from rankscope.tasks.encoded import EncodedItems


@torch.no_grad()
def mean_inputs(
    model: PreTrainedModel, full: AdapterWeights, items: EncodedItems, batch_size: int = 256
) -> dict[str, Tensor]:
    """Site -> mean input over every token that predicts another, prompts included, padding left out."""
    sums: dict[str, Tensor] = {}
    n_tokens, device = 0, model_device(model)
    for rows_M in length_batches(items, batch_size, 1):
        batch = CompletionBatch.of(items, rows_M)
        reads_MS = torch.from_numpy(batch.reads_MS)
        n_tokens += int(reads_MS.sum())
        with inputs_seen(model, full, {site: _summing(site, sums, reads_MS.to(device)) for site in full}) as run:
            run(batch.read_MT.to(device))
    return {site: (total / n_tokens).float() for site, total in sums.items()}


def _summing(site: str, sums: dict[str, Tensor], reads_MS: Bool[Tensor, "M S"]) -> See:
    def see(x: Tensor) -> None:
        total = x.reshape(*reads_MS.shape, -1)[reads_MS].double().sum(0)  # some models flatten tokens
        sums[site] = sums[site] + total if site in sums else total

    return see
