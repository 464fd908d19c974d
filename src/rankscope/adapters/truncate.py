"""An adapter cut to fewer directions: by singular value, and the controls that show what that choice is worth.

Every function is pure and works per site on the singular directions of delta_OI = s B A. Results are at least
float32. Cutting to k = 0 gives a zero update of rank 0; k at or above a site's rank leaves that site as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.base.seeds import torch_stream
from rankscope.spectra.low_rank_svd import low_rank_svd


@dataclass(frozen=True)
class Directions:
    """Singular value decomposition of one site's update, in float64: delta_OI = U_OR diag(S_R) V_RI, S descending."""

    U_OR: Float[Tensor, "O R"]
    S_R: Float[Tensor, " R"]
    V_RI: Float[Tensor, "R I"]

    def kept(self, indices: Sequence[int], like: Factors) -> Factors:
        """The update made of these directions alone, as factors with scale 1, placed like the given ones."""
        chosen = torch.tensor(list(indices), dtype=torch.long)
        return _placed(self.V_RI[chosen], self.U_OR[:, chosen] * self.S_R[chosen], like)


def directions(factors: Factors) -> Directions:
    """The site's singular directions, on the CPU."""
    if factors.rank == 0:
        raise BadInput("An update of rank 0 has no directions.")
    return Directions(*low_rank_svd(factors.A_RI, factors.B_OR, factors.s))


def signed_directions(factors: Factors) -> Directions:
    """`directions` with the sign of each fixed, so that the largest entry of its u by size is positive."""
    found = directions(factors)
    sign_R = found.U_OR.gather(0, found.U_OR.abs().argmax(dim=0, keepdim=True)).sign()[0]
    return Directions(found.U_OR * sign_R, found.S_R, found.V_RI * sign_R[:, None])


def n_directions(factors: Factors) -> int:
    """Number of singular directions, min(O, R, I): the nominal rank, as a rule."""
    return min(factors.rank, factors.A_RI.shape[1], factors.B_OR.shape[0])


def matrix_rank(factors: Factors) -> int:
    """Rank of the update as a matrix: singular values above rounding.

    Stored factors count as exact, whatever their dtype, and are multiplied in float64. What is rounding is told by the
    wider of their dtypes, at least float32: above eps x max(I, O) times the largest. In bfloat16 and float16 that
    product reaches 1 on maps of ordinary width, and nothing would be left.
    """
    return 0 if factors.rank == 0 else _n_above_rounding(factors, directions(factors).S_R)


def _n_above_rounding(factors: Factors, S_R: Float[Tensor, " R"]) -> int:
    tolerance = torch.finfo(_wide_dtype(factors)).eps * max(factors.A_RI.shape[1], factors.B_OR.shape[0])
    return int((S_R / S_R[0].clamp(min=torch.finfo(torch.float64).tiny)).gt(tolerance).sum())


def truncated(weights: AdapterWeights, k: int) -> AdapterWeights:
    """The k directions with the largest singular values per site: the nearest update of rank k (Eckart and Young)."""
    return _per_site(weights, k, lambda _, f: directions(f).kept(range(k), f))


def bottom(weights: AdapterWeights, k: int) -> AdapterWeights:
    """Control: the k directions with the smallest singular values per site."""
    return _per_site(weights, k, lambda _, f: directions(f).kept(range(n_directions(f) - k, n_directions(f)), f))


def by_order(weights: AdapterWeights, order: Mapping[str, Sequence[int]], k: int) -> AdapterWeights:
    """The first k directions per site in a given order, such as by Fisher information.

    order: site -> a permutation of 0 to R - 1, indices into the directions in descending singular value.
    """
    for site, factors in weights.items():
        if sorted(order.get(site, ())) != list(range(n_directions(factors))):
            raise BadInput(f"The order for {site} must list each of 0 to {n_directions(factors) - 1} once.")
    return _per_site(weights, k, lambda site, f: directions(f).kept(order[site][:k], f))


def random_subspace(weights: AdapterWeights, k: int, seed: int) -> AdapterWeights:
    """Control: the update projected on a random k-dimensional subspace of its own output span, per site.

    Subspaces of one seed are nested in k. A site whose update is of numerical rank k or less stays as it is.
    """
    return _per_site(weights, k, lambda site, f: _projected(f, k, site, seed))


