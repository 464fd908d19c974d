"""Arms: a base made trainable as a cell asks, with a fixed name for every trainable tensor."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rankscope.adapters.dense import write_dense
from rankscope.adapters.init import initial_factors, paper_factors
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.base.seeds import stream_seed
from rankscope.lm.bases import Base
from rankscope.lm.sites import is_transposed, linear_sites, resolve_sites
from rankscope.train.cell import ArmSpec, DenseSpec, FullSpec, LoraSpec

ADAPTER = "default"


@dataclass(frozen=True)
class Arm:
    """A model to train. The base it came from keeps its own weights and modules."""

    spec: ArmSpec
    model: nn.Module
    """Takes `input_ids`, gives `.logits`."""
    parameters: dict[str, nn.Parameter]
    """Trainable tensors by name; fp32. LoRA: `SITE.A` and `SITE.B`; else their path in the base."""
    scales: dict[str, float]
    """site -> s, in model order; empty for dense and full."""
    fan_in_fan_out: bool = False
    """True where the adapted maps are Conv1D."""


def build_arm(base: Base, spec: ArmSpec, init_seed: int) -> Arm:
    """The arm on that base, initialised; everything but the arm's own parameters is shared with the base."""
    if isinstance(spec, LoraSpec):
        return _lora_arm(base.model, spec, init_seed)
    model, parameters = trainable_copy(base, spec)
    return Arm(spec, model, parameters, {})


def trainable_copy(base: Base, spec: DenseSpec | FullSpec) -> tuple[PreTrainedModel, dict[str, nn.Parameter]]:
    """The base with parameters of its own where dense or full training changes them, and those by name."""
    if isinstance(spec, DenseSpec):
        names = [f"{site}.weight" for site in resolve_sites(base.model, spec.placement)]
    else:
        names = [name for name, _ in base.model.named_parameters()]
    model = copy_sharing_weights(base.model, own=names)
    model.requires_grad_(False)
    parameters = {name: model.get_parameter(name) for name in names}
    for parameter in parameters.values():
        parameter.requires_grad_()
    return model, parameters


def copy_sharing_weights(model: PreTrainedModel, own: Iterable[str] = ()) -> PreTrainedModel:
    """A copy with modules of its own; only the parameters named in `own` are copied, tied ones stay tied."""
    owned = {id(model.get_parameter(name)) for name in own}
    shared = {id(parameter): parameter for parameter in model.parameters() if id(parameter) not in owned}
    return copy.deepcopy(model, memo=shared)


def initial_adapter(base_model: PreTrainedModel, spec: LoraSpec, init_seed: int) -> AdapterWeights:
    """A LoRA cell's factors before its first step, by site in model order."""
    shapes = linear_sites(base_model)
    start = paper_factors if spec.kind == "paper" else initial_factors
    return AdapterWeights(
        {
            site: start(site, *shapes[site], spec.rank, spec.scale, init_seed)
            for site in resolve_sites(base_model, spec.placement)
        }
    )


def _lora_arm(base_model: PreTrainedModel, spec: LoraSpec, init_seed: int) -> Arm:
    starts = initial_adapter(base_model, spec, init_seed)
    sites = list(starts)
    fan_in_fan_out = is_transposed(base_model, sites[0])
    config = peft.LoraConfig(
        r=spec.rank,
        lora_alpha=spec.resolved_alpha,  # type: ignore[arg-type]  # PEFT says int and computes with any number
        use_rslora=spec.kind == "rslora",
        lora_dropout=spec.dropout,
        target_modules=sites,
        fan_in_fan_out=fan_in_fan_out,
        bias="none",
        task_type="CAUSAL_LM",
    )
    model = peft.inject_adapter_in_model(config, copy_sharing_weights(base_model), ADAPTER)
    layers: dict[str, Any] = {site: model.get_submodule(site) for site in sites}
    scales = {site: float(layer.scaling[ADAPTER]) for site, layer in layers.items()}
    parameters: dict[str, nn.Parameter] = {}
    for site, layer in layers.items():
        for name, tensor in (("A", starts[site].A_RI), ("B", starts[site].B_OR)):
            parameter = getattr(layer, f"lora_{name}")[ADAPTER].weight
            parameter.data.copy_(tensor)
            parameters[f"{site}.{name}"] = parameter
    model.eval()
    for layer in layers.values():
        layer.lora_dropout.train()
    return Arm(spec, model, parameters, scales, fan_in_fan_out)


@contextmanager
def dropout_stream(arm: Arm, dropout_seed: int, step: int) -> Iterator[None]:
    """Inside, adapter dropout masks are a function of (dropout seed, step); torch's own stream is left as it was."""
    if not isinstance(arm.spec, LoraSpec) or arm.spec.dropout == 0:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed("dropout", dropout_seed, step))
        yield


def adapter_of(arm: Arm) -> AdapterWeights:
    """The LoRA arm's factors as they are now, copied to the CPU."""

    def cpu(name: str) -> Tensor:
        return arm.parameters[name].detach().cpu().clone()

    return AdapterWeights({site: Factors(cpu(f"{site}.A"), cpu(f"{site}.B"), s) for site, s in arm.scales.items()})


def write_arm(folder: Path, arm: Arm, base_name: str) -> None:
    """Writes the arm as it is now: a PEFT adapter for LoRA, else the trained tensors by path."""
    if isinstance(arm.spec, LoraSpec):
        write_adapter(folder, adapter_of(arm), base_name, arm.fan_in_fan_out)
    else:
        write_dense(folder, arm.parameters, arm.spec.kind)
