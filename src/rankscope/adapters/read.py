"""PEFT adapter folders as `AdapterWeights`: safetensors and JSON only, no base and no PEFT needed."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadFile, NotSupported, UnknownName

_Number = TypeVar("_Number", int, float)
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
SCALES_KEY = "rankscope_scales"
_PICKLE_FILE = "adapter_model.bin"
_FACTOR = re.compile(r"^(?:base_model\.model\.)?(?P<site>.+)\.lora_(?P<factor>[AB])(?:\.[^.]+)?\.weight$")

_INITS_ON_ORIGINAL_BASE = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
_READ = {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "peft_type", "base_model_name_or_path"}
_WITHOUT_EFFECT_ON_DELTA = {
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
}
_REFUSED = {
    "use_dora": "DoRA rescales every row of the adapted weight, so its update is not s B A alone",
    "modules_to_save": "it replaces whole modules (modules_to_save) beside its low-rank factors",
    "lora_bias": "it trains biases (lora_bias) beside its low-rank factors",
    "target_parameters": "it adapts bare parameters such as mixture-of-experts weights (target_parameters), "
    "which are no linear maps",
    "trainable_token_indices": "it trains token embeddings (trainable_token_indices) beside its low-rank factors",
    "alora_invocation_tokens": "an activated LoRA acts from its invocation tokens on only",
    "layer_replication": "it repeats layers of the base (layer_replication), so it has no original base",
}


@dataclass(frozen=True)
class AdapterInfo:
    """What adapter_config.json says about a LoRA adapter."""

    base_name: str | None
    """Name or path of the base that it was trained on, as its author gave it."""
    revision: str | None
    rank: int
    """Nominal rank; rank_pattern may change it at some sites."""
    alpha: float
    """Scale numerator; alpha_pattern may change it at some sites."""
    use_rslora: bool
    """True where the scale is alpha / sqrt(rank) instead of alpha / rank."""
    rank_pattern: dict[str, int]
    """Regular expression over module paths -> rank."""
    alpha_pattern: dict[str, float]
    init: str
    """Name of the initialisation, `default` for PEFT's own."""
    peft_version: str | None
    fan_in_fan_out: bool | None
    """True where its maps are stored transposed (Conv1D); None where the file does not say."""


def read_adapter(folder: Path | str) -> AdapterWeights:
    """The adapter in a PEFT folder, as factors relative to the original base, in the dtype of the file.

    LoRA and rsLoRA, rank and alpha patterns, layer selections and Conv1D maps are read.
    Raises: UnknownName without such a folder; NotSupported, in one sentence, for what is no plain low-rank
    update; BadFile for what is malformed, truncated, inconsistent or not finite.
    """
    folder = Path(folder)
    info = read_adapter_info(folder)
    tensors, exact_scales = _load_tensors(folder)
    found = {site: _factors(site, pair, info, folder) for site, pair in _factor_pairs(tensors, folder).items()}
    return AdapterWeights({site: _with_exact_scale(f, exact_scales.get(site)) for site, f in found.items()})


