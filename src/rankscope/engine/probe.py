"""Which formats are fastest here, found by timing the operations of a training step at the shapes at hand."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from rankscope.base.machine import machine_facts
from rankscope.base.precision import DTYPES, AttentionKernel, Format, PrecisionPlan
from rankscope.base.remembered import remembered
from rankscope.base.timing import seconds
from rankscope.lm.decoder import Decoder, attend

FORMATS: tuple[Format, ...] = get_args(Format)
KERNELS: tuple[AttentionKernel, ...] = get_args(AttentionKernel)
LEAST_SAVING = 0.1
"""Share of an operation's time; timings that differ by less should not decide what a cell's numbers are."""
REPEATS = 5
BUDGET_S = 0.05
"""Time after which an operation is not run again, once it has run twice; the first run only warms up."""


@dataclass(frozen=True)
class Shape:
    """What decides how long the operations of a step take."""

    n_sequences: int
    n_tokens: int
    n_heads: int
    d_model: int
    d_mlp: int

    @classmethod
    def of(cls, decoder: Decoder, n_sequences: int, n_tokens: int) -> "Shape":
        """The shapes of a batch on this decoder."""
        d_mlp, d_model = decoder.blocks[0].mlp_in[0].weight_OI(decoder.embedding_VD.dtype).shape
        return cls(n_sequences, n_tokens, decoder.n_heads, d_model, d_mlp)


@dataclass(frozen=True)
class Probed:
    """The fastest plan, and the seconds that it was chosen by."""

    plan: PrecisionPlan
    seconds: dict[str, float]
    """`operation format [kernel]` -> median seconds, forward and backward, casts included."""


def probe(shape: Shape, device: torch.device) -> Probed:
    """Times every operation in every format; a kind leaves fp32 and the default kernel only for a clear saving."""
    times_s: dict[str, float] = {}
    for name in FORMATS:
        times_s[f"products {name}"] = _products_seconds(shape, DTYPES[name], device)
    products = _chosen({(name,): times_s[f"products {name}"] for name in FORMATS})[0]
    coming = DTYPES[products]
    for name in FORMATS:
        times_s[f"pointwise {name}"] = _pointwise_seconds(shape, coming, DTYPES[name], device)
        for kernel in KERNELS:
            times_s[f"attention {name} {kernel}"] = _attention_seconds(shape, coming, DTYPES[name], kernel, device)
    (pointwise,) = _chosen({(name,): times_s[f"pointwise {name}"] for name in FORMATS})
    attention, chosen_kernel = _chosen(
        {(name, kernel): times_s[f"attention {name} {kernel}"] for name in FORMATS for kernel in KERNELS}
    )
    return Probed(PrecisionPlan(products, attention, pointwise, chosen_kernel), times_s)  # type: ignore[arg-type]


def _chosen(seconds: dict[tuple[str, ...], float]) -> tuple[str, ...]:
    """The fastest choice, or the first where that takes hardly longer."""
    first, fastest = next(iter(seconds)), min(seconds, key=lambda choice: seconds[choice])
    return fastest if seconds[fastest] < (1 - LEAST_SAVING) * seconds[first] else first


def cached_probe(shape: Shape, device: torch.device, folder: Path) -> Probed:
    """`probe`, or what it found on this machine before, with these threads and this torch."""
    facts = machine_facts()
    key = "|".join(map(str, (facts["cpu"], device, torch.get_num_threads(), torch.__version__, shape)))
    return remembered(folder / "precision.json", key, lambda: probe(shape, device), asdict, _probed)


def _probed(found: dict[str, Any]) -> Probed:
    return Probed(PrecisionPlan(**found["plan"]), found["seconds"])


def _products_seconds(shape: Shape, dtype: torch.dtype, device: torch.device) -> float:
    """A frozen map of the MLP, from a norm's output in fp32."""
    x = torch.randn(shape.n_sequences * shape.n_tokens, shape.d_model, device=device, requires_grad=True)
    weight = torch.randn(shape.d_mlp, shape.d_model, device=device).to(dtype)
    grad = torch.randn(len(x), shape.d_mlp, device=device).to(dtype)
    return _median_seconds(lambda: F.linear(x.to(dtype), weight).backward(grad), device)


def _pointwise_seconds(shape: Shape, coming: torch.dtype, dtype: torch.dtype, device: torch.device) -> float:
    """The activation between two products."""
    x = torch.randn(shape.n_sequences * shape.n_tokens, shape.d_mlp, device=device).to(coming).requires_grad_()
    grad = torch.randn_like(x)
    return _median_seconds(lambda: F.gelu(x.to(dtype), approximate="tanh").to(coming).backward(grad), device)


def _attention_seconds(
    shape: Shape, coming: torch.dtype, dtype: torch.dtype, kernel: AttentionKernel, device: torch.device
) -> float:
    """Attention between two products."""
    d_head = shape.d_model // shape.n_heads
    qkv = torch.randn(shape.n_sequences, shape.n_tokens, 3 * shape.d_model, device=device).to(coming).requires_grad_()
    grad = torch.randn(shape.n_sequences, shape.n_tokens, shape.d_model, device=device).to(coming)

    def run() -> None:
        q, k, v = (y.unflatten(-1, (shape.n_heads, d_head)).transpose(1, 2).to(dtype) for y in qkv.chunk(3, dim=-1))
        attended: Tensor = attend(q, k, v, d_head**-0.5, None, kernel).transpose(1, 2).flatten(2)
        attended.to(coming).backward(grad)

    return _median_seconds(run, device)


def _median_seconds(run: Callable[[], object], device: torch.device) -> float:
    times_s: list[float] = []
    while len(times_s) < 2 or (len(times_s) < REPEATS and sum(times_s) < BUDGET_S):
        times_s.append(seconds(run, device))
    later = sorted(times_s[1:])
    return later[len(later) // 2]
