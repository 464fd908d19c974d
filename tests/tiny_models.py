"""Random two-layer models of four families, with a word-level tokenizer, saved as a user's folder would be."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rankscope.base.vocabulary import ID, PAD, SIZE, STOP

FAMILIES = ("gpt2", "llama", "qwen2", "mistral")
_GATED = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
}


def tiny_model(family: str, seed: int = 0, n_layers: int = 2) -> PreTrainedModel:
    """A model with random weights, width 16 (24 in the gated MLPs), 64 positions, grouped-query attention
    where the family has it. Weights are large enough for outputs to depend visibly on the input.
    """
    words: dict[str, Any] = {"vocab_size": SIZE, "bos_token_id": ID[STOP], "eos_token_id": ID[STOP]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "gpt2":
            config = GPT2Config(
                n_layer=n_layers,
                n_head=2,
                n_embd=16,
                n_positions=64,
                initializer_range=0.3,
                pad_token_id=ID[PAD],
                **words,
            )
            return GPT2LMHeadModel(config).eval()
        config_class, model_class = _GATED[family]
        gated = config_class(
            num_hidden_layers=n_layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            hidden_size=16,
            intermediate_size=24,
            max_position_embeddings=64,
            initializer_range=0.3,
            pad_token_id=ID[PAD],
            tie_word_embeddings=family == "qwen2",
            **words,
        )
        return model_class(gated).eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per whitespace-separated word of the tiny bases' vocabulary."""
    tokenizer = Tokenizer(models.WordLevel(dict(ID), unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=STOP, unk_token=PAD)


def save_tiny(family: str, folder: Path, seed: int = 0, n_layers: int = 2) -> Path:
    """Writes config.json, model.safetensors and the tokenizer into the folder, and returns the folder."""
    tiny_model(family, seed, n_layers).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_opt(n_layers: int = 2) -> PreTrainedModel:
    """A random model of a family that our decoder does not run."""
    config = OPTConfig(
        vocab_size=SIZE,
        hidden_size=16,
        ffn_dim=24,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        max_position_embeddings=64,
        word_embed_proj_dim=16,
        dropout=0.0,
        init_std=0.3,
        pad_token_id=ID[PAD],
        bos_token_id=ID[STOP],
        eos_token_id=ID[STOP],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return OPTForCausalLM(config).eval()
