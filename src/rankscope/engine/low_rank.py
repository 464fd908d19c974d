"""Adapted linear maps for the rows of a pack, with a hand-written backward.

y_k = x_k W^T + b + s_k (x_k A_k^T) B_k^T. One matrix product with the frozen weight serves all rows; that weight never
gets a gradient, and an input that needs none gets none. Where vectors are many, every row multiplies by its merged
weight W + s B A instead: one product, not three. Kept for backward: x, the factors and the frozen weight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from rankscope.lm.decoder import LinearMap


@dataclass(frozen=True)
class RowFactors:
    """Low-rank updates of one site for some neighbouring rows of a pack, all of one padded rank.

    A row whose own rank is smaller is filled up with zero rows of A and zero columns of B: both then get zero
    gradients, and stay zero under Adam.
    """

    first_row: int
    A_KRI: Float[Tensor, "K R I"]
    B_KOR: Float[Tensor, "K O R"]
    scale_K: Float[Tensor, " K"]

    @property
    def rows(self) -> slice:
        """Where these rows stand in the pack."""
        return slice(self.first_row, self.first_row + len(self.A_KRI))

    @property
    def scaled_B_KOR(self) -> Float[Tensor, "K O R"]:
        """B with the scale in it: R values per output instead of one per vector."""
        return self.B_KOR * self.scale_K[:, None, None]


@dataclass(frozen=True)
class LowRankOp:
    """The site operation of a pack of `n_rows`: rows outside every part run the frozen map alone."""

    n_rows: int
    parts: tuple[RowFactors, ...]

    def __call__(self, x: Float[Tensor, "*N I"], frozen: LinearMap) -> Float[Tensor, "K *M O"]:
        """From an input that all rows share, or one input per row [K, N, ..., I] with n_rows in front."""
        factors = [t.to(x.dtype) for part in self.parts for t in (part.A_KRI, part.B_KOR, part.scale_K)]
        firsts = tuple(part.first_row for part in self.parts)
        shared = x.ndim < 4
        apply: Callable[..., Tensor] = _AdaptedLinear.apply
        bias_O = None if frozen.bias_O is None else frozen.bias_O.to(x.dtype)
        return apply(x, frozen.weight_OI(x.dtype), bias_O, self.n_rows, shared, firsts, *factors)


class _AdaptedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        n_rows: int,
        shared: bool,
        firsts: tuple[int, ...],
        *factors: Tensor,
    ) -> Tensor:
        n_out, n_in = weight_OI.shape
        x_KMI = x.reshape(1 if shared else n_rows, -1, n_in)
        parts = _parts(firsts, factors)
        covered = sum(len(part.A_KRI) for part in parts)
        if pays_to_merge(x_KMI.shape[1], n_in, n_out, x.dtype) and covered == n_rows and len(x_KMI) == n_rows:
            y_KMO = _joined([_times(x_KMI[part.rows], merged(weight_OI, part), bias_O) for part in parts])
        else:
            y_KMO = _times(x_KMI, weight_OI, bias_O)
            if len(y_KMO) < n_rows:
                y_KMO = y_KMO.expand(n_rows, *y_KMO.shape[1:]).clone()
            for part in parts:
                y_KMO[part.rows].baddbmm_(_down(x_KMI, part), part.scaled_B_KOR.transpose(1, 2))
        ctx.save_for_backward(x_KMI, weight_OI, *factors)
        ctx.n_rows, ctx.firsts, ctx.x_shape = n_rows, firsts, x.shape
        inner = x.shape[:-1] if shared else x.shape[1:-1]
        return y_KMO.view(n_rows, *inner, n_out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x_KMI, weight_OI, *factors = ctx.saved_tensors
        grad_KMO = grad.reshape(ctx.n_rows, -1, grad.shape[-1])
        parts = _parts(ctx.firsts, factors)
        narrow = [grad_KMO[part.rows] @ part.scaled_B_KOR for part in parts]
        gradients: list[Tensor | None] = []
        for part, grad_h_KMR in zip(parts, narrow, strict=True):
            grad_B_KRO = _down(x_KMI, part).mT @ grad_KMO[part.rows]  # with the narrow factor first it is faster
            grad_B_KOR = grad_B_KRO.mul_(part.scale_K[:, None, None]).mT
            gradients += [_up(grad_h_KMR, x_KMI, part), grad_B_KOR, None]
        grad_x = _grad_x(grad_KMO, weight_OI, parts, narrow) if ctx.needs_input_grad[0] else None
        if grad_x is not None:
            grad_x = (grad_x.sum(0) if len(x_KMI) < ctx.n_rows else grad_x).reshape(ctx.x_shape)
        return (grad_x, None, None, None, None, None, *gradients)


def pays_to_merge(n_vectors: int, n_in: int, n_out: int, dtype: torch.dtype) -> bool:
    """Whether adding s B A to the weight costs less than taking every vector through A and B.

    Never in 16 bits, where a small update would be rounded away.
    """
    return dtype.itemsize >= 4 and n_vectors * (n_in + n_out) > 2 * n_in * n_out


def merged(weight_OI: Tensor, part: RowFactors) -> Tensor:
    """W + s B A of every row [K, O, I], laid out in memory as W is: a transposed copy takes eight times as long."""
    n_rows, B_KOR = len(part.A_KRI), part.scaled_B_KOR
    if weight_OI.mT.is_contiguous():
        weight_IO = weight_OI.mT
        return torch.baddbmm(weight_IO.expand(n_rows, *weight_IO.shape), part.A_KRI.mT, B_KOR.mT).mT
    return torch.baddbmm(weight_OI.expand(n_rows, *weight_OI.shape), B_KOR, part.A_KRI)


def _times(x_KMI: Tensor, weight: Tensor, bias_O: Tensor | None) -> Tensor:
    """X W^T + b with one weight [O, I], or one per row [K, O, I]."""
    if weight.ndim == 2 or len(x_KMI) == 1:
        return F.linear(x_KMI.flatten(0, 1), weight.reshape(weight.shape[-2:]), bias_O).unflatten(0, x_KMI.shape[:2])
    return torch.baddbmm(bias_O, x_KMI, weight.transpose(1, 2)) if bias_O is not None else x_KMI @ weight.mT


def _grad_x(grad_KMO: Tensor, weight_OI: Tensor, parts: list[RowFactors], narrow: list[Tensor]) -> Tensor:
    """Gradient of every row's input, by the merged weight where that is cheaper."""
    n_rows, n_vectors, n_out = grad_KMO.shape
    covered = sum(len(part.A_KRI) for part in parts)
    if covered == n_rows and pays_to_merge(n_vectors, weight_OI.shape[1], n_out, grad_KMO.dtype):
        return _joined([_times(grad_KMO[part.rows], merged(weight_OI, part).mT, None) for part in parts])
    grad_x_KMI = _times(grad_KMO, weight_OI.T, None)
    for part, grad_h_KMR in zip(parts, narrow, strict=True):
        grad_x_KMI[part.rows].baddbmm_(grad_h_KMR, part.A_KRI)
    return grad_x_KMI


