"""Sites: the linear maps of a base, by module path, chosen by glob."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rankscope.base.errors import BadInput, UnknownName, near_matches


def linear_sites(model: PreTrainedModel) -> dict[str, tuple[int, int]]:
    """Module path -> (O, I) for every linear map, in model order; the output head is not a site.

    A transformers Conv1D is a linear map whose weight is stored as [I, O].
    """
    head = model.get_output_embeddings()
    return {
        path: _out_in(module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }


def resolve_sites(model: PreTrainedModel, globs: Sequence[str]) -> list[str]:
    """The sites that match any of the globs, in model order; `*` is all of them.

    Raises: UnknownName for a glob that matches nothing, with near matches.
    """
    if isinstance(globs, str) or not globs:
        raise BadInput(f"A placement is a list of one or more globs such as ['*.mlp.c_proj'], not {globs!r}.")
    paths = list(linear_sites(model))
    for glob in globs:
        if not any(fnmatchcase(path, glob) for path in paths):
            raise UnknownName(f"No linear map of the base matches {glob!r}. {near_matches(glob, _suggestions(paths))}")
    return [path for path in paths if any(fnmatchcase(path, glob) for glob in globs)]


def check_rank(model: PreTrainedModel, rank: int, globs: Sequence[str]) -> None:
    """Raises BadInput when an adapter's rank exceeds what the smallest of its sites can hold."""
    shapes = linear_sites(model)
    smallest = min(resolve_sites(model, globs), key=lambda site: min(shapes[site]))
    n_out, n_in = shapes[smallest]
    if rank > min(n_out, n_in):
        raise BadInput(
            f"Rank {rank} exceeds what {smallest} can hold ({n_out} x {n_in}): at most {min(n_out, n_in)}. "
            "Ask for a lower rank, or train the whole maps (dense)."
        )


def is_transposed(model: PreTrainedModel, site: str) -> bool:
    """True where the site is a Conv1D, whose weight is stored as [I, O]."""
    return isinstance(model.get_submodule(site), Conv1D)


def _out_in(module: nn.Module) -> tuple[int, int]:
    if isinstance(module, Conv1D):
        n_in, n_out = module.weight.shape
        return n_out, n_in
    assert isinstance(module, nn.Linear)
    return module.out_features, module.in_features


def _suggestions(paths: Sequence[str]) -> set[str]:
    """The paths themselves, and globs over their last one and two components."""
    tails = {f"*.{'.'.join(path.split('.')[-n:])}" for path in paths for n in (1, 2)}
    return tails | set(paths)


@dataclass(frozen=True)
class SitePlace:
    """Where a site stands, as far as its path tells."""

    layer: int | None
    """The first number in the path; None where there is none."""
    kind: str
    """What stands after the layer, such as `mlp.up_proj`: the same map of every layer has the same kind."""

    @property
    def part(self) -> Literal["attention", "mlp"]:
        """Attention where the path says so, else MLP."""
        return "attention" if "att" in self.kind.lower() else "mlp"


def place_of(site: str) -> SitePlace:
    """Layer and kind of a site. Check: `transformer.h.3.attn.c_proj` is `attn.c_proj` of layer 3."""
    steps = site.split(".")
    at = next((index for index, step in enumerate(steps) if step.isdigit()), None)
    if at is None or at == len(steps) - 1:
        return SitePlace(None, site)
    return SitePlace(int(steps[at]), ".".join(steps[at + 1 :]))
