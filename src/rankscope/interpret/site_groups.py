"""Which sites are taken out together: one by one, by kind of map, by layer, by block of layers, attention or MLP."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from rankscope.lm.sites import place_of

Unit = Literal["site", "kind", "layer", "block", "part"]
UNITS: tuple[Unit, ...] = ("part", "block", "kind", "layer", "site")
N_BLOCKS = 8
"""Layers are cut into at most so many blocks."""


@dataclass(frozen=True)
class SiteGroup:
    """Sites that share something."""

    unit: Unit
    name: str
    sites: tuple[str, ...]


def site_groups(sites: Sequence[str], unit: Unit) -> list[SiteGroup]:
    """The sites in groups, in the order in which they first come; one without a layer stands in no layer or block.

    Blocks are runs of neighbouring layers, ceil(layers / 8) each, and at least two: with fewer they are the layers.
    """
    layers = sorted({layer for site in sites if (layer := place_of(site).layer) is not None})
    size = max(2, -(-len(layers) // N_BLOCKS))
    block_of = {layer: place // size for place, layer in enumerate(layers)}
    keys: dict[Unit, Callable[[str], Hashable]] = {
        "site": lambda site: site,
        "kind": lambda site: place_of(site).kind,
        "layer": lambda site: place_of(site).layer,
        "block": lambda site: None if place_of(site).layer is None else block_of[place_of(site).layer or 0],
        "part": lambda site: place_of(site).part,
    }
    grouped: dict[Hashable, list[str]] = {}
    for site in sites:
        key = keys[unit](site)
        if key is not None:
            grouped.setdefault(key, []).append(site)
    return [SiteGroup(unit, _name(unit, found), tuple(found)) for found in grouped.values()]


def _name(unit: Unit, sites: Sequence[str]) -> str:
    """What a group is called: `layer 3`, `layers 8-15`, `mlp.up_proj`, `MLP`, or the site's path."""
    first, last = place_of(sites[0]), place_of(sites[-1])
    layers = sorted(layer for site in sites if (layer := place_of(site).layer) is not None)
    return {
        "site": sites[0],
        "kind": first.kind,
        "layer": f"layer {first.layer}",
        "block": f"layers {layers[0]}-{layers[-1]}" if layers else last.kind,
        "part": "MLP" if first.part == "mlp" else "attention",
    }[unit]
