"""Our decoder behind the interface of a transformers model: training and scoring need not know which they have."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from rankscope.adapters.attach import attached, check_fits_model
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.precision import FP32, PrecisionPlan
from rankscope.engine.low_rank import LowRankOp, RowFactors
from rankscope.engine.prefix import PrefixCache
from rankscope.engine.switches import ALL_ON, Switches
from rankscope.lm.decoder import Kept, KeysAndValues, LinearMap, SiteOp
from rankscope.lm.read_decoder import read_decoder, why_not_decodable


@dataclass(frozen=True)
class Output:
    """What a forward pass gives."""

    logits: Tensor
    past_key_values: KeysAndValues | None = None


class DecoderModel(nn.Module):
    """`input_ids` -> `.logits`, through our decoder, with an operation of one's own at any site."""

    def __init__(
        self,
        model: PreTrainedModel,
        site_ops: Mapping[str, SiteOp] | None = None,
        switches: Switches = ALL_ON,
        prefix: PrefixCache | None = None,
        plan: PrecisionPlan = FP32,
    ) -> None:
        """Shares the model's weights; its parameters are the model's. A prefix saves the layers below its own."""
        super().__init__()
        self.config: PreTrainedConfig = model.config
        self._model = model
        self._decoder = read_decoder(model).in_precision(plan)
        self.site_ops: Mapping[str, SiteOp] = site_ops or {}
        self._switches = switches
        self._prefix = prefix

    @property
    def prefix_identity(self) -> str | None:
        """Which items `item_rows` may name, as the prefix was told; None without a prefix."""
        return None if self._prefix is None else self._prefix.identity

    def forward(
        self,
        input_ids: Int[Tensor, "*K N T"],
        past_key_values: KeysAndValues | None = None,
        use_cache: bool = False,
        logits_to_keep: Bool[Tensor, "N T"] | int = 0,
        item_rows: Int[np.ndarray, " N"] | None = None,
    ) -> Output:
        """Logits [N, T, V]; where `logits_to_keep` is a mask, [M, V] at its M places; a number n keeps the last n.

        `item_rows` says which of the prefix's items these are. Site operations of several rows put those in front.
        """
        if isinstance(logits_to_keep, Tensor):
            return Output(self._logits_at(input_ids, logits_to_keep, item_rows))
        cache = (past_key_values or KeysAndValues()) if use_cache else None
        hidden = self._decoder.forward(input_ids, site_ops=self.site_ops, cache=cache)
        return Output(self._decoder.logits(hidden[..., -logits_to_keep:, :]), cache)

    def _logits_at(self, input_ids: Tensor, wanted: Tensor, item_rows: np.ndarray | None) -> Tensor:
        decoder, switches = self._decoder, self._switches
        layer, residual = 0, None
        if self._prefix is not None and item_rows is not None:
            layer, residual = self._prefix.layer, self._prefix.residual(item_rows, input_ids)
        elif not switches.stop:
            residual = decoder.embed(input_ids).requires_grad_()
        kept = Kept.of(wanted) if switches.trim else None
        hidden = decoder.forward(input_ids, start_layer=layer, residual=residual, site_ops=self.site_ops, kept=kept)
        places = wanted if kept is None else kept.is_wanted_NA
        return decoder.logits(hidden[places]) if switches.head_rows else decoder.logits(hidden)[places]


class AdaptedSite:
    """One adapter's update at one site, without the dimension of pack rows."""

    def __init__(
        self, A_RI: Float[Tensor, "R I"], B_OR: Float[Tensor, "O R"], scale: float, own_backward: bool = True
    ) -> None:
        """Gradients flow to A and B if they require any; without `own_backward` autograd finds them."""
        self._own_backward = own_backward
        self._A_RI, self._B_OR = A_RI, B_OR
        self._scale_1 = torch.tensor([scale], dtype=A_RI.dtype, device=A_RI.device)

    def __call__(self, x: Float[Tensor, "N T I"], frozen: LinearMap) -> Float[Tensor, "N T O"]:
        """The frozen output plus s B (A x)."""
        if not self._own_backward:
            A_RI, B_OR = self._A_RI.to(x.dtype), (self._B_OR * self._scale_1).to(x.dtype)
            return frozen(x) + (x @ A_RI.T) @ B_OR.T
        row = RowFactors(0, self._A_RI[None], self._B_OR[None], self._scale_1)
        return LowRankOp(1, (row,))(x, frozen).squeeze(0)


def adapter_ops(weights: AdapterWeights, like: Tensor) -> dict[str, SiteOp]:
    """The adapter as site operations, on the device and in the dtype of `like`; sites of rank 0 are left out."""
    placed: Iterable[tuple[str, Factors]] = (
        (site, replace(f, A_RI=f.A_RI.to(like), B_OR=f.B_OR.to(like))) for site, f in weights.items() if f.rank > 0
    )
    return {site: AdaptedSite(f.A_RI, f.B_OR, f.s) for site, f in placed}


def decoded(model: nn.Module) -> nn.Module:
    """The same model on our decoder where that runs it, else the model itself."""
    if isinstance(model, PreTrainedModel) and why_not_decodable(model) is None:
        return DecoderModel(model)
    return model


@contextmanager
def adapted(model: PreTrainedModel, weights: AdapterWeights, prefix: PrefixCache | None = None) -> Iterator[nn.Module]:
    """The model with the adapter at work, on our decoder where that runs it; the model is as before afterwards.

    A prefix that ends below the adapter saves what lies below its layer, for a caller that names its rows.
    Raises: BadInput for a site that the model lacks, or factors of another shape.
    """
    if why_not_decodable(model) is None:
        check_fits_model(model, weights)
        like = next(model.parameters())
        is_below = prefix is not None and prefix.layer <= read_decoder(model).lowest_layer(list(weights))
        yield DecoderModel(model, adapter_ops(weights, like), prefix=prefix if is_below else None)
    else:
        with attached(model, weights):
            yield model
