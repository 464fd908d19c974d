"""The precision plan that a run is frozen to."""

import torch

from rankscope.base.paths import cache_root
from rankscope.base.precision import FP32, PrecisionPlan
from rankscope.engine.probe import Shape, cached_probe
from rankscope.lm.bases import Base
from rankscope.lm.read_decoder import read_decoder, why_not_decodable
from rankscope.tasks.encoded import EncodedItems
from rankscope.train.local import threads

AUTO = "auto"


def resolve_precision(asked: str, base: Base, items: EncodedItems, batch_size: int, device: torch.device) -> str:
    """Name of the plan to train by: the one asked for, or with `auto` what is fastest here at these shapes.

    A base that our decoder does not run trains in fp32. Raises BadInput for a name that is none.
    """
    if asked != AUTO:
        return PrecisionPlan.of(asked).name
    if why_not_decodable(base.model) is not None:
        return FP32.name
    shape = Shape.of(read_decoder(base.model), batch_size, items.tokens_NT.shape[1])
    return fastest_plan(shape, device).name


def fastest_plan(shape: Shape, device: torch.device) -> PrecisionPlan:
    """The plan that is fastest here, with the one thread that a training gets; remembered per machine."""
    with threads(1):
        return cached_probe(shape, device, cache_root()).plan