def read_adapter_info(folder: Path | str) -> AdapterInfo:
    """What the folder's adapter_config.json says; raises as `read_adapter` does."""
    folder = Path(folder)
    raw = _read_config(folder)
    _check_supported(raw, folder)
    _check_fields(raw, folder)
    init = raw.get("init_lora_weights", True)
    return AdapterInfo(
        base_name=raw.get("base_model_name_or_path"),
        revision=raw.get("revision"),
        rank=raw["r"],
        alpha=float(raw["lora_alpha"]),
        use_rslora=bool(raw.get("use_rslora")),
        rank_pattern=dict(raw.get("rank_pattern") or {}),
        alpha_pattern={key: float(value) for key, value in (raw.get("alpha_pattern") or {}).items()},
        init=init if isinstance(init, str) else "default",
        peft_version=raw.get("peft_version"),
        fan_in_fan_out=None if raw.get("fan_in_fan_out") is None else bool(raw["fan_in_fan_out"]),
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not folder.is_dir():
        raise UnknownName(f"No adapter folder {folder}. Give a folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadFile(f"{folder} has no {CONFIG_FILE}, so it is not a PEFT adapter folder.") from None
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not valid JSON ({error}). Copy or download the adapter again.") from None
    if not isinstance(raw, dict):
        raise BadFile(f"{path} should hold a JSON object with the adapter's settings, not {str(raw)[:40]!r}.")
    return raw


def _check_supported(raw: Mapping[str, Any], folder: Path) -> None:
    """Raises NotSupported for every recognised adapter whose update is not s B A on the original base."""
    kind = raw.get("peft_type")
    if kind is None:
        raise BadFile(f"{folder / CONFIG_FILE} names no peft_type, so its kind is unknown. Save it with PEFT again.")
    if kind != "LORA":
        raise _refusal(folder, f"it is a {kind} adapter, and only LoRA and rsLoRA are supported so far")
    for key, reason in _REFUSED.items():
        if raw.get(key):
            raise _refusal(folder, reason)
    if raw.get("bias", "none") != "none":
        raise _refusal(folder, f"it trains biases (bias = {raw['bias']!r}) beside its low-rank factors")
    init = raw.get("init_lora_weights", True)
    if init not in _INITS_ON_ORIGINAL_BASE:
        raise _refusal(
            folder,
            f"its initialisation ({init}) changes the base's weights, so its factors are not relative to the "
            "original base; convert it with PEFT's path_initial_model_for_weight_conversion",
        )
    known = _READ | _WITHOUT_EFFECT_ON_DELTA | set(_REFUSED) | {"bias"}
    for key in sorted(set(raw) - known):
        if raw[key]:
            raise _refusal(folder, f"its setting {key} is not known here, so its update can not be told for sure")


def _refusal(folder: Path, reason: str) -> NotSupported:
    return NotSupported(f"The adapter in {folder} is refused: {reason}.")


def _check_fields(raw: Mapping[str, Any], folder: Path) -> None:
    """Raises BadFile unless ranks are whole numbers above 0, scales are finite and patterns are valid."""
    path = folder / CONFIG_FILE
    ranks = [raw.get("r"), *_pattern(raw, "rank_pattern", path).values()]
    alphas = [raw.get("lora_alpha"), *_pattern(raw, "alpha_pattern", path).values()]
    for rank in ranks:
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise BadFile(f"{path}: a rank must be a whole number above 0, not {rank!r}.")
    for alpha in alphas:
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha):
            raise BadFile(f"{path}: lora_alpha must be a finite number, not {alpha!r}.")


def _pattern(raw: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    pattern = raw.get(key) or {}
    if not isinstance(pattern, dict):
        raise BadFile(f"{path}: {key} must map patterns to numbers, not be {str(pattern)[:40]!r}.")
    for regex in pattern:
        try:
            re.compile(regex)
        except re.error as error:
            raise BadFile(f"{path}: {key} holds {regex!r}, which is no regular expression ({error}).") from None
    return pattern


def _load_tensors(folder: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The tensors, and the exact scales that `write_adapter` left beside them where alpha / R would round."""
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        if (folder / _PICKLE_FILE).is_file():
            raise NotSupported(
                f"{folder} has its weights only as {_PICKLE_FILE}, a pickle file, which can run code when loaded; "
                f"load it with PEFT in a place you trust and save it again as {WEIGHTS_FILE}."
            )
        raise BadFile(f"{folder} has no {WEIGHTS_FILE}. Copy or download the adapter again.")
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118  no mapping
        return tensors, json.loads(metadata.get(SCALES_KEY, "{}"))
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise BadFile(f"{path} is not a whole safetensors file ({error}). Copy or download it again.") from None


def _factor_pairs(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, dict[str, Tensor]]:
    """Tensors A and B by site, in the order of the file's names with numbers sorted as numbers."""
    pairs: dict[str, dict[str, Tensor]] = {}
    for key in sorted(tensors, key=_natural):
        if ".lora_embedding_" in key:
            raise _refusal(folder, f"it adapts an embedding ({key}), which is no linear map")
        if ".lora_magnitude_vector" in key:
            raise _refusal(folder, _REFUSED["use_dora"])
        match = _FACTOR.match(key)
        if match is None:
            raise _refusal(folder, f"it holds {key}, which is neither lora_A nor lora_B of a linear map")
        factor, pair = match["factor"], pairs.setdefault(match["site"], {})
        if factor in pair:
            raise BadFile(f"{folder / WEIGHTS_FILE} holds lora_{factor} of {match['site']} twice. Save one adapter.")
        pair[factor] = tensors[key]
    if not pairs:
        raise BadFile(f"{folder / WEIGHTS_FILE} holds no LoRA factors. Save the adapter again.")
    return pairs


def _natural(key: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key)]


def _factors(site: str, pair: Mapping[str, Tensor], info: AdapterInfo, folder: Path) -> Factors:
    for factor in "AB":
        if factor not in pair:
            raise BadFile(f"{folder / WEIGHTS_FILE}: {site} lacks lora_{factor}. Copy or save the adapter again.")
    A_RI, B_OR = pair["A"], pair["B"]
    if A_RI.ndim != 2 or B_OR.ndim != 2:
        raise _refusal(folder, f"{site} is no linear map (its lora_A has {A_RI.ndim} dimensions)")
    rank = _matched(info.rank_pattern, site, info.rank)
    if A_RI.shape[0] != rank or B_OR.shape[1] != rank:
        raise BadFile(
            f"{folder}: {site} has lora_A {tuple(A_RI.shape)} and lora_B {tuple(B_OR.shape)}, but {CONFIG_FILE} gives "
            f"rank {rank}. The two files do not belong together, or one is damaged."
        )
    for name, tensor in (("lora_A", A_RI), ("lora_B", B_OR)):
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise BadFile(f"{folder}: {name} of {site} holds values that are no finite numbers; its training diverged.")
    alpha = _matched(info.alpha_pattern, site, info.alpha)
    return Factors(A_RI, B_OR, alpha / (math.sqrt(rank) if info.use_rslora else rank))


def _with_exact_scale(factors: Factors, exact: float | None) -> Factors:
    """The factors with the exact scale, if it is the configured one but for rounding."""
    if exact is None or not math.isclose(exact, factors.s, rel_tol=1e-12):
        return factors
    return Factors(factors.A_RI, factors.B_OR, exact)


def _matched(pattern: Mapping[str, _Number], site: str, default: _Number) -> _Number:
    """The value of the first pattern that ends the module path, as PEFT matches them."""
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", site)), default)
