"""AdamW on the rows of a flat buffer: every row with its own learning rate, step, betas, decay and clipping."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class RowSettings:
    """One column vector [K, 1] per setting."""

    weight_decay: Tensor
    beta1: Tensor
    beta2: Tensor
    eps: Tensor
    clip: Tensor


@dataclass(frozen=True)
class Moments:
    """Adam's state of K rows."""

    mean_KP: Float[Tensor, "K P"]
    square_KP: Float[Tensor, "K P"]
    step_K1: Float[Tensor, "K 1"]

    @classmethod
    def zero(cls, theta_KP: Float[Tensor, "K P"]) -> "Moments":
        """Before the first step."""
        step_K1 = torch.zeros(len(theta_KP), 1, dtype=torch.float64, device=theta_KP.device)
        return cls(torch.zeros_like(theta_KP), torch.zeros_like(theta_KP), step_K1)


def clip_rows_(grad_KP: Float[Tensor, "K P"], clip_K1: Float[Tensor, "K 1"]) -> Float[Tensor, " K"]:
    """Scales every row down to its largest norm, as clip_grad_norm_ would, and returns the norms from before."""
    norm_K = torch.linalg.vector_norm(grad_KP, dim=1)
    grad_KP.mul_((clip_K1[:, 0] / (norm_K + 1e-6)).clamp(max=1.0)[:, None])
    return norm_K


@torch.no_grad()
def adamw_rows_(
    theta_KP: Float[Tensor, "K P"],
    grad_KP: Float[Tensor, "K P"],
    moments: Moments,
    settings: RowSettings,
    lr_K1: Float[Tensor, "K 1"],
    alive_K: Bool[Tensor, " K"] | None = None,
) -> None:
    """One step of torch's AdamW, in its order of operations; rows that are not alive stay as they are."""
    if alive_K is not None and not alive_K.all():
        for row in alive_K.nonzero()[:, 0].tolist():
            one = slice(row, row + 1)
            adamw_rows_(theta_KP[one], grad_KP[one], _rows(moments, one), _settings_rows(settings, one), lr_K1[one])
        return
    mean_KP, square_KP, step_K1 = moments.mean_KP, moments.square_KP, moments.step_K1
    dtype = theta_KP.dtype
    step_K1.add_(1)
    correction1_K1 = 1 - settings.beta1**step_K1
    correction2_K1 = (1 - settings.beta2**step_K1).sqrt()
    if bool(settings.weight_decay.any()):
        theta_KP.mul_((1 - lr_K1 * settings.weight_decay).to(dtype))
    mean_KP.lerp_(grad_KP, (1 - settings.beta1).to(dtype).expand_as(grad_KP))
    square_KP.mul_(settings.beta2.to(dtype)).addcmul_(grad_KP, grad_KP * (1 - settings.beta2).to(dtype))
    denominator_KP = (square_KP.sqrt() / correction2_K1.to(dtype)).add_(settings.eps.to(dtype))
    theta_KP.addcdiv_(mean_KP * (-lr_K1 / correction1_K1).to(dtype), denominator_KP)


def _rows(moments: Moments, rows: slice) -> Moments:
    return Moments(moments.mean_KP[rows], moments.square_KP[rows], moments.step_K1[rows])


def _settings_rows(settings: RowSettings, rows: slice) -> RowSettings:
    return RowSettings(*(getattr(settings, name)[rows] for name in settings.__dataclass_fields__))
