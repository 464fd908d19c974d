"""A small GPT-2 for map tasks in text, before training: Hugging Face's architecture, and its first weights.

First weights (all other tensors as transformers draws them, from one seed); H = 16 directions per head:

| tensor | distribution |
|---|---|
| positions, dims 0-15 | sine and cosine of 8 frequencies, amplitude 0.2; other dims 0 |
| token embeddings (tied to the head) | dims 0-15 zero; other dims normal, sd 0.05 |
| tokens with a space in front | the embedding of the same token without, plus one vector for all of them |
| block 0, heads 0 to 3 | attend to the token 1, 2, 7, 8 places back, copy H directions of its embedding to others |
| block 1, head 0 | compares the last two tokens with the two before each place, and copies what stands there |
| block 1, heads 1, 2 | find the place behind `=>` whose line begins with the token 7 or 8 places back, and copy |

It is the lookup circuit over symbols of several tokens; in both tasks' layout the start stands 7 or 8 places before the
colon after which the answer is written. Without the heads of 7 and 8 places the first token of an answer was hardly
learnt in 350 steps (LOG.md). No path is put in.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase

from rankscope.base.errors import BadInput
from rankscope.lm.circuit import (
    TOKEN_SD,
    attention_columns,
    attention_weight,
    circuit_config,
    look_back_,
    place_positions_,
)

HEAD = 16
_SPACE = "Ġ"
_SPACE_SHARE = 0.25
_SHARP = 1.0
"""Scale of queries and keys of the heads that look back."""
_OWN, _CARRY = 12.0, 1.0
"""How much more the token at hand weighs than a copy, whose directions are larger; scale of what is carried."""
_ARROW, _AFTER = "=>", 4.0
_BACK = (1, 2, 7, 8)
"""Places back that the heads of block 0 attend to."""


@dataclass(frozen=True)
class TextGpt2Size:
    """Sizes of the base."""

    width: int = 112
    n_layers: int = 3
    n_positions: int = 192


def untrained_text_gpt2(tokenizer: PreTrainedTokenizerBase, size: TextGpt2Size, seed: int) -> GPT2LMHeadModel:
    """The base with its first weights, a function of tokenizer, size and seed. No dropout.

    The width has to hold positions, four copies, what is read and what is carried: 112 at least, a multiple of 16.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(_config(tokenizer, size))
        with torch.no_grad():
            _place_embeddings_(model, tokenizer)
            square, _ = torch.linalg.qr(torch.randn(size.width - HEAD, size.width - HEAD))
            basis = torch.cat([torch.zeros(len(square), HEAD), square], dim=1)
            read_HD, *copied, carry_HD = (basis[at * HEAD : (at + 1) * HEAD] for at in range(len(_BACK) + 2))
            for head, back in enumerate(_BACK):
                look_back_(model, head, back, read_HD, copied[head], _SHARP)
            one, two, seven, eight = copied
            _matching_head_(model, 0, [(read_HD * _OWN, one), (one, two)], carry_HD)
            arrow_H = read_HD @ model.transformer.wte.weight[_arrow(tokenizer)]
            for head, fetched in ((1, seven), (2, eight)):
                _matching_head_(model, head, [(fetched, two)], carry_HD, after=(one, arrow_H))
    return model.eval()


def _arrow(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token `=>`. Raises BadInput for a vocabulary too small to have it."""
    arrow = tokenizer.get_vocab().get(_ARROW)
    if arrow is None:
        raise BadInput(f"The tokenizer has no token {_ARROW!r}; train it on map lines with a larger vocabulary.")
    return arrow


def _config(tokenizer: PreTrainedTokenizerBase, size: TextGpt2Size) -> GPT2Config:
    stop_id, pad_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    return circuit_config(len(tokenizer), size.n_positions, size.width, size.n_layers, HEAD, stop_id, pad_id)


def _place_embeddings_(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase) -> None:
    place_positions_(model, HEAD)
    tokens = model.transformer.wte.weight.normal_(0, TOKEN_SD)
    with_space = torch.randn(tokens.shape[1]) * TOKEN_SD * _SPACE_SHARE
    vocabulary = tokenizer.get_vocab()
    for text, at in vocabulary.items():
        bare = vocabulary.get(text.removeprefix(_SPACE))
        if text.startswith(_SPACE) and bare is not None:
            tokens[at] = tokens[bare] + with_space
    tokens[:, :HEAD] = 0


def _matching_head_(
    model: GPT2LMHeadModel,
    head: int,
    pairs: list[tuple[Tensor, Tensor]],
    carry_HD: Tensor,
    after: tuple[Tensor, Tensor] | None = None,
) -> None:
    """A head of block 1: queries and keys read the two sides of each pair; what stands at the place is carried on.

    Each pair is turned by a rotation of its own before they are added, so that pairs do not mix. `after` names a copy
    and what it should hold whatever is asked: places right behind `=>`.
    """
    width, own = model.config.n_embd, slice(head * HEAD, (head + 1) * HEAD)
    query, key, value = attention_columns(model, 1, width, own)
    turns = [torch.linalg.qr(torch.randn(HEAD, HEAD))[0] for _ in pairs]
    query.copy_(sum((asked.T @ turn for (asked, _), turn in zip(pairs, turns, strict=True)), torch.zeros(())))
    key.copy_(sum((there.T @ turn for (_, there), turn in zip(pairs, turns, strict=True)), torch.zeros(())))
    if after is not None:
        there, wanted_H = after
        turn = torch.linalg.qr(torch.randn(HEAD, HEAD))[0]
        key += there.T @ turn
        bias = model.get_parameter("transformer.h.1.attn.c_attn.bias")
        bias[own] = wanted_H / wanted_H.norm() @ turn * _AFTER
    value.copy_(carry_HD.T * _CARRY)
    attention_weight(model, 1, "c_proj")[own] = carry_HD * _CARRY