def rescaled(weights: AdapterWeights, k: int) -> AdapterWeights:
    """Control: `truncated`, then scaled to the whole update's Frobenius norm per site; k = 0 stays zero."""
    return _per_site(weights, k, lambda _, f: _norm_matched(f, k))


def global_budget(weights: AdapterWeights, k_mean: float) -> AdapterWeights:
    """k_mean directions per site on average, allotted over all sites by energy (squared singular value).

    The budget is round(k_mean * number of sites). Ties go to the earlier site.
    """
    if k_mean < 0:
        raise BadInput(f"The mean number of directions must be 0 or more, not {k_mean}.")
    per_site = {site: directions(factors) for site, factors in weights.items() if factors.rank > 0}
    ranked = sorted(
        (-float(value), order, site) for order, (site, found) in enumerate(per_site.items()) for value in found.S_R
    )
    counts = dict.fromkeys(weights, 0)
    for _, _, site in ranked[: round(k_mean * len(weights))]:
        counts[site] += 1

    def allotted(site: str, factors: Factors) -> Factors:
        return per_site[site].kept(range(counts[site]), factors)

    return AdapterWeights({site: _cut(site, factors, counts[site], allotted) for site, factors in weights.items()})


def noise(weights: AdapterWeights, k: int, seed: int) -> AdapterWeights:
    """Control: k random directions per site, with the Frobenius norm of the update's best k; nothing was learnt in it.

    With k at or above a site's rank, an update of the trained one's norm and rank in directions it never saw.
    """
    if k < 0:
        raise BadInput(f"The number of directions must be 0 or more, not {k}.")
    return AdapterWeights(
        {site: _noise(factors, min(k, n_directions(factors)), site, seed) for site, factors in weights.items()}
    )


def _noise(factors: Factors, k: int, site: str, seed: int) -> Factors:
    if k == 0:
        return _placed(factors.A_RI[:0], factors.B_OR[:, :0], factors)
    generator = torch_stream("noise update", seed, site)
    A_KI = torch.randn(k, factors.A_RI.shape[1], generator=generator, dtype=torch.float64)
    B_OK = torch.randn(factors.B_OR.shape[0], k, generator=generator, dtype=torch.float64)
    norm = float(directions(factors).S_R[:k].norm())
    return _placed(A_KI, B_OK * (norm / float(low_rank_svd(A_KI, B_OK, 1.0)[1].norm())), factors)


def _per_site(weights: AdapterWeights, k: int, cut: Callable[[str, Factors], Factors]) -> AdapterWeights:
    if k < 0:
        raise BadInput(f"The number of directions must be 0 or more, not {k}.")
    return AdapterWeights({site: _cut(site, factors, k, cut) for site, factors in weights.items()})


def _cut(site: str, factors: Factors, k: int, cut: Callable[[str, Factors], Factors]) -> Factors:
    if k >= n_directions(factors):
        return factors
    return _placed(factors.A_RI[:0], factors.B_OR[:, :0], factors) if k == 0 else cut(site, factors)


def _placed(A_KI: Tensor, B_OK: Tensor, like: Factors, s: float = 1.0) -> Factors:
    """Factors on the given ones' device, in their dtype or float32 if that is wider."""
    dtype = _wide_dtype(like)
    return Factors(A_KI.to(like.A_RI.device, dtype), B_OK.to(like.B_OR.device, dtype), s)


def _wide_dtype(factors: Factors) -> torch.dtype:
    return torch.promote_types(torch.promote_types(factors.A_RI.dtype, factors.B_OR.dtype), torch.float32)


def _projected(factors: Factors, k: int, site: str, seed: int) -> Factors:
    found = directions(factors)
    n_span = _n_above_rounding(factors, found.S_R)
    if k >= n_span:
        return factors
    generator = torch_stream("random subspace", seed, site)
    mix_RK = torch.linalg.qr(torch.randn(n_span, n_span, generator=generator, dtype=torch.float64)).Q[:, :k]
    A_KI = (mix_RK.T * found.S_R[:n_span]) @ found.V_RI[:n_span]
    return _placed(A_KI, found.U_OR[:, :n_span] @ mix_RK, factors)


def _norm_matched(factors: Factors, k: int) -> Factors:
    found = directions(factors)
    kept = float(found.S_R[:k].norm())
    scale = float(found.S_R.norm()) / kept if kept > 0 else 1.0
    return _placed(found.V_RI[:k], found.U_OR[:, :k] * found.S_R[:k], factors, scale)
