"""Bases: frozen causal language models, shipped with rankscope or taken from Hugging Face format."""

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import logging as hf_logging
from transformers.utils.peft_utils import find_adapter_config_file

from rankscope.base.device import resolve_device
from rankscope.base.errors import BadFile, NotSupported, UnknownName, is_out_of_memory, near_matches

SHIPPED = Path(__file__).parent / "shipped"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_PLAIN_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
_NOT_IDENTITY = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")
_NO_LIMIT = 10**9


@dataclass(frozen=True)
class Base:
    """A base, ready to use: weights in float32, dropout 0, in eval mode."""

    name: str
    """As the user gave it."""
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    content_hash: str
    """SHA-256 over settings, weights and tokenizer; part of the cell key. The name is not in it."""
    n_positions: int
    """Longest input, in tokens."""
    stop_id: int
    pad_id: int
    """The tokenizer's padding token, or `stop_id` where it has none."""


def shipped_bases() -> list[str]:
    """Names of the bases that come with rankscope."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/config.json"))


def load_base(name_or_path: str, device: str = "cpu", trust_remote_code: bool = False) -> Base:
    """The base of that name: a shipped one, a local folder, or a Hugging Face model, in that order.

    Weights are read from safetensors only; code that comes with a model runs only when trust_remote_code is set.
    Raises: UnknownName when there is no such base; BadFile when its files are damaged or incomplete;
    NotSupported for pickled weights, code of its own, or a model that is no causal language model.
    """
    source = _source(name_or_path)
    _refuse_adapter(source, name_or_path)
    if isinstance(source, Path):
        _check_folder(source)
    config = _load_config(source, name_or_path, trust_remote_code)
    tokenizer = _load_tokenizer(source, name_or_path, trust_remote_code)
    model = _load_model(source, name_or_path, config, trust_remote_code)
    stop_id = _stop_id(model, tokenizer, name_or_path)
    pad_id = tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else stop_id
    content_hash = _content_hash(model, tokenizer, stop_id, pad_id)
    # Padding stands on the right, where causal attention never reaches it; with a pad id in the model's settings
    # transformers would ask for a mask at every first batch.
    model.config.pad_token_id = None
    return Base(
        name=name_or_path,
        content_hash=content_hash,
        model=model.to(resolve_device(device)),  # type: ignore[arg-type]
        tokenizer=tokenizer,
        n_positions=_n_positions(model, tokenizer, name_or_path),
        stop_id=stop_id,
        pad_id=pad_id,
    )


def _source(name: str) -> Path | str:
    """A local folder, or the name itself when it can only be a Hugging Face model."""
    if name in shipped_bases():
        folder = SHIPPED / name
    elif Path(name).is_dir():
        folder = Path(name)
    elif _could_be_hub_name(name):
        return name
    else:
        raise _unknown(name)
    return folder


def _refuse_adapter(source: Path | str, name: str) -> None:
    """Raises when there is an adapter, which transformers would put into the model without a word."""
    try:
        found = find_adapter_config_file(str(source))
    except (OSError, ValueError):  # no such model, or none in reach: reading its config.json says which
        return
    if found is not None:
        raise BadFile(
            f"{name} holds an adapter, not a base: it has adapter_config.json. Give the model that it was trained on "
            "as the base."
        )


def _could_be_hub_name(name: str) -> bool:
    return name.strip() != "" and name.count("/") <= 1 and name[0] not in "./~" and not name.endswith("/")


def _unknown(name: str) -> UnknownName:
    return UnknownName(
        f"No base {name!r}: it is neither shipped, nor a folder, nor a Hugging Face model that can be reached or is "
        f"cached here. {near_matches(name, shipped_bases())}"
    )


def _check_folder(folder: Path) -> None:
    """Raises unless the folder holds a readable config.json and whole safetensors files."""
    if not (folder / "config.json").is_file():
        raise BadFile(f"{folder} has no config.json, so it is not a model folder. Give a folder saved by Hugging Face.")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        if any(path for pattern in _PICKLES for path in folder.glob(pattern)):
            raise NotSupported(
                f"{folder} has its weights only as pickle files, which can run code when loaded. Convert them to "
                "model.safetensors (save_pretrained of transformers does) and try again."
            )
        raise BadFile(f"{folder} has no *.safetensors file. Copy model.safetensors into it.")
    for path in weights:
        check_safetensors(path)
    _check_tokenizer_json(folder / "tokenizer.json")


def _check_tokenizer_json(path: Path) -> None:
    """The tokenizers library answers a damaged file with a bare Exception; this says it properly, and first."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"model": None}
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadFile(f"{path} is not valid JSON ({error}). Copy or download it again.") from None
    if not isinstance(content, dict) or "model" not in content:
        raise BadFile(f"{path} is not a tokenizer file: it has no `model`. Copy or download it again.")


def check_safetensors(path: Path) -> None:
    """Raises BadFile when a safetensors file is truncated or malformed; reads its header only."""
    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise BadFile(f"{path} is not a whole safetensors file ({error}). Copy or download it again.") from None


def _config_dict(source: Path | str, name: str) -> dict[str, Any]:
    """config.json as it stands, before any class is chosen from it."""
    try:
        if isinstance(source, Path):
            raw = json.loads((source / "config.json").read_text(encoding="utf-8"))
        else:
            raw, _ = PreTrainedConfig.get_config_dict(source)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadFile(f"config.json of {name} is not valid JSON ({error}). Copy or download it again.") from None
    except OSError as error:
        if "valid JSON" in str(error):
            raise BadFile(f"config.json of {name} is not valid JSON. Download it again.") from None
        raise _unknown(name) from None
    if not isinstance(raw, dict) or not raw:
        raise BadFile(f"config.json of {name} should hold the model's settings, but holds {str(raw)[:40]!r}.")
    return raw


