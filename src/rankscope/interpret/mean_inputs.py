"""The mean input of every adapted site over all tokens, with the adapter at work."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import PreTrainedModel

from rankscope.adapters.attach import attached
from rankscope.adapters.weights import AdapterWeights
from rankscope.engine.model import adapter_ops
from rankscope.evals.completion_pass import CompletionBatch, length_batches, model_device
from rankscope.lm.read_decoder import read_decoder, why_not_decodable
from rankscope.tasks.encoded import EncodedItems

See = Callable[[str, Tensor], None]
"""(site, its input [N, T, I])."""


@torch.no_grad()
def mean_inputs(
    model: PreTrainedModel, full: AdapterWeights, items: EncodedItems, batch_size: int = 256
) -> dict[str, Tensor]:
    """Site -> mean input over every token that predicts another, prompts included, padding left out."""
    sums: dict[str, Tensor] = {}
    n_tokens = 0
    for rows_M in length_batches(items, batch_size, 1):
        batch = CompletionBatch.of(items, rows_M)
        read_MT = torch.from_numpy(_is_read(items.take(rows_M), batch.read_MT.shape[1]))
        n_tokens += int(read_MT.sum())
        with _seeing(model, full, _summing(sums, read_MT.to(model_device(model)))) as run:
            run(batch.read_MT.to(model_device(model)))
    return {site: (total / n_tokens).to(full[site].A_RI.dtype) for site, total in sums.items()}


def _is_read(items: EncodedItems, width: int) -> Bool[np.ndarray, "M S"]:
    """Where a token that predicts another stands, in the columns that a model reads."""
    return np.asarray(np.arange(width) < items.n_tokens_N[:, None] - 1)


def _summing(sums: dict[str, Tensor], read_MT: Bool[Tensor, "M T"]) -> See:
    def see(site: str, x: Tensor) -> None:
        total = x.reshape(*read_MT.shape, -1)[read_MT].double().sum(0)  # some models flatten tokens
        sums[site] = sums[site] + total if site in sums else total

    return see


@contextmanager
def _seeing(model: PreTrainedModel, full: AdapterWeights, see: See) -> Iterator[Callable[[Tensor], object]]:
    """A forward pass of the adapted model during which `see` gets the input of every adapted site."""
    if why_not_decodable(model) is None:
        decoder = read_decoder(model)
        taps = {site: (lambda x, _y, site=site: see(site, x)) for site in full}
        ops = adapter_ops(full, next(model.parameters()))
        yield lambda tokens: decoder.forward(tokens, site_ops=ops, taps=taps)
        return
    with attached(model, full), ExitStack() as stack:
        for site in full:
            handle = model.get_submodule(site).register_forward_pre_hook(_telling(site, see))
            stack.callback(handle.remove)
        yield lambda tokens: model(input_ids=tokens, use_cache=False)


def _telling(site: str, see: See) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    return lambda _module, inputs: see(site, inputs[0])
