"""Transformers models that really compute in float64, for comparisons to nine digits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel


@contextmanager
def computing_in_fp64(monkeypatch: pytest.MonkeyPatch, model: PreTrainedModel) -> Iterator[None]:
    """Transformers takes RMS norms and rotary angles through fp32 whatever the model's dtype; here it does not."""

    def norm(self: Any, x: torch.Tensor) -> Any:
        return self.weight * x * (x.square().mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()

    def angles(self: Any, x: torch.Tensor, position_ids: torch.Tensor) -> Any:
        half = position_ids[..., None].to(x.dtype) * self.original_inv_freq.to(x.dtype)
        both = torch.cat((half, half), dim=-1)
        return both.cos() * self.attention_scaling, both.sin() * self.attention_scaling

    with monkeypatch.context() as patch:
        for module in model.modules():
            if type(module).__name__.endswith("RMSNorm"):
                patch.setattr(type(module), "forward", norm)
            if type(module).__name__.endswith("RotaryEmbedding"):
                patch.setattr(type(module), "forward", angles)
        yield
