"""A pack: K adapters of the LoRA family trained side by side, as a few flat buffers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.engine.low_rank import LowRankOp, RowFactors

Layout = tuple[tuple[str, int, int, int], ...]
"""(site, padded rank, I, O) of every site a row adapts, in a fixed order."""


def padded_rank(rank: int) -> int:
    """The smallest power of two that holds the rank."""
    return 1 << (rank - 1).bit_length()


@dataclass(frozen=True, eq=False)
class Bucket:
    """Neighbouring rows of one layout. A row of `theta_KP` holds its A and B of every site, filled up with zeros."""

    first_row: int
    layout: Layout
    theta_KP: Float[Tensor, "K P"]
    grad_KP: Float[Tensor, "K P"]
    factors: dict[str, RowFactors]
    """Views into theta."""
    leaves: tuple[tuple[Tensor, Tensor], ...]
    """Every view into theta that gradients flow to, with its place in grad."""

    @property
    def n_rows(self) -> int:
        """Rows in this bucket."""
        return len(self.theta_KP)


class Pack:
    """The rows of a pack in the order in which they were given buckets; `slot_of[i]` is the row of start i."""

    def __init__(self, starts: Sequence[AdapterWeights], device: torch.device, dtype: torch.dtype) -> None:
        """Raises nothing: the starts fit the base, which whoever made them has seen to."""
        layouts = [_layout(start) for start in starts]
        order = sorted(range(len(starts)), key=lambda i: (layouts[i], i))
        self.slot_of = {start: slot for slot, start in enumerate(order)}
        self.ranks = [{site: factors.rank for site, factors in starts[i].items()} for i in order]
        self.scales = [{site: factors.s for site, factors in starts[i].items()} for i in order]
        self.n_rows = len(starts)
        self.buckets = tuple(self._build(order, layouts, device, dtype))
        for slot, start in enumerate(order):
            self.load_(slot, starts[start])

    def _build(self, order: list[int], layouts: list[Layout], device: torch.device, dtype: torch.dtype) -> list[Bucket]:
        buckets = []
        first = 0
        while first < len(order):
            layout = layouts[order[first]]
            n_rows = sum(layouts[i] == layout for i in order)
            slots = range(first, first + n_rows)
            scales = {
                site: torch.tensor([self.scales[slot][site] for slot in slots], device=device, dtype=dtype)
                for site, *_ in layout
            }
            buckets.append(_bucket(first, layout, n_rows, scales, device, dtype))
            first += n_rows
        return buckets

    @property
    def sites(self) -> set[str]:
        """Every site that any row adapts."""
        return {site for bucket in self.buckets for site in bucket.factors}

    def site_ops(self) -> dict[str, LowRankOp]:
        """The pack at work on a decoder."""
        return {
            site: LowRankOp(
                self.n_rows, tuple(bucket.factors[site] for bucket in self.buckets if site in bucket.factors)
            )
            for site in self.sites
        }

    def zero_grad_(self) -> None:
        """Sets every gradient to zero."""
        for bucket in self.buckets:
            bucket.grad_KP.zero_()

    def add_gradients_(self, loss: Float[Tensor, ""]) -> None:
        """Adds the loss's gradients to the flat buffers."""
        leaves = [pair for bucket in self.buckets for pair in bucket.leaves]
        found = torch.autograd.grad(loss, [leaf for leaf, _ in leaves])
        for (_, place), gradient in zip(leaves, found, strict=True):
            place.add_(gradient)

    def row(self, slot: int) -> tuple[Bucket, int]:
        """The bucket of a row, and its place in it."""
        bucket = next(b for b in self.buckets if b.first_row <= slot < b.first_row + b.n_rows)
        return bucket, slot - bucket.first_row

    def tensors(self, slot: int, flat: Mapping[int, Tensor] | None = None) -> dict[str, Tensor]:
        """`SITE.A` [R, I] and `SITE.B` [O, R] of a row without its filling, as views.

        Of theta, or of other buffers of theta's shape by the first row of their bucket (Adam's moments).
        """
        bucket, place = self.row(slot)
        row_P = (bucket.theta_KP if flat is None else flat[bucket.first_row])[place]
        found = {}
        for (site, padded, n_in, n_out), (start, middle, end) in zip(
            bucket.layout, _offsets(bucket.layout), strict=True
        ):
            rank = self.ranks[slot][site]
            found[f"{site}.A"] = row_P[start:middle].view(padded, n_in)[:rank]
            found[f"{site}.B"] = row_P[middle:end].view(n_out, padded)[:, :rank]
        return found

    @torch.no_grad()
    def load_(self, slot: int, weights: AdapterWeights) -> None:
        """Sets a row's factors."""
        for name, tensor in self.tensors(slot).items():
            site, part = name.rsplit(".", 1)
            tensor.copy_(weights[site].A_RI if part == "A" else weights[site].B_OR)

    def adapter(self, slot: int) -> AdapterWeights:
        """A row's adapter as it is now, copied to the CPU, in its own rank."""
        parts = {name: tensor.detach().cpu().clone() for name, tensor in self.tensors(slot).items()}
        return AdapterWeights(
            {site: Factors(parts[f"{site}.A"], parts[f"{site}.B"], s) for site, s in self.scales[slot].items()}
        )


def _layout(start: AdapterWeights) -> Layout:
    return tuple((site, padded_rank(f.rank), f.A_RI.shape[1], f.B_OR.shape[0]) for site, f in start.items())


def _offsets(layout: Layout) -> list[tuple[int, int, int]]:
    """Per site: where A starts, where B starts, where B ends."""
    offsets = []
    start = 0
    for _, rank, n_in, n_out in layout:
        offsets.append((start, start + rank * n_in, start + rank * (n_in + n_out)))
        start += rank * (n_in + n_out)
    return offsets


def _bucket(
    first: int, layout: Layout, n_rows: int, scales: dict[str, Tensor], device: torch.device, dtype: torch.dtype
) -> Bucket:
    n_parameters = _offsets(layout)[-1][-1]
    theta_KP, grad_KP = (torch.zeros(n_rows, n_parameters, device=device, dtype=dtype) for _ in range(2))
    factors: dict[str, RowFactors] = {}
    leaves: list[tuple[Tensor, Tensor]] = []
    for (site, rank, n_in, n_out), (start, middle, end) in zip(layout, _offsets(layout), strict=True):
        for begin, stop, shape in ((start, middle, (rank, n_in)), (middle, end, (n_out, rank))):
            place = grad_KP[:, begin:stop].unflatten(1, shape)
            leaves.append((theta_KP[:, begin:stop].unflatten(1, shape).requires_grad_(), place))
        factors[site] = RowFactors(first, leaves[-2][0], leaves[-1][0], scales[site])
    return Bucket(first, layout, theta_KP, grad_KP, factors, tuple(leaves))
