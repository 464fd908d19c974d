"""Arms on our decoder: the same parameters under the same names as the reference's, a faster forward and backward."""

from torch import nn

from rankscope.base.precision import FP32, PrecisionPlan
from rankscope.engine.model import AdaptedSite, DecoderModel
from rankscope.engine.prefix import PrefixCache
from rankscope.engine.switches import ALL_ON, Switches
from rankscope.lm.bases import Base
from rankscope.lm.decoder import SiteOp
from rankscope.lm.sites import is_transposed
from rankscope.train.arms import Arm, initial_adapter, trainable_copy
from rankscope.train.cell import ArmSpec, LoraSpec


def build_loop_arm(
    base: Base,
    spec: ArmSpec,
    init_seed: int,
    prefix: PrefixCache | None = None,
    switches: Switches = ALL_ON,
    plan: PrecisionPlan = FP32,
) -> Arm:
    """The arm of `build_arm` on our decoder; it starts at the same values and is saved in the same form."""
    if not isinstance(spec, LoraSpec):
        model, own = trainable_copy(base, spec)
        return Arm(spec, DecoderModel(model, None, switches, prefix, plan), own, {})
    parameters: dict[str, nn.Parameter] = {}
    ops: dict[str, SiteOp] = {}
    scales: dict[str, float] = {}
    for site, start in initial_adapter(base.model, spec, init_seed).items():
        weight = base.model.get_submodule(site).get_parameter("weight")
        A_RI, B_OR = (nn.Parameter(tensor.to(weight)) for tensor in (start.A_RI, start.B_OR))
        parameters |= {f"{site}.A": A_RI, f"{site}.B": B_OR}
        ops[site] = AdaptedSite(A_RI, B_OR, start.s, switches.own_backward)
        scales[site] = start.s
    return Arm(
        spec,
        DecoderModel(base.model, ops, switches, prefix, plan),
        parameters,
        scales,
        is_transposed(base.model, next(iter(scales))),
    )
