"""`tiny-gpt2` before training: Hugging Face's GPT-2 architecture, 4 layers of width 128, and its first weights.

First weights (all other tensors as transformers draws them, from one seed):

| tensor | distribution |
|---|---|
| positions, dims 0-31 | sine and cosine of 16 frequencies, amplitude 0.2; other dims 0 |
| token embeddings (tied to the head) | dims 0-31 zero; other dims normal, sd 0.05 |
| block 0, head 0 | attends to the previous token, copies 32 directions of its embedding into 32 others |
| block 1, head 0 | compares the token at hand with those copies, and copies what stands there towards the output |

The first head attends by a rotation of the sines by one position.

Drawn at random instead, the same network had not learnt one-hop lookup after 800 steps of 32 maps (LOG.md); the
two heads are the lookup circuit that training otherwise has to find by chance.
"""

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from rankscope.base.vocabulary import ID, PAD, SIZE, STOP

WIDTH, N_LAYERS, N_HEADS, N_POSITIONS = 128, 4, 4, 128
HEAD = WIDTH // N_HEADS
_AMPLITUDE, _TOKEN_SD = 0.2, 0.05
_SHARP = 0.8
"""Scale of the previous-token head's queries and keys: about 10 nats between the right position and the rest."""
_MATCH = 1.0
"""Scale of the matching head's queries and keys."""


def tiny_gpt2_config() -> GPT2Config:
    """Settings of tiny-gpt2; the fused tanh GELU is the same function as GPT-2's `gelu_new`. No dropout."""
    return GPT2Config(
        vocab_size=SIZE,
        n_positions=N_POSITIONS,
        n_embd=WIDTH,
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=ID[STOP],
        eos_token_id=ID[STOP],
        pad_token_id=ID[PAD],
    )


def untrained_tiny_gpt2(seed: int) -> GPT2LMHeadModel:
    """tiny-gpt2 with its first weights, a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(tiny_gpt2_config())
        with torch.no_grad():
            _place_embeddings_(model)
            basis = _orthonormal_directions()
            _previous_token_head_(model, basis[:HEAD], basis[HEAD : 2 * HEAD])
            _matching_head_(model, basis[:HEAD], basis[HEAD : 2 * HEAD], basis[2 * HEAD :])
    return model


def _frequencies() -> Tensor:
    return torch.linspace(0.05, 2.8, HEAD // 2)


def _place_embeddings_(model: GPT2LMHeadModel) -> None:
    angle_PF = torch.arange(N_POSITIONS)[:, None] * _frequencies()[None]
    positions = model.transformer.wpe.weight.zero_()
    positions[:, : HEAD // 2] = torch.sin(angle_PF) * _AMPLITUDE
    positions[:, HEAD // 2 : HEAD] = torch.cos(angle_PF) * _AMPLITUDE
    model.transformer.wte.weight.normal_(0, _TOKEN_SD)[:, :HEAD] = 0


def _orthonormal_directions() -> Tensor:
    """96 orthonormal directions [96, WIDTH] in the token dims."""
    square, _ = torch.linalg.qr(torch.randn(WIDTH - HEAD, WIDTH - HEAD))
    return torch.cat([torch.zeros(WIDTH - HEAD, HEAD), square], dim=1)


def _previous_token_head_(model: GPT2LMHeadModel, read_HD: Tensor, write_HD: Tensor) -> None:
    """Block 0, head 0: the query is the position's sines turned back by one position, the key its own sines."""
    half = HEAD // 2
    at, cos, sin = torch.arange(half), torch.cos(_frequencies()), torch.sin(_frequencies())
    weight = _weight(model, 0, "c_attn")
    query, key, value = (weight[:, offset : offset + HEAD] for offset in (0, WIDTH, 2 * WIDTH))
    query.zero_()
    key.zero_()
    query[at, at], query[half + at, at] = cos * _SHARP, -sin * _SHARP
    query[at, half + at], query[half + at, half + at] = sin * _SHARP, cos * _SHARP
    key[torch.arange(HEAD), torch.arange(HEAD)] = _SHARP
    value.copy_(read_HD.T * 0.5)
    _weight(model, 0, "c_proj")[:HEAD] = write_HD * 0.5


def _matching_head_(model: GPT2LMHeadModel, read_HD: Tensor, copied_HD: Tensor, carry_HD: Tensor) -> None:
    """Block 1, head 0: the query reads the token itself, the key reads what block 0 copied of the token before."""
    weight = _weight(model, 1, "c_attn")
    weight[:, :HEAD] = read_HD.T * _MATCH
    weight[:, WIDTH : WIDTH + HEAD] = copied_HD.T * _MATCH
    weight[:, 2 * WIDTH : 2 * WIDTH + HEAD] = carry_HD.T * 0.5
    _weight(model, 1, "c_proj")[:HEAD] = carry_HD * 0.5


def _weight(model: GPT2LMHeadModel, block: int, name: str) -> Tensor:
    """Weight [I, O] of one of a block's attention maps."""
    return model.get_parameter(f"transformer.h.{block}.attn.{name}.weight")
