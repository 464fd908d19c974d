"""`AdapterWeights` as a PEFT adapter folder, which `peft.PeftModel.from_pretrained` loads."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save_file

from rankscope.adapters.read import CONFIG_FILE, SCALES_KEY, WEIGHTS_FILE
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.atomic import atomic_path, write_json
from rankscope.base.errors import BadInput

_Number = TypeVar("_Number", int, float)
_CONV1D_MAPS = (".attn.c_attn", ".attn.c_proj", ".mlp.c_fc", ".mlp.c_proj")


def write_adapter(
    folder: Path | str,
    weights: AdapterWeights,
    base_name: str | None,
    fan_in_fan_out: bool | None = None,
    revision: str | None = None,
) -> None:
    """Writes adapter_config.json and adapter_model.safetensors, each whole or not at all.

    Ranks and scales that differ between sites go to rank_pattern and alpha_pattern. Sites of rank 0 are left
    out: their update is zero, and PEFT has no rank 0. PEFT stores alpha, not the scale; where no alpha / R is the
    scale to the last bit, the scale itself stands in the metadata of the tensor file, for `read_adapter` to find.
    fan_in_fan_out says that the maps are Conv1D; None: when all of them are named as GPT-2 names its own.
    revision is the base's, as PEFT has it.
    """
    kept = {site: factors for site, factors in weights.items() if factors.rank > 0}
    if not kept:
        raise BadInput("An adapter needs at least one site of rank 1 or more to be written; this one is empty.")
    if fan_in_fan_out is None:
        fan_in_fan_out = all(site.endswith(_CONV1D_MAPS) for site in kept)
    folder = Path(folder)
    tensors = {}
    for site, factors in kept.items():
        tensors[f"base_model.model.{site}.lora_A.weight"] = factors.A_RI.detach().cpu().contiguous().clone()
        tensors[f"base_model.model.{site}.lora_B.weight"] = factors.B_OR.detach().cpu().contiguous().clone()
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"} | _exact_scales(kept))
    write_json(folder / CONFIG_FILE, _config(kept, base_name, fan_in_fan_out, revision))


def _config(
    kept: dict[str, Factors], base_name: str | None, fan_in_fan_out: bool, revision: str | None
) -> dict[str, Any]:
    alphas = {site: _numerator(factors) for site, factors in kept.items()}
    ranks = {site: factors.rank for site, factors in kept.items()}
    rank, alpha = _commonest(ranks.values()), _commonest(alphas.values())
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "revision": revision,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "use_rslora": False,
        "rank_pattern": {_exactly(site): value for site, value in ranks.items() if value != rank},
        "alpha_pattern": {_exactly(site): value for site, value in alphas.items() if value != alpha},
        "target_modules": list(kept),
        "fan_in_fan_out": fan_in_fan_out,
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
    }


def _exactly(site: str) -> str:
    """A pattern that matches this module path and no other."""
    return "^" + re.escape(site)


def _commonest(values: Iterable[_Number]) -> _Number:
    counts = Counter(values)
    return max(sorted(counts), key=lambda value: counts[value])


def _exact_scales(kept: dict[str, Factors]) -> dict[str, str]:
    """The scales that alpha / R misses by rounding, as one entry of metadata; empty when there are none."""
    missed = {site: f.s for site, f in kept.items() if _numerator(f) / f.rank != f.s}
    return {SCALES_KEY: json.dumps(missed)} if missed else {}


def _numerator(factors: Factors) -> int | float:
    """The alpha with alpha / R = s, exactly where there is one, and a whole number where that is exact."""
    near = factors.s * factors.rank
    candidates = (float(round(near)), near, math.nextafter(near, math.inf), math.nextafter(near, -math.inf))
    alpha = next((candidate for candidate in candidates if candidate / factors.rank == factors.s), near)
    return int(alpha) if alpha.is_integer() else alpha
