"""An adapter at work on a model, for as long as a `with` block lasts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput, near_matches
from rankscope.lm.sites import linear_sites


@contextmanager
def attached(model: PreTrainedModel, weights: AdapterWeights) -> Iterator[PreTrainedModel]:
    """Adds s B (A x) to the output of every site of the adapter; the model is as before afterwards, come what may.

    Gradients flow to the factors if they require any.
    Raises: BadInput for a site that the model lacks, or factors of another shape, before anything is attached.
    """
    check_fits_model(model, weights)
    handles = []
    try:
        for site, factors in weights.items():
            if factors.rank > 0:
                module = model.get_submodule(site)
                handles.append(module.register_forward_hook(_adding(_placed(factors, module))))
        yield model
    finally:
        for handle in handles:
            handle.remove()


def check_fits_model(model: PreTrainedModel, weights: AdapterWeights) -> None:
    """Raises BadInput unless every site of the adapter is a linear map of the model, with the factors' shape."""
    sites = linear_sites(model)
    for site, factors in weights.items():
        if site not in sites:
            raise BadInput(
                f"The adapter changes {site!r}, which is no linear map of this base (its output head is not one of "
                f"them); use the base that it was trained on. {near_matches(site, sites)}"
            )
        out_in = (factors.B_OR.shape[0], factors.A_RI.shape[1])
        if out_in != sites[site]:
            raise BadInput(
                f"At {site} the adapter maps {out_in[1]} to {out_in[0]} values, the base {sites[site][1]} to "
                f"{sites[site][0]}; use the base that it was trained on."
            )


def _placed(factors: Factors, module: nn.Module) -> Factors:
    """The factors on the device and in the dtype of the site's weight."""
    weight = module.get_parameter("weight")
    return Factors(factors.A_RI.to(weight), factors.B_OR.to(weight), factors.s)


def _adding(factors: Factors) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        added: Tensor = ((inputs[0] @ factors.A_RI.T) @ factors.B_OR.T) * factors.s
        return output + added

    return hook
