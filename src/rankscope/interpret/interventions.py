"""What can be done to an adapter at work: parts taken out, kept alone, held constant, or shifted at random.

Every function is pure. A site that an intervention leaves alone keeps its very factors, so that what is computed below
the first changed layer can be shared.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import log2

import torch
from torch import Tensor

from rankscope.adapters.truncate import Directions, noise, signed_directions
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.base.seeds import numpy_stream

MOST_RESCALE = 4.0
"""Factors of a rescaling lie between its inverse and this."""


@dataclass(frozen=True)
class Intervention:
    """An adapter after something was done to it."""

    weights: AdapterWeights
    offsets: Mapping[str, Tensor] = field(default_factory=dict)
    """What is added to a site's output at every token, besides its update."""

    def changed(self, full: AdapterWeights) -> list[str]:
        """Sites where this is not the whole adapter."""
        sites = dict.fromkeys((*full, *self.weights))
        return [site for site in sites if self.weights.get(site) is not full.get(site) or site in self.offsets]


def zeroed(full: AdapterWeights, sites: Collection[str]) -> Intervention:
    """The adapter without its updates at these sites."""
    _check_sites(full, sites)
    return Intervention(AdapterWeights({site: f for site, f in full.items() if site not in sites}))


def kept_only(full: AdapterWeights, sites: Collection[str]) -> Intervention:
    """The adapter with its updates at these sites alone."""
    _check_sites(full, sites)
    return Intervention(AdapterWeights({site: f for site, f in full.items() if site in sites}))


def averaged(full: AdapterWeights, sites: Collection[str], mean_inputs: Mapping[str, Tensor]) -> Intervention:
    """The adapter with its updates at these sites held at what they add for their mean input, at every token."""
    wide = {site: _at_least_float32(full[site]) for site in sites}
    constant = {site: f.s * (f.B_OR @ (f.A_RI @ mean_inputs[site].to(f.A_RI))) for site, f in wide.items()}
    return Intervention(zeroed(full, sites).weights, constant)


def without_direction(full: AdapterWeights, site: str, index: int) -> Intervention:
    """The adapter without one singular direction of one site's update, by descending singular value."""
    found = _checked_directions(full, site, index)
    others = [place for place in range(len(found.S_R)) if place != index]
    return _with_site(full, site, found.kept(others, full[site]))


def scaled_direction(full: AdapterWeights, site: str, index: int, factor: float) -> Intervention:
    """The adapter with one singular direction of one site's update times a factor; 0 takes it out."""
    found = _checked_directions(full, site, index)
    scale_R = torch.ones_like(found.S_R)
    scale_R[index] = factor
    f = full[site]
    dtype = torch.promote_types(f.A_RI.dtype, torch.float32)
    A_RI, B_OR = found.V_RI.to(f.A_RI.device, dtype), (found.U_OR * found.S_R * scale_R).to(f.B_OR.device, dtype)
    return _with_site(full, site, Factors(A_RI, B_OR, 1.0))


def steered(full: AdapterWeights, site: str, index: int, value: float) -> Intervention:
    """The adapter with a constant added to one direction's value sigma (v . x) at every token."""
    found = _checked_directions(full, site, index)
    return Intervention(full, {site: (value * found.U_OR[:, index]).to(full[site].B_OR)})


def shifted_at_random(full: AdapterWeights, sites: Collection[str], seed: int) -> Intervention:
    """The whole adapter plus, at these sites, random directions of the same rank and Frobenius norm as the update's.

    Taking an update out moves the function by that update; this moves it by as large a step nobody learnt.
    """
    _check_sites(full, sites)
    changed = dict(full.factors)
    for site in sites:
        drawn = noise(AdapterWeights({site: full[site]}), full[site].rank, seed)[site]
        changed[site] = _sum(full[site], drawn)
    return Intervention(AdapterWeights(changed))


def shifted_in_direction(full: AdapterWeights, site: str, index: int, seed: int) -> Intervention:
    """The whole adapter plus, at this site, one random direction with the singular value of the one named."""
    alone = _checked_directions(full, site, index).kept([index], full[site])
    return _with_site(full, site, _sum(full[site], noise(AdapterWeights({site: alone}), 1, seed)[site]))


def rescaled_factors(full: AdapterWeights, sites: Collection[str], seed: int) -> Intervention:
    """The same function from other numbers: A times c and B over c at these sites, c drawn for each.

    Whatever changes is the rounding of the pass: factors are float32 at least, since rounding them to half precision
    would change the function. c is no power of two, which would round nothing.
    """
    _check_sites(full, sites)
    changed = dict(full.factors)
    for site in sites:
        c = float(numpy_stream("rescale", seed, site).uniform(-log2(MOST_RESCALE), log2(MOST_RESCALE)))
        factor = 2.0**c if c != round(c) else 3.0
        wide = _at_least_float32(full[site])
        changed[site] = Factors(wide.A_RI * factor, wide.B_OR / factor, wide.s)
    return Intervention(AdapterWeights(changed))


def _sum(one: Factors, other: Factors) -> Factors:
    """Both updates as one, in float32 at least."""
    wide = _at_least_float32(one)
    A_RI = torch.cat([wide.A_RI, other.A_RI.to(wide.A_RI)])
    B_OR = torch.cat([wide.s * wide.B_OR, other.s * other.B_OR.to(wide.B_OR)], dim=1)
    return Factors(A_RI, B_OR, 1.0)


def _at_least_float32(factors: Factors) -> Factors:
    """The same numbers; half precision becomes float32, so that what is made of them is not rounded back."""
    dtype = torch.promote_types(torch.promote_types(factors.A_RI.dtype, factors.B_OR.dtype), torch.float32)
    return Factors(factors.A_RI.to(dtype), factors.B_OR.to(dtype), factors.s)


def _with_site(full: AdapterWeights, site: str, factors: Factors) -> Intervention:
    return Intervention(AdapterWeights({**full.factors, site: factors}))


def _checked_directions(full: AdapterWeights, site: str, index: int) -> Directions:
    """The site's directions, among which the index must be."""
    _check_sites(full, [site])
    found = signed_directions(full[site])
    if not 0 <= index < len(found.S_R):
        raise BadInput(f"{site} has directions 0 to {len(found.S_R) - 1}, not {index}.")
    return found


def _check_sites(full: AdapterWeights, sites: Collection[str]) -> None:
    unknown = [site for site in sites if site not in full]
    if unknown:
        raise BadInput(
            f"The adapter does not change {unknown[0]}; it has {len(full)} sites, such as {next(iter(full))}."
        )
