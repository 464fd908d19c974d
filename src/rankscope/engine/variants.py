"""Several adapters on one base at once, for reading: a pass over a batch gives the logits of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.attach import check_fits_model
from rankscope.adapters.weights import AdapterWeights
from rankscope.engine.low_rank import LowRankOp, RowFactors
from rankscope.engine.model import DecoderModel
from rankscope.lm.decoder import Kept, LinearMap, SiteOp
from rankscope.lm.read_decoder import read_decoder


class Variants:
    """K adapters of any ranks and sites (none at all is the base), as rows of one forward pass."""

    def __init__(
        self,
        model: PreTrainedModel,
        adapters: Sequence[AdapterWeights],
        offsets: Sequence[Mapping[str, Tensor]] = (),
    ) -> None:
        """`offsets`, one mapping per adapter: what is added to a site's output at every token, besides its update.

        Raises BadInput for a site that the model lacks, or factors of another shape.
        """
        assert not offsets or len(offsets) == len(adapters)
        for adapter in adapters:
            check_fits_model(model, adapter)
        self.n_rows = len(adapters)
        self._decoder = read_decoder(model)
        self._ops = _shifted(_ops(adapters, self._decoder.embedding_VD), offsets, self._decoder.embedding_VD)
        self.model = DecoderModel(model, self._ops)
        """The base with all of them at work: logits [K, N, T, V], or [N, T, V] where none changes anything."""

    @torch.no_grad()
    def logits(
        self,
        tokens_NT: Int[Tensor, "N T"],
        wanted_NT: Bool[Tensor, "N T"],
        start_layer: int = 0,
        residual_NTD: Float[Tensor, "N T D"] | None = None,
    ) -> Float[Tensor, "K P V"]:
        """Every adapter's logits at the wanted positions, in row order.

        Where all of them agree below `start_layer`, the residual there may be given instead of being computed.
        """
        kept = Kept.of(wanted_NT)
        hidden = self._decoder.forward(
            tokens_NT if residual_NTD is None else None,
            start_layer=start_layer,
            residual=residual_NTD,
            site_ops=self._ops,
            kept=kept,
        )
        if hidden.ndim == 3:
            hidden = hidden.expand(self.n_rows, *hidden.shape)
        return self._decoder.logits(hidden[:, kept.is_wanted_NA])


@dataclass(frozen=True)
class _Shifted:
    """A site's operation, or the frozen map alone, with a constant added to every row's output."""

    op: SiteOp | None
    shift_KO: Float[Tensor, "K O"]

    def __call__(self, x: Tensor, frozen: LinearMap) -> Float[Tensor, "K *M O"]:
        y = frozen(x) if self.op is None else self.op(x, frozen)
        return y + self.shift_KO[:, None, None].to(y.dtype)


def _shifted(ops: Mapping[str, SiteOp], offsets: Sequence[Mapping[str, Tensor]], like: Tensor) -> dict[str, SiteOp]:
    """The operations, with offsets where any row has one; a row without gets zeros."""
    shifts: dict[str, Tensor] = {}
    for row, offset in enumerate(offsets):
        for site, shift_O in offset.items():
            rows_KO = shifts.setdefault(site, like.new_zeros(len(offsets), len(shift_O)))
            rows_KO[row] = shift_O.detach().to(like)
    return {**ops, **{site: _Shifted(ops.get(site), rows_KO) for site, rows_KO in shifts.items()}}


def _ops(adapters: Sequence[AdapterWeights], like: Tensor) -> dict[str, SiteOp]:
    """One part per site over all rows, filled up with zeros to the site's largest rank."""
    sites = dict.fromkeys(site for adapter in adapters for site, f in adapter.items() if f.rank > 0)
    return {site: LowRankOp(len(adapters), (_filled(adapters, site, like),)) for site in sites}


def _filled(adapters: Sequence[AdapterWeights], site: str, like: Tensor) -> RowFactors:
    found = [adapter.get(site) for adapter in adapters]
    rank = max(f.rank for f in found if f is not None)
    n_in, n_out = next((f.A_RI.shape[1], f.B_OR.shape[0]) for f in found if f is not None)
    A_KRI = like.new_zeros(len(adapters), rank, n_in)
    B_KOR = like.new_zeros(len(adapters), n_out, rank)
    scale_K = like.new_ones(len(adapters))
    for row, factors in enumerate(found):
        if factors is not None:
            A_KRI[row, : factors.rank] = factors.A_RI.detach().to(like)
            B_KOR[row, :, : factors.rank] = factors.B_OR.detach().to(like)
            scale_K[row] = factors.s
    return RowFactors(0, A_KRI, B_KOR, scale_K)
