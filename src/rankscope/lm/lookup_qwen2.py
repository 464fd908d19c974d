"""`tiny-qwen2` before training: Hugging Face's Qwen2 architecture at tiny-gpt2's size, and its first weights.

First weights (all other tensors as transformers draws them, from one seed):

| tensor | distribution |
|---|---|
| token embeddings (tied to the head) | normal, sd 0.05 |
| block 0, head 0 | attends to the previous token, copies 32 directions of its embedding into 32 others |
| block 0, head 1 | from even places attends to `Map:`, and writes one further direction there |
| block 1, head 0 | compares 23 directions of the token at hand with copies at even places, copies what stands there |

Positions are rotations here. The first head asks for the same thing everywhere: its queries and keys are biases alone,
the query's turned back by one position, in the 4 fast frequencies. The third must find a symbol at any distance, so it
compares in the 12 slow ones, which hardly turn over the context.

The second is there because of the words: a map line is two of them, so the symbol after x is what x leads to where x is
a key, and the next line's key where x is a value. Only odd and even places tell these apart. GPT-2 reads that from its
positions; of rotations the fastest has to be half a turn per place (usually it is 1 radian), which is why the
frequencies are set one by one (`longrope`, the same factors at every length). With the usual ones lookup stayed near
75 % (LOG.md).

Each of q, k, v and o is 128 x 128 (no key heads are shared), so that kinds of map differ in what they do and not in
size. The MLP is 336 wide: its three maps have as many weights as tiny-gpt2's two, to 2 %.
"""

import math

import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from rankscope.base.vocabulary import ID, PAD, SIZE, STOP
from rankscope.lm.circuit import TOKEN_SD

N_POSITIONS = 128
WIDTH, N_LAYERS, HEAD, MLP_WIDTH = 128, 4, 32, 336
HALF = HEAD // 2
"""Frequency i turns dims i and HALF + i of every head."""
FAST = (math.pi, 2.7, 2.6, 2.3)
SLOW = tuple(0.01 * 0.6**at for at in range(HALF - len(FAST)))
"""Radians per place."""
_THETA = 10_000.0
_BACK = 7.5
"""Size of the previous-token head's biases: about 10 nats between one place back and any other of the context."""
_EVEN = 10.0
"""Nats by which `Map:` is preferred at even places, and avoided at odd ones."""
_MATCH, _VALUE = 1.25, 6.0
"""Scale of the matching head's queries and keys; nats by which it prefers even places."""


def untrained_lookup_qwen2(seed: int) -> Qwen2ForCausalLM:
    """The base with its first weights, a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(_config())
        with torch.no_grad():
            model.get_parameter("model.embed_tokens.weight").normal_(0, TOKEN_SD)
            square, _ = torch.linalg.qr(torch.randn(WIDTH, WIDTH))
            read_HD, copied_HD, carry_HD = square[: 3 * HEAD].split(HEAD)
            even_D = square[3 * HEAD]
            _look_back_(model, read_HD, copied_HD)
            _even_places_(model, even_D)
            _matching_head_(model, read_HD, copied_HD, carry_HD, even_D)
    return model


def _config() -> Qwen2Config:
    usual = [_THETA ** (-at / HALF) for at in range(HALF)]
    factors = [common / wanted for common, wanted in zip(usual, (*FAST, *SLOW), strict=True)]
    rotary = {"rope_type": "longrope", "rope_theta": _THETA, "short_factor": factors, "long_factor": factors}
    return Qwen2Config(
        vocab_size=SIZE,
        hidden_size=WIDTH,
        intermediate_size=MLP_WIDTH,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=WIDTH // HEAD,
        num_key_value_heads=WIDTH // HEAD,
        max_position_embeddings=N_POSITIONS,
        rope_parameters=rotary | {"factor": 1.0, "original_max_position_embeddings": N_POSITIONS},
        tie_word_embeddings=True,
        bos_token_id=ID[STOP],
        eos_token_id=ID[STOP],
        pad_token_id=ID[PAD],
    )


def _look_back_(model: Qwen2ForCausalLM, read_HD: Tensor, write_HD: Tensor) -> None:
    """Block 0, head 0: constant queries and keys, so that attention depends on the distance alone, and is most at 1."""
    turn = torch.tensor(FAST)
    for name, angle in (("q", -turn), ("k", torch.zeros(len(FAST)))):
        _map(model, 0, name, "weight")[:HEAD] = 0
        bias = _map(model, 0, name, "bias")[:HEAD].zero_()
        bias[: len(FAST)] = torch.cos(angle) * _BACK
        bias[HALF : HALF + len(FAST)] = torch.sin(angle) * _BACK
    _map(model, 0, "v", "weight")[:HEAD] = read_HD * 0.5
    _map(model, 0, "o", "weight")[:, :HEAD] = write_HD.T * 0.5


def _even_places_(model: Qwen2ForCausalLM, even_D: Tensor) -> None:
    """Block 0, head 1: the query is constant, the key only that of `Map:`, half a turn per place between them."""
    own = slice(HEAD, 2 * HEAD)
    mark_D = model.get_parameter("model.embed_tokens.weight")[ID["Map:"]]
    mark_D = mark_D / mark_D.norm()
    size = math.sqrt(_EVEN * math.sqrt(HEAD))
    for name in "qk":
        _map(model, 0, name, "weight")[own] = 0
        _map(model, 0, name, "bias")[own] = 0
    _map(model, 0, "q", "bias")[HEAD] = size
    _map(model, 0, "k", "weight")[HEAD] = mark_D * size / math.sqrt(WIDTH)
    _map(model, 0, "v", "weight")[HEAD] = mark_D / math.sqrt(WIDTH)
    _map(model, 0, "o", "weight")[:, HEAD] = even_D


def _matching_head_(
    model: Qwen2ForCausalLM, read_HD: Tensor, copied_HD: Tensor, carry_HD: Tensor, even_D: Tensor
) -> None:
    """Block 1, head 0: the query reads the token itself, the key reads what block 0 wrote of the token before."""
    *slow, last = (first + at for first in (0, HALF) for at in range(len(FAST), HALF))
    query, key = _map(model, 1, "q", "weight"), _map(model, 1, "k", "weight")
    query[slow], key[slow] = read_HD[: len(slow)] * _MATCH, copied_HD[: len(slow)] * _MATCH
    size = math.sqrt(_VALUE * math.sqrt(HEAD))
    query[last] = 0
    _map(model, 1, "q", "bias")[last] = size
    key[last] = even_D * size / math.sqrt(WIDTH) * 2
    _map(model, 1, "v", "weight")[:HEAD] = carry_HD * 0.5
    _map(model, 1, "o", "weight")[:, :HEAD] = carry_HD.T * 0.5


def _map(model: Qwen2ForCausalLM, block: int, name: str, kind: str) -> Tensor:
    """Weight [O, I] or bias [O] of one of a block's attention maps."""
    return model.get_parameter(f"model.layers.{block}.self_attn.{name}_proj.{kind}")