def _joined(rows: list[Tensor]) -> Tensor:
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _parts(firsts: tuple[int, ...], factors: Sequence[Tensor]) -> list[RowFactors]:
    return [RowFactors(first, *factors[3 * i : 3 * i + 3]) for i, first in enumerate(firsts)]


def _down(x_KMI: Tensor, part: RowFactors) -> Tensor:
    """X A^T of the part's rows [K, M, R]; an input that all rows share takes one matrix product."""
    n_rows, rank, n_in = part.A_KRI.shape
    if len(x_KMI) > 1 or n_rows == 1:
        return (x_KMI if n_rows == len(x_KMI) else x_KMI[part.rows]) @ part.A_KRI.mT
    return (x_KMI[0] @ part.A_KRI.reshape(n_rows * rank, n_in).T).view(-1, n_rows, rank).transpose(0, 1)


def _up(grad_h_KMR: Tensor, x_KMI: Tensor, part: RowFactors) -> Tensor:
    """Gradient of A [K, R, I]."""
    n_rows, _, rank = grad_h_KMR.shape
    if len(x_KMI) > 1 or n_rows == 1:
        return grad_h_KMR.mT @ (x_KMI if n_rows == len(x_KMI) else x_KMI[part.rows])
    return (grad_h_KMR.mT.reshape(n_rows * rank, -1) @ x_KMI[0]).view(n_rows, rank, -1)
