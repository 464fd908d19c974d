"""Spectral rank: estimators from singular values alone. Adding one is a function and a line in ESTIMATORS.

Every function takes singular values, descending and non-negative. Values at or below TOLERANCE * s[0] count as
zero, except in the counts by threshold, whose threshold is their own. None of them says how much rank a
skill needs: they describe one trained update.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rankscope.base.errors import BadInput

TOLERANCE = 1e-12
"""Relative size at or below which a singular value counts as zero."""
SMALLEST = 1e-30
"""Absolute size at or below which a whole spectrum counts as empty."""
P1_THRESHOLDS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


class EmptySpectrum(BadInput):
    """All singular values are zero: the adapter changes nothing and has no spectral rank."""


def _clean(s_R: Float[Tensor, " R"]) -> Float[Tensor, " R"]:
    """The values as float64 with those below tolerance set to zero; checks order and sign."""
    s_R = s_R.detach().cpu().double()
    if s_R.ndim != 1 or not bool(torch.isfinite(s_R).all()) or bool((s_R < 0).any()) or bool((s_R.diff() > 0).any()):
        raise BadInput("Singular values must be one finite, non-negative, descending vector; use singular_values().")
    if len(s_R) == 0 or float(s_R[0]) <= SMALLEST:
        raise EmptySpectrum(
            "Expected at least one singular value above zero, but all are zero: the adapter changes nothing "
            "(an untrained LoRA has B = 0). Train it first, or leave this site out."
        )
    return torch.where(s_R > TOLERANCE * s_R[0], s_R, 0.0)


def _energy(s_R: Float[Tensor, " R"]) -> Float[Tensor, " R"]:
    """Squares of s / s[0], so that no square under- or overflows."""
    s_R = _clean(s_R)
    return (s_R / s_R[0]) ** 2


def _entropy_rank(share_R: Float[Tensor, " R"]) -> float:
    return float(torch.special.entr(share_R).sum().exp())


def energy_rank(s_R: Float[Tensor, " R"], q: float) -> float:
    """Smallest k whose first k values hold the share q of the energy sum(s**2), a whole number.

    Source: the usual cut of principal component analysis (Jolliffe 2002, section 6.1.1).
    """
    energy_R = _energy(s_R)
    reached_R = energy_R.cumsum(0) >= q * energy_R.sum() * (1 - 1e-12)
    return float(int(reached_R.double().argmax()) + 1)


def entropy_rank(s_R: Float[Tensor, " R"]) -> float:
    """Exponential of the entropy of s / sum(s), between 1 and the number of non-zero values.

    Source: Roy and Vetterli 2007, "effective rank".
    """
    s_R = _clean(s_R)
    return _entropy_rank(s_R / s_R.sum())


def energy_entropy_rank(s_R: Float[Tensor, " R"]) -> float:
    """Exponential of the entropy of s**2 / sum(s**2): the entropy rank of the energy.

    Source: Roy and Vetterli 2007 with squares, as for the entanglement spectrum of a pure state.
    """
    energy_R = _energy(s_R)
    return _entropy_rank(energy_R / energy_R.sum())


def stable_rank(s_R: Float[Tensor, " R"]) -> float:
    """sum(s**2) / s[0]**2, the squared Frobenius norm over the squared spectral norm.

    Source: Rudelson and Vershynin 2007, "numerical rank".
    """
    return float(_energy(s_R).sum())


def participation_ratio(s_R: Float[Tensor, " R"]) -> float:
    """sum(s**2)**2 / sum(s**4), the number of directions that share the energy.

    Source: Bell and Dean 1970, applied to squared singular values.
    """
    energy_R = _energy(s_R)
    return float(energy_R.sum() ** 2 / (energy_R**2).sum())


def relative_count(s_R: Float[Tensor, " R"], threshold: float) -> float:
    """How many values exceed threshold * s[0]; at 1e-3 it is P1's headline "effective rank".

    Source: arXiv 2412.00029 and its code. It moves several-fold with the threshold: show the curve.
    """
    if not 0 <= threshold < 1:
        raise BadInput(f"A relative threshold lies between 0 and 1, not {threshold}.")
    s_R = _clean(s_R)
    return float((s_R > threshold * s_R[0]).sum())


def relative_count_curve(s_R: Float[Tensor, " R"], thresholds: Sequence[float] = P1_THRESHOLDS) -> dict[float, float]:
    """relative_count at each threshold."""
    return {threshold: relative_count(s_R, threshold) for threshold in thresholds}


def absolute_count(s_R: Float[Tensor, " R"], threshold: float = 1e-5) -> float:
    """How many values exceed an absolute threshold; may be 0. Not invariant to scale.

    Source: P1's code (arXiv 2412.00029), there on B @ A without the adapter's scale; divide s by it to match.
    """
    return float((_clean(s_R) > threshold).sum())


def top5_nuclear_share(s_R: Float[Tensor, " R"]) -> float:
    """Share of sum(s) held by the five largest values, between 0 and 1.

    Source: P1's code (arXiv 2412.00029), which calls it variance explained; nothing is squared.
    """
    s_R = _clean(s_R)
    return float(s_R[:5].sum() / s_R.sum())


def _gaussian_triangle(random: np.random.Generator, n: int, R: int) -> np.ndarray:
    """The R factor of the QR of an n x R standard normal matrix, drawn directly (Bartlett 1933)."""
    triangle_RR = np.triu(random.standard_normal((R, R)), 1)
    np.fill_diagonal(triangle_RR, np.sqrt(random.chisquare(n - np.arange(R))))
    return triangle_RR


@lru_cache(maxsize=256)
def noise_edge(shape_OI: tuple[int, int], R: int, draws: int = 200, quantile: float = 0.99) -> float:
    """Largest over median singular value that a pure-noise adapter reaches: its `quantile` over `draws`.

    The null is B @ A with independent standard normal B [O, R] and A [R, I]; needs R <= min(O, I).
    """
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(draws):
        core_RR = _gaussian_triangle(random, shape_OI[0], R) @ _gaussian_triangle(random, shape_OI[1], R).T
        values_R = np.linalg.svd(core_RR, compute_uv=False)
        ratios.append(values_R[0] / np.median(values_R))
    return float(np.quantile(ratios, quantile))


def noise_cut_rank(s_R: Float[Tensor, " R"], shape_OI: tuple[int, int]) -> float | None:
    """How many values stand above the top of a noise spectrum with the same median; may be 0.

    None below nominal rank 8, or above min(O, I), where a median says nothing about noise.
    Assumes that fewer than half of the R directions carry signal and that the rest is a product of two
    independent Gaussian factors of the site's shape; trained factors need not be, so it is a descriptor.
    Source: the median-scaled cut of Gavish and Donoho 2014 (there for a full noise matrix, by its
    Marchenko-Pastur edge), with the edge of a factor product found by simulation at the 99th percentile.
    """
    s_R = _clean(s_R)
    R = len(s_R)
    median = float(np.median(s_R.numpy()))
    if R < 8 or min(shape_OI) < R or median == 0:
        return None
    return float((s_R > noise_edge(tuple(shape_OI), R) * median).sum())


ESTIMATORS: dict[str, Callable[[Float[Tensor, " R"]], float]] = {
    "energy .90": partial(energy_rank, q=0.90),
    "energy .95": partial(energy_rank, q=0.95),
    "energy .99": partial(energy_rank, q=0.99),
    "entropy": entropy_rank,
    "energy entropy": energy_entropy_rank,
    "stable": stable_rank,
    "participation": participation_ratio,
    "N(1e-1)": partial(relative_count, threshold=1e-1),
    "N(1e-2)": partial(relative_count, threshold=1e-2),
    "N(1e-3)": partial(relative_count, threshold=1e-3),
    "N(1e-4)": partial(relative_count, threshold=1e-4),
    "N(1e-5)": partial(relative_count, threshold=1e-5),
}
"""Spectral ranks: name -> function of the singular values, each between 1 and R and invariant to scale."""

P1_READINGS: dict[str, Callable[[Float[Tensor, " R"]], float]] = {
    "count above 1e-5": absolute_count,
    "top-5 share of nuclear norm": top5_nuclear_share,
}
"""P1's other readings of a spectrum: not ranks, or not invariant to scale."""
