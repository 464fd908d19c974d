"""`tiny-gpt2` and `small-gpt2` before training: Hugging Face's GPT-2 architecture in two sizes, and its first weights.

First weights (all other tensors as transformers draws them, from one seed):

| tensor | distribution |
|---|---|
| positions, dims 0-31 | sine and cosine of 16 frequencies, amplitude 0.2; other dims 0 |
| token embeddings (tied to the head) | dims 0-31 zero; other dims normal, sd 0.05 |
| block 0, head 0 | attends to the previous token, copies 32 directions of its embedding into 32 others |
| block 1, head 0 | compares the token at hand with those copies, and copies what stands there towards the output |

The first head attends by a rotation of the sines by one position. Heads are 32 wide in both sizes, so the circuit is
the same.

Drawn at random instead, tiny-gpt2 had not learnt one-hop lookup after 800 steps of 32 maps (LOG.md); the two heads are
the lookup circuit that training otherwise has to find by chance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from rankscope.base.vocabulary import ID, PAD, SIZE, STOP
from rankscope.lm.circuit import (
    TOKEN_SD,
    attention_columns,
    attention_weight,
    circuit_config,
    look_back_,
    place_positions_,
)

N_POSITIONS = 128
HEAD = 32
"""Width of a head."""
_SHARP = 0.8
"""Scale of the previous-token head's queries and keys: about 10 nats between the right position and the rest."""
_MATCH = 1.0
"""Scale of the matching head's queries and keys."""


@dataclass(frozen=True)
class Size:
    """Layers and width of a lookup base; what else it is made of follows."""

    n_layers: int
    width: int
    """A multiple of 32, and at least 128: the circuit takes a head for positions and three for tokens."""


SIZES = {"tiny-gpt2": Size(n_layers=4, width=128), "small-gpt2": Size(n_layers=6, width=256)}
"""Lookup bases by name. small-gpt2 has 4.8 million parameters, 19.3 MB in float32."""


def lookup_gpt2_config(size: Size) -> GPT2Config:
    """Settings of a lookup base."""
    return circuit_config(SIZE, N_POSITIONS, size.width, size.n_layers, HEAD, stop_id=ID[STOP], pad_id=ID[PAD])


def untrained_lookup_gpt2(size: Size, seed: int) -> GPT2LMHeadModel:
    """A lookup base with its first weights, a function of size and seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(lookup_gpt2_config(size))
        with torch.no_grad():
            place_positions_(model, HEAD)
            model.transformer.wte.weight.normal_(0, TOKEN_SD)[:, :HEAD] = 0
            read_HD, copied_HD, carry_HD = _orthonormal_directions(size.width)
            look_back_(model, 0, 1, read_HD, copied_HD, _SHARP)
            _matching_head_(model, read_HD, copied_HD, carry_HD)
    return model


def _orthonormal_directions(width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three sets of directions [HEAD, width] in the token dims, orthonormal all together."""
    square, _ = torch.linalg.qr(torch.randn(width - HEAD, width - HEAD))
    read_HD, copied_HD, carry_HD = torch.cat([torch.zeros(width - HEAD, HEAD), square], dim=1)[: 3 * HEAD].split(HEAD)
    return read_HD, copied_HD, carry_HD


def _matching_head_(model: GPT2LMHeadModel, read_HD: Tensor, copied_HD: Tensor, carry_HD: Tensor) -> None:
    """Block 1, head 0: the query reads the token itself, the key reads what block 0 copied of the token before."""
    query, key, value = attention_columns(model, 1, read_HD.shape[1], slice(0, HEAD))
    query.copy_(read_HD.T * _MATCH)
    key.copy_(copied_HD.T * _MATCH)
    value.copy_(carry_HD.T * 0.5)
    attention_weight(model, 1, "c_proj")[:HEAD] = carry_HD * 0.5
