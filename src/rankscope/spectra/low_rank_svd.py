"""Singular values of s * B @ A without forming the product."""

import torch
from jaxtyping import Float
from torch import Tensor

from rankscope.base.errors import BadInput


def _exact(name: str, factor: Tensor) -> Tensor:
    """The factor on the CPU in float64; BadInput when it is not finite."""
    factor = factor.detach().cpu().double()
    if not bool(torch.isfinite(factor).all()):
        raise BadInput(f"Factor {name} holds values that are not finite; its training diverged. Leave this seed out.")
    return factor


def _check_factors(A_RI: Tensor, B_OR: Tensor) -> None:
    if A_RI.ndim != 2 or B_OR.ndim != 2 or A_RI.shape[0] != B_OR.shape[1]:
        raise BadInput(f"Expected A [R, I] and B [O, R] with one R, not {tuple(A_RI.shape)} and {tuple(B_OR.shape)}.")


def low_rank_svd(
    A_RI: Float[Tensor, "R I"], B_OR: Float[Tensor, "O R"], s: float
) -> tuple[Float[Tensor, "O K"], Float[Tensor, " K"], Float[Tensor, "K I"]]:
    """U, S, V with s * B @ A = U @ diag(S) @ V, S descending, K = min(O, R, I) (the nominal rank, as a rule).

    QR of both factors and an SVD of the small core, in float64 on the CPU whatever came in; values far below
    the largest keep their digits, which eigenvalues of Gram matrices lose. A zero factor gives zero values.
    Raises: BadInput when the shapes disagree or a value is not finite.
    """
    _check_factors(A_RI, B_OR)
    left_OK, left_KR = torch.linalg.qr(_exact("B", B_OR))
    right_IK, right_KR = torch.linalg.qr(_exact("A", A_RI).T)
    U_KJ, S_J, V_JK = torch.linalg.svd(left_KR @ right_KR.T, full_matrices=False)
    sign = -1.0 if s < 0 else 1.0
    return sign * (left_OK @ U_KJ), abs(s) * S_J, V_JK @ right_IK.T


def singular_values(A_RI: Float[Tensor, "R I"], B_OR: Float[Tensor, "O R"], s: float) -> Float[Tensor, " K"]:
    """Singular values of s * B @ A, descending, float64, K = min(O, R, I)."""
    return low_rank_svd(A_RI, B_OR, s)[1]


def square_root(moment_II: Float[Tensor, "I I"]) -> Float[Tensor, "I I"]:
    """The symmetric square root of a second moment E[x x^T]; rounding below zero counts as zero.

    Raises: BadInput when it is not symmetric or has a clearly negative eigenvalue.
    """
    moment_II = _exact("second moment", moment_II)
    scale = float(moment_II.abs().max())
    if float((moment_II - moment_II.T).abs().max()) > 1e-6 * scale:
        raise BadInput("A second moment must be symmetric: pass E[x x^T] of the site's input.")
    values_I, vectors_II = torch.linalg.eigh((moment_II + moment_II.T) / 2)
    if float(values_I[0]) < -1e-6 * scale * len(values_I):
        raise BadInput(f"A second moment has no negative eigenvalues; the smallest here is {float(values_I[0]):.3g}.")
    return (vectors_II * values_I.clamp(min=0).sqrt()) @ vectors_II.T


def weighted_singular_values(
    B_OR: Float[Tensor, "O R"], s: float, moment_RR: Float[Tensor, "R R"]
) -> Float[Tensor, " K"]:
    """Singular values of s * B @ A @ M^(1/2), with M = E[x x^T] of the site's input, from C = A M A^T alone.

    C = E[(A x)(A x)^T] is all that is needed, since B C^(1/2) and B A M^(1/2) have the same product with their own
    transpose. So M, which has I^2 entries, is never formed; values below 1e-8 of the largest are rounding.
    The squares sum to the mean squared norm of the adapter's output. Descending, float64, K = min(O, R).
    """
    return singular_values(square_root(moment_RR), B_OR, s)
