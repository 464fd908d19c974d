"""Precision plans: which operations of a training compute in bf16, and which in fp32."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator

from rankscope.base.errors import BadInput

Format = Literal["fp32", "bf16"]
AttentionKernel = Literal["sdpa", "matmul"]
"""torch's fused attention, or two matrix products with a softmax between."""
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
_NAME = re.compile(r"products=(fp32|bf16) attention=(fp32|bf16) pointwise=(fp32|bf16) kernel=(sdpa|matmul)")


@dataclass(frozen=True)
class PrecisionPlan:
    """A format per kind of operation. Weights that train, the residual stream, norms and losses stay in fp32."""

    products: Format = "fp32"
    """Matrix products with weights."""
    attention: Format = "fp32"
    """Queries with keys, softmax, and its product with values."""
    pointwise: Format = "fp32"
    """The activation function and gates."""
    kernel: AttentionKernel = "sdpa"
    """How attention is computed; it matters for speed, and for the last bits."""

    @property
    def name(self) -> str:
        """`fp32` for the default, which is the strict mode; else the format of each kind."""
        if self == PrecisionPlan():
            return "fp32"
        formats = f"products={self.products} attention={self.attention} pointwise={self.pointwise}"
        return f"{formats} kernel={self.kernel}"

    @classmethod
    def of(cls, name: str) -> "PrecisionPlan":
        """The plan of that name; `bf16` is everything in bf16. Raises BadInput for other names."""
        if name in ("fp32", "bf16"):
            return cls(name, name, name)  # type: ignore[arg-type]
        found = _NAME.fullmatch(name)
        if found is None:
            raise BadInput(
                f"{name!r} is no precision: use fp32, bf16, or such as "
                "'products=bf16 attention=fp32 pointwise=fp32 kernel=sdpa'."
            )
        return cls(*found.groups())  # type: ignore[arg-type]

    def dtype(self, kind: Literal["products", "attention", "pointwise"], like: torch.dtype) -> torch.dtype:
        """What a kind of operation computes in; a base in float64 computes in float64 throughout."""
        return like if like == torch.float64 else DTYPES[getattr(self, kind)]


FP32 = PrecisionPlan()


def _checked(name: str) -> str:
    PrecisionPlan.of(name)
    return name


Precision = Annotated[str, AfterValidator(_checked)]
"""Name of a precision plan, as cells carry it."""
