"""What the small bases share before training: settings, positions as sines, and heads that look a fixed way back.

A circuit of hand-placed heads is drawn into random weights, since training alone finds it by chance (LOG.md).
"""

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

AMPLITUDE, TOKEN_SD = 0.2, 0.05
"""Of the positions' sines, and standard deviation of the token embeddings."""


def circuit_config(
    n_words: int, n_positions: int, width: int, n_layers: int, head_width: int, stop_id: int, pad_id: int
) -> GPT2Config:
    """GPT-2 without dropout; the fused tanh GELU is the same function as its `gelu_new`."""
    return GPT2Config(
        vocab_size=n_words,
        n_positions=n_positions,
        n_embd=width,
        n_layer=n_layers,
        n_head=width // head_width,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=stop_id,
        eos_token_id=stop_id,
        pad_token_id=pad_id,
    )


def place_positions_(model: GPT2LMHeadModel, head_width: int) -> None:
    """Positions as sine and cosine of head_width / 2 frequencies in the first dims; the other dims are 0."""
    half = head_width // 2
    angle_PF = torch.arange(model.config.n_positions)[:, None] * _frequencies(half)[None]
    positions = model.transformer.wpe.weight.zero_()
    positions[:, :half] = torch.sin(angle_PF) * AMPLITUDE
    positions[:, half:head_width] = torch.cos(angle_PF) * AMPLITUDE


def look_back_(model: GPT2LMHeadModel, head: int, back: int, read_HD: Tensor, write_HD: Tensor, sharp: float) -> None:
    """A head of block 0 that copies what is read some places back: the query is the position's sines turned back.

    `sharp` scales queries and keys, which are the positions' own sines.
    """
    head_width, width = read_HD.shape
    half = head_width // 2
    at, angle = torch.arange(half), back * _frequencies(half)
    cos, sin = torch.cos(angle), torch.sin(angle)
    own = slice(head * head_width, (head + 1) * head_width)
    query, key, value = attention_columns(model, 0, width, own)
    query.zero_()
    key.zero_()
    query[at, at], query[half + at, at] = cos * sharp, -sin * sharp
    query[at, half + at], query[half + at, half + at] = sin * sharp, cos * sharp
    key[torch.arange(head_width), torch.arange(head_width)] = sharp
    value.copy_(read_HD.T * 0.5)
    attention_weight(model, 0, "c_proj")[own] = write_HD * 0.5


def attention_columns(model: GPT2LMHeadModel, block: int, width: int, own: slice) -> tuple[Tensor, Tensor, Tensor]:
    """One head's columns of a block's queries, keys and values, as views."""
    weight = attention_weight(model, block, "c_attn")
    query, key, value = (weight[:, part * width : (part + 1) * width][:, own] for part in range(3))
    return query, key, value


def attention_weight(model: GPT2LMHeadModel, block: int, name: str) -> Tensor:
    """Weight [I, O] of one of a block's attention maps."""
    return model.get_parameter(f"transformer.h.{block}.attn.{name}.weight")


def _frequencies(n: int) -> Tensor:
    return torch.linspace(0.05, 2.8, n)
