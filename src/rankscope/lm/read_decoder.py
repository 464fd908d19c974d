"""The decoder of a Hugging Face model: its own weights, shared and not copied, in the decoder's terms."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.pytorch_utils import Conv1D

from rankscope.lm.decoder import Block, Decoder, LinearMap, Norm, Rotary

_STATIC_ROTARY = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions whose frequencies do not change with the length of the text."""


def why_not_decodable(model: nn.Module) -> str | None:
    """Why our decoder does not run this model, in a phrase; None when it does."""
    config: Any = getattr(model, "config", None)
    family = getattr(config, "model_type", None)
    if not isinstance(model, PreTrainedModel) or family not in _READERS or type(model).__name__ not in _CLASSES:
        return f"models of type {family or type(model).__name__} are not among {', '.join(_READERS)}"
    if family == "gpt2" and (config.reorder_and_upcast_attn or config.add_cross_attention):
        return "its config.json reorders attention, or adds cross-attention"
    rotary = getattr(config, "rope_parameters", None) or {}
    if not _is_static(rotary):
        return f"its rotary positions are of the kind {rotary['rope_type']}"
    if getattr(config, "pretraining_tp", 1) != 1:
        return "its maps are split (pretraining_tp)"
    return _why_changed(model)


def _is_static(rotary: dict[str, Any]) -> bool:
    """Whether the frequencies are the same for texts of any length."""
    if rotary.get("rope_type") == "longrope":
        return bool(rotary["short_factor"] == rotary["long_factor"])
    return rotary.get("rope_type", "default") in _STATIC_ROTARY


def _why_changed(model: PreTrainedModel) -> str | None:
    """What was done to the model that its own weights do not say: hooks, or layers put in place of its own."""
    for path, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:  # noqa: SLF001  torch has no other way to ask
            return f"there is a hook on {path or 'the model'}"
        if not type(module).__module__.startswith(("torch.nn.", "transformers.")):
            kind = f"{type(module).__module__}.{type(module).__name__}"
            return f"{path} is a {kind}, which transformers did not put there"
    return None


def read_decoder(model: PreTrainedModel) -> Decoder:
    """The decoder of a model for which `why_not_decodable` is None. Training the model's parameters trains it too."""
    assert why_not_decodable(model) is None, why_not_decodable(model)
    return _READERS[model.config.model_type](model)


def _linear(model: nn.Module, path: str) -> LinearMap:
    module = model.get_submodule(path)
    bias = getattr(module, "bias", None)
    assert isinstance(module.weight, Tensor)
    return LinearMap(path, module.weight, bias, is_transposed=isinstance(module, Conv1D))


def _head(model: PreTrainedModel) -> LinearMap:
    head: Any = model.get_output_embeddings()
    return LinearMap("lm_head", head.weight, getattr(head, "bias", None))


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    """GPT-2's `gelu_new` is the tanh form written out; one call computes the same."""
    if name in ("gelu_new", "gelu_pytorch_tanh"):
        return lambda x: F.gelu(x, approximate="tanh")
    activation: Callable[[Tensor], Tensor] = ACT2FN[name]
    return activation


def _gpt2(model: PreTrainedModel) -> Decoder:
    config: Any = model.config
    body: Any = model.transformer
    blocks = []
    for layer, module in enumerate(body.h):
        path = f"transformer.h.{layer}"
        scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        blocks.append(
            Block(
                attention_norm=_layer_norm(module.ln_1),
                qkv=(_linear(model, f"{path}.attn.c_attn"),),
                attention_out=_linear(model, f"{path}.attn.c_proj"),
                attention_scale=scale / (layer + 1) if config.scale_attn_by_inverse_layer_idx else scale,
                window=None,
                mlp_norm=_layer_norm(module.ln_2),
                mlp_in=(_linear(model, f"{path}.mlp.c_fc"),),
                mlp_out=_linear(model, f"{path}.mlp.c_proj"),
            )
        )
    return Decoder(
        embedding_VD=body.wte.weight,
        position_TD=body.wpe.weight,
        rotary=None,
        blocks=tuple(blocks),
        norm=_layer_norm(body.ln_f),
        head=_head(model),
        n_heads=config.n_head,
        n_kv_heads=config.n_head,
        activation=_activation(config.activation_function),
        padding_id=body.wte.padding_idx,
    )


def _layer_norm(module: nn.LayerNorm) -> Norm:
    return Norm("layer", module.weight, module.bias, module.eps)


def _llama_like(model: PreTrainedModel) -> Decoder:
    config: Any = model.config
    body: Any = model.model
    rotary = body.rotary_emb
    return Decoder(
        embedding_VD=body.embed_tokens.weight,
        position_TD=None,
        rotary=Rotary(_frequencies(rotary), float(rotary.attention_scaling)),
        blocks=tuple(_llama_block(model, layer) for layer in range(len(body.layers))),
        norm=_rms_norm(body.norm),
        head=_head(model),
        n_heads=config.num_attention_heads,
        n_kv_heads=config.num_key_value_heads,
        activation=_activation(config.hidden_act),
        padding_id=body.embed_tokens.padding_idx,
    )


def _frequencies(rotary: Any) -> Tensor:
    frequencies = rotary.original_inv_freq
    assert isinstance(frequencies, Tensor)
    return frequencies.to(torch.float32)


def _llama_block(model: PreTrainedModel, layer: int) -> Block:
    path = f"model.layers.{layer}"
    module: Any = model.get_submodule(path)
    return Block(
        attention_norm=_rms_norm(module.input_layernorm),
        qkv=tuple(_linear(model, f"{path}.self_attn.{name}_proj") for name in "qkv"),
        attention_out=_linear(model, f"{path}.self_attn.o_proj"),
        attention_scale=module.self_attn.scaling,
        window=_window(model.config, layer),
        mlp_norm=_rms_norm(module.post_attention_layernorm),
        mlp_in=tuple(_linear(model, f"{path}.mlp.{name}_proj") for name in ("gate", "up")),
        mlp_out=_linear(model, f"{path}.mlp.down_proj"),
    )


def _window(config: Any, layer: int) -> int | None:
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and kinds[layer] != "sliding_attention":
        return None
    return getattr(config, "sliding_window", None)


def _rms_norm(module: Any) -> Norm:
    return Norm("rms", module.weight, None, module.variance_epsilon)


_READERS: dict[str, Callable[[PreTrainedModel], Decoder]] = {
    "gpt2": _gpt2,
    "llama": _llama_like,
    "mistral": _llama_like,
    "qwen2": _llama_like,
}
_CLASSES = ("GPT2LMHeadModel", "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
