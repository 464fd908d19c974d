"""Channels: what is recorded of a token, as linear functions of the inputs of the base's sites.

A population is a set of channels of one kind. All of them are read from the same forward pass of the adapted model, so
that populations on the same items differ in nothing but what is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.weights import AdapterWeights
from rankscope.base.errors import BadInput, NotSupported
from rankscope.base.seeds import numpy_stream, torch_stream
from rankscope.lm.read_decoder import read_decoder, why_not_decodable
from rankscope.lm.sites import linear_sites

Population = Literal["adapter", "mlp", "residual", "random"]
POPULATION_NAMES: dict[Population, str] = {
    "adapter": "adapter directions",
    "mlp": "MLP hidden units",
    "residual": "residual components",
    "random": "random directions",
}
"""Raw adapter scalars A x; activated hidden units of MLPs; what layers read; random directions of the same inputs."""

_MLP_OUT = ("*.mlp.c_proj", "*.mlp.down_proj", "*.fc2", "*.mlp.dense_4h_to_h")
_LAYER_IN = ("*.attn.c_attn", "*.self_attn.q_proj", "*.attention.query_key_value", "*.self_attn.qkv_proj")


@dataclass(frozen=True)
class Channel:
    """Columns that one site's input gives: its products with `weight_CI`, or some of its values, `units`."""

    site: str
    weight_CI: Float[Tensor, "C I"] | None = None
    units: tuple[int, ...] | None = None
    """Indices into the input; exactly one of the two is given."""

    @property
    def n_columns(self) -> int:
        """Columns per token."""
        return len(self.units) if self.weight_CI is None and self.units is not None else len(_of(self.weight_CI))


def _of(weight_CI: Tensor | None) -> Tensor:
    assert weight_CI is not None
    return weight_CI


def adapter_channels(model: PreTrainedModel, weights: AdapterWeights) -> tuple[Channel, ...]:
    """Raw A x of every site and direction, in model order; sites of rank 0 are left out.

    Raises: BadInput when no direction is left.
    """
    order = {site: place for place, site in enumerate(linear_sites(model))}
    sites = sorted((site for site, factors in weights.items() if factors.rank > 0), key=lambda site: order[site])
    if not sites:
        raise BadInput("The adapter has no directions to record: every site is of rank 0.")
    return tuple(Channel(site, weight_CI=weights[site].A_RI.detach()) for site in sites)


def random_channels(channels: Sequence[Channel], seed: int) -> tuple[Channel, ...]:
    """Random unit directions: as many, of the inputs of the same sites, as the given products have."""
    return tuple(Channel(channel.site, weight_CI=_random_like(channel, seed)) for channel in channels)


def _random_like(channel: Channel, seed: int) -> Tensor:
    weight_CI = _of(channel.weight_CI)
    drawn = torch.randn(weight_CI.shape, generator=torch_stream("random directions", seed, channel.site))
    return drawn / drawn.norm(dim=1, keepdim=True)


def mlp_channels(model: PreTrainedModel, n_units: int, seed: int) -> tuple[Channel, ...]:
    """A seeded sample of hidden units over all layers: values after activation and gate, which the last map reads.

    Raises: BadInput when the model has fewer; NotSupported when its MLPs are not found.
    """
    sites = _last_maps(model)
    widths = [linear_sites(model)[site][1] for site in sites]
    if n_units > sum(widths):
        raise BadInput(f"{n_units} hidden units were asked for, but the base has {sum(widths)}. Ask for fewer.")
    chosen = np.sort(numpy_stream("mlp units", seed).choice(sum(widths), n_units, replace=False))
    starts = np.cumsum([0, *widths])
    parts = [chosen[(chosen >= low) & (chosen < high)] - low for low, high in pairwise(starts)]
    return tuple(
        Channel(site, units=tuple(map(int, part))) for site, part in zip(sites, parts, strict=True) if len(part)
    )