def _load_config(source: Path | str, name: str, trust_remote_code: bool) -> PreTrainedConfig:
    """The model's config with every dropout set to 0."""
    raw = _config_dict(source, name)
    if raw.get("auto_map") and not trust_remote_code:
        raise NotSupported(
            f"{name} brings code of its own (auto_map in config.json), which rankscope does not run unless asked. "
            "Read that code, then load the base with trust_remote_code=True."
        )
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BadFile(f"config.json of {name} does not describe a known model ({_first_line(error)}).") from None
    for part in {id(part): part for part in (config, config.get_text_config())}.values():
        for field, value in part.to_dict().items():
            if field.endswith(("dropout", "pdrop", "dropout_rate", "dropout_prob")) and isinstance(value, int | float):
                setattr(part, field, 0.0)
    return config


def _load_tokenizer(source: Path | str, name: str, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """The tokenizer as saved.

    AutoTokenizer lets some model types (qwen2) replace a plain tokenizer.json by their own splitting rules, which
    gives other tokens without a word; where the files name the plain class, that class is used.
    """
    try:
        plain = get_tokenizer_config(source).get("tokenizer_class") in _PLAIN_TOKENIZERS
        if plain:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(source)
        else:
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFile(f"The tokenizer of {name} can not be loaded ({_first_line(error)}). Copy it again.") from None
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or len(tokenizer) < 2:
        raise BadFile(f"{name} has no tokenizer. Save its tokenizer (tokenizer.json) into the same folder.")
    return tokenizer


def _load_model(source: Path | str, name: str, config: PreTrainedConfig, trust_remote_code: bool) -> PreTrainedModel:
    try:
        with quiet_transformers():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
            )
    except SafetensorError as error:
        raise BadFile(f"The weights of {name} are not whole safetensors files ({error}). Copy them again.") from None
    except OSError as error:
        raise NotSupported(
            f"{name} has no weights as safetensors that can be read here ({_first_line(error)}). rankscope loads no "
            "pickle files: use a revision with model.safetensors, or convert it."
        ) from None
    except RuntimeError as error:  # transformers' answer to tensors of other shapes
        if is_out_of_memory(error):
            raise
        raise BadFile(
            f"The weights of {name} do not have the shapes that its config.json describes. Use the config.json "
            "that was saved with them."
        ) from None
    except (ValueError, KeyError) as error:
        raise NotSupported(f"{name} is not a causal language model known here ({_first_line(error)}).") from None
    model, report = loaded
    _check_complete(report, name)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert isinstance(model, PreTrainedModel)
    return model.eval().requires_grad_(False)


def _check_complete(report: dict[str, Any], name: str) -> None:
    """Raises when weights are missing, which would stay random; warns when the file holds weights of no use."""
    missing, unused = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if missing:
        raise BadFile(f"{name} lacks {len(missing)} of its weights, such as {missing[0]}. Copy or download it again.")
    if unused:
        warnings.warn(
            f"{name} holds {len(unused)} weights that its config.json gives no place to, such as {unused[0]}; "
            "they are left out.",
            stacklevel=4,
        )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Loads and saves without progress bars and reports; what matters in them is raised or warned about here."""
    verbosity, had_bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if had_bars:
            hf_logging.enable_progress_bar()


def _stop_id(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    for found in (tokenizer.eos_token_id, model.config.get_text_config().eos_token_id):
        first = found[0] if isinstance(found, list) and found else found
        if isinstance(first, int):
            return first
    raise BadFile(
        f"{name} names no end-of-text token, so outputs could never stop. Set eos_token in its tokenizer_config.json."
    )


def _n_positions(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if isinstance(longest, int) and longest > 0:
        return longest
    if tokenizer.model_max_length < _NO_LIMIT:
        return int(tokenizer.model_max_length)
    raise NotSupported(
        f"{name} does not say how long its input may be. Set max_position_embeddings in its config.json, "
        "or model_max_length in its tokenizer_config.json."
    )


def _content_hash(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, stop_id: int, pad_id: int) -> str:
    """SHA-256 over sorted weights (name, dtype, shape, bytes; tied weights once), settings and tokenizer.

    Settings count because the same weights compute something else under another model type or rotary base.
    """
    settings = {key: value for key, value in model.config.to_diff_dict().items() if key not in _NOT_IDENTITY}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    seen: set[tuple[int, int, torch.Size]] = set()
    for name, weight in sorted(model.state_dict().items()):
        place = (weight.data_ptr(), weight.storage_offset(), weight.shape)
        if place not in seen:
            seen.add(place)
            digest.update(f"{name}|{weight.dtype}|{tuple(weight.shape)}|".encode())
            digest.update(_bytes(weight))
    digest.update(f"{_tokenizer_json(tokenizer)}|{stop_id}|{pad_id}".encode())
    return digest.hexdigest()


def _bytes(weight: Tensor) -> memoryview:
    return memoryview(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


def _tokenizer_json(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return str(backend.to_str())
    parts = [sorted(tokenizer.get_vocab().items()), tokenizer.special_tokens_map]
    return json.dumps(parts, default=str, sort_keys=True)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
