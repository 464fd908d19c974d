"""One optimiser step of a whole pack: losses of every row, their gradients, clipping and AdamW."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rankscope.engine.pack import Pack
from rankscope.engine.passes import WHOLE, Part, Passes
from rankscope.engine.row_adamw import Moments, RowSettings, adamw_rows_, clip_rows_
from rankscope.lm.decoder import Decoder, Kept


@dataclass(frozen=True)
class PackBatch:
    """What the rows see in a step: one batch [N, T] for all of them, or one each [K, N, T]."""

    tokens: Int[Tensor, "*K N T"]
    predicts: Bool[Tensor, "*K N T"]
    """True at positions whose next token is part of the loss."""
    length_N: Int[np.ndarray, " N"]
    """Tokens that matter of each item, of the row where it has most."""
    teacher_PV: Float[Tensor, "P V"] | None = None
    """A teacher's log-probabilities at those positions, in order, where the loss is KL(teacher || student)."""
    residual: Float[Tensor, "*K N T D"] | None = None
    """The residual below `start_layer` where it is known already."""
    start_layer: int = 0

    @property
    def is_shared(self) -> bool:
        """Whether all rows see the same batch."""
        return self.tokens.ndim == 2

    def part(self, part: Part) -> "PackBatch":
        """The items of one pass, of every row."""
        items_M, width = torch.from_numpy(part.items_M).to(self.tokens.device), part.n_tokens
        teacher_PV = None
        if self.teacher_PV is not None:
            numbers = torch.full(self.predicts.shape, -1, device=self.predicts.device)
            numbers[self.predicts] = torch.arange(len(self.teacher_PV), device=numbers.device)
            chosen = numbers[..., items_M, :width]
            teacher_PV = self.teacher_PV[chosen[chosen >= 0]]
        residual = None if self.residual is None else self.residual[..., items_M, :width, :]
        tokens, predicts = self.tokens[..., items_M, :width], self.predicts[..., items_M, :width]
        return PackBatch(tokens, predicts, self.length_N[part.items_M], teacher_PV, residual, self.start_layer)


def row_losses(decoder: Decoder, pack: Pack, batch: PackBatch, n_loss_K: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """Sum of each row's losses in nats over the batch, divided by `n_loss_K`.

    Cross-entropy of the next token, or KL(teacher || student) where the batch has a teacher's log-probabilities.
    """
    kept = Kept.of(batch.predicts)
    hidden = decoder.forward(
        batch.tokens, start_layer=batch.start_layer, residual=batch.residual, site_ops=pack.site_ops(), kept=kept
    )
    targets_P = batch.tokens.roll(-1, dims=-1)[batch.predicts]
    if batch.is_shared:
        logits_KPV = decoder.logits(hidden[:, kept.is_wanted_NA])
        return _token_losses(logits_KPV, targets_P, batch.teacher_PV).sum(1) / n_loss_K
    logits_PV = decoder.logits(hidden[kept.is_wanted_NA])
    losses_P = _token_losses(logits_PV, targets_P, batch.teacher_PV)
    owner_P = batch.predicts.nonzero()[:, 0]
    return torch.zeros_like(n_loss_K).index_add(0, owner_P, losses_P) / n_loss_K


def _token_losses(logits: Tensor, targets_P: Tensor, teacher_PV: Tensor | None) -> Tensor:
    """Loss per position [*K, P], in float32 at least."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if teacher_PV is not None:
        return F.kl_div(logits.log_softmax(-1), teacher_PV, reduction="none", log_target=True).sum(-1)
    n_words = logits.shape[-1]
    each = F.cross_entropy(
        logits.reshape(-1, n_words), targets_P.expand(logits.shape[:-1]).reshape(-1), reduction="none"
    )
    return each.view(logits.shape[:-1])


@dataclass
class PackTrainer:
    """A pack with its optimiser state; one call is one step of every row that is alive."""

    decoder: Decoder
    pack: Pack
    settings: Sequence[RowSettings]
    """Per bucket."""
    moments: Sequence[Moments]
    """Per bucket."""
    alive_K: Bool[Tensor, " K"]
    """Rows whose loss, gradient and weights have been finite so far; the others stay as they are."""

    def step_(
        self, batch: PackBatch, lr_K: Float[Tensor, " K"], passes: Passes = WHOLE
    ) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
        """Losses before the step, and gradient norms before clipping. A row that is not finite drops out unchanged."""
        self.pack.zero_grad_()
        n_loss_K = batch.predicts.flatten(-2).sum(-1).expand(self.pack.n_rows).to(loss_dtype(self.pack))
        loss_K = torch.zeros_like(n_loss_K)
        parts = passes.of(batch.length_N)
        for part in parts:
            seen = batch if len(parts) == 1 else batch.part(part)
            part_K = row_losses(self.decoder, self.pack, seen, n_loss_K)
            self.pack.add_gradients_(part_K.sum())
            loss_K += part_K.detach()
        norm_K = torch.zeros_like(loss_K)
        for bucket, settings, moments in zip(self.pack.buckets, self.settings, self.moments, strict=True):
            rows = slice(bucket.first_row, bucket.first_row + bucket.n_rows)
            norm_K[rows] = clip_rows_(bucket.grad_KP, settings.clip)
            finite_K = torch.isfinite(loss_K[rows]) & torch.isfinite(norm_K[rows])
            self.alive_K[rows] &= finite_K
            adamw_rows_(bucket.theta_KP, bucket.grad_KP, moments, settings, lr_K[rows, None], self.alive_K[rows])
        return loss_K, norm_K


def loss_dtype(pack: Pack) -> torch.dtype:
    """The dtype that losses of this pack are kept in: its own, float32 at least."""
    return torch.promote_types(pack.buckets[0].theta_KP.dtype, torch.float32)