def residual_channels(model: PreTrainedModel, n_layers: int | None = None, seed: int = 0) -> tuple[Channel, ...]:
    """The residual stream as layers read it, after their first norm; of a seeded choice of layers, or of all.

    Raises: BadInput when there are fewer layers; NotSupported when they are not found.
    """
    sites = _first_maps(model)
    if n_layers is not None and not 1 <= n_layers <= len(sites):
        raise BadInput(f"{n_layers} layers were asked for, but the base has {len(sites)}.")
    if n_layers is not None:
        chosen = np.sort(numpy_stream("residual layers", seed).choice(len(sites), n_layers, replace=False))
        sites = [sites[layer] for layer in chosen]
    shapes = linear_sites(model)
    return tuple(Channel(site, units=tuple(range(shapes[site][1]))) for site in sites)


def _last_maps(model: PreTrainedModel) -> list[str]:
    if why_not_decodable(model) is None:
        return [block.mlp_out.path for block in read_decoder(model).blocks]
    return _matching(model, _MLP_OUT, "the last maps of its MLPs")


def _first_maps(model: PreTrainedModel) -> list[str]:
    if why_not_decodable(model) is None:
        return [block.qkv[0].path for block in read_decoder(model).blocks]
    return _matching(model, _LAYER_IN, "the first maps of its layers")


def _matching(model: PreTrainedModel, globs: Sequence[str], what: str) -> list[str]:
    found = [site for site in linear_sites(model) if any(fnmatchcase(site, glob) for glob in globs)]
    if not found:
        raise NotSupported(
            f"{what.capitalize()} are not found in a model of type {model.config.model_type}: none is named like "
            f"{', '.join(globs)}."
        )
    return found


@dataclass(frozen=True)
class Fused:
    """Channels whose sites read the same input, as one product and one selection."""

    site: str
    """The first of the sites; the one whose input is looked at."""
    weight_CI: Float[Tensor, "C I"] | None
    unit_U: Int[Tensor, " U"] | None
    columns: Int[np.ndarray, " W"]
    """Where the columns belong: those of the product, then those of the selection."""

    def read(self, x: Float[Tensor, "*N I"]) -> Float[Tensor, "*N W"]:
        """The columns of an input."""
        parts = []
        if self.weight_CI is not None:
            parts.append(x @ self.weight_CI.T)
        if self.unit_U is not None:
            parts.append(x.index_select(-1, self.unit_U))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def fused(model: PreTrainedModel, channels: Sequence[Channel]) -> tuple[Fused, ...]:
    """The channels grouped by the input that they read, placed as the model's weights are.

    Maps that are known to share an input (q, k, v; gate, up) are read at the first of them.
    """
    like = next(model.parameters())
    input_of = shared_inputs(model)
    starts = np.cumsum([0, *(channel.n_columns for channel in channels)])
    groups: dict[str, list[tuple[Channel, np.ndarray]]] = {}
    for channel, start in zip(channels, starts, strict=False):
        columns = np.arange(start, start + channel.n_columns)
        groups.setdefault(input_of.get(channel.site, channel.site), []).append((channel, columns))
    return tuple(_fuse(members, like) for members in groups.values())


def _fuse(members: Sequence[tuple[Channel, np.ndarray]], like: Tensor) -> Fused:
    products = [(channel.weight_CI, columns) for channel, columns in members if channel.weight_CI is not None]
    picked = [(channel.units, columns) for channel, columns in members if channel.units is not None]
    units = [unit for some, _ in picked for unit in some]
    return Fused(
        site=members[0][0].site,
        weight_CI=torch.cat([weight for weight, _ in products]).to(like) if products else None,
        unit_U=torch.tensor(units, dtype=torch.long, device=like.device) if units else None,
        columns=np.concatenate([columns for _, columns in (*products, *picked)]),
    )


def shared_inputs(model: PreTrainedModel) -> Mapping[str, str]:
    """The first site that reads the same input as a site; empty where our decoder does not know the model."""
    if why_not_decodable(model) is not None:
        return {}
    sharing = (maps for block in read_decoder(model).blocks for maps in (block.qkv, block.mlp_in))
    return {linear.path: maps[0].path for maps in sharing for linear in maps}
