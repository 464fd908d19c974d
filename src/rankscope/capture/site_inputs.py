"""Forward passes of an adapted model during which somebody sees what its sites read: by taps, or by hooks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from rankscope.adapters.attach import attached
from rankscope.adapters.weights import AdapterWeights
from rankscope.engine.model import adapter_ops
from rankscope.lm.decoder import Tap
from rankscope.lm.read_decoder import read_decoder, why_not_decodable

See = Callable[[Tensor], None]
"""Gets a site's input, [N, T, I]; some models flatten N and T."""


@contextmanager
def inputs_seen(
    model: PreTrainedModel, weights: AdapterWeights, see: Mapping[str, See]
) -> Iterator[Callable[[Tensor], object]]:
    """A function that runs tokens [N, T] through the adapted model, without its head; `see` names sites.

    Taps of our decoder where that runs the model, else hooks, which are removed whatever happens.
    """
    if why_not_decodable(model) is None:
        decoder, ops = read_decoder(model), adapter_ops(weights, next(model.parameters()))
        taps = {site: _tap(one) for site, one in see.items()}
        yield lambda tokens_NT: decoder.forward(tokens_NT, site_ops=ops, taps=taps)
        return
    with attached(model, weights), ExitStack() as stack:
        for site, one in see.items():
            stack.callback(model.get_submodule(site).register_forward_pre_hook(_pre_hook(one)).remove)
        body: nn.Module = model.base_model
        yield lambda tokens_NT: body(input_ids=tokens_NT, use_cache=False)


def _tap(see: See) -> Tap:
    return lambda x, _output: see(x)


def _pre_hook(see: See) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    return lambda _module, inputs: see(inputs[0])
