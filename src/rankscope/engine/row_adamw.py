"""AdamW on the rows of a flat buffer: every row with its own learning rate, step, betas, decay and clipping."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class RowSettings:
    """One column vector [K, 1] in float64 per setting."""

    weight_decay: Float[Tensor, "K 1"]
    beta1: Float[Tensor, "K 1"]
    beta2: Float[Tensor, "K 1"]
    eps: Float[Tensor, "K 1"]
    clip: Float[Tensor, "K 1"]


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
    grad_KP.mul_((clip_K1[:, 0].to(norm_K.dtype) / (norm_K + 1e-6)).clamp(max=1.0)[:, None])
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
    """One step of torch's AdamW, in its order of operations; rows that are not alive stay as they are.

    Those rows are put back after the step, which leaves the arithmetic of the others as it is to the last bit.
    """
    state = (theta_KP, moments.mean_KP, moments.square_KP, moments.step_K1)
    dead = None if alive_K is None or bool(alive_K.all()) else ~alive_K
    before = None if dead is None else [tensor[dead] for tensor in state]
    _step_(theta_KP, grad_KP, moments, settings, lr_K1)
    if dead is not None and before is not None:
        for tensor, rows in zip(state, before, strict=True):
            tensor[dead] = rows


def _step_(theta_KP: Tensor, grad_KP: Tensor, moments: Moments, settings: RowSettings, lr_K1: Tensor) -> None:
    dtype = theta_KP.dtype
    moments.step_K1.add_(1)
    correction1_K1 = 1 - settings.beta1**moments.step_K1
    correction2_K1 = (1 - settings.beta2**moments.step_K1).sqrt()
    if bool(settings.weight_decay.any()):
        theta_KP.mul_((1 - lr_K1 * settings.weight_decay).to(dtype))
    moments.mean_KP.lerp_(grad_KP, (1 - settings.beta1).to(dtype).expand_as(grad_KP))
    moments.square_KP.mul_(settings.beta2.to(dtype)).addcmul_(grad_KP, grad_KP * (1 - settings.beta2).to(dtype))
    denominator_KP = (moments.square_KP.sqrt() / correction2_K1.to(dtype)).add_(settings.eps.to(dtype))
    theta_KP.addcdiv_(moments.mean_KP * (-lr_K1 / correction1_K1).to(dtype), denominator_KP)
