"""What is timed: a base of a given shape, where it is adapted, and what a batch looks like."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from rankscope.base.seeds import Seeds
from rankscope.lm.bases import Base
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.encoded import EncodedItems
from rankscope.train.cell import Budget, Cell, LoraSpec, OptimiserSpec
from rankscope.train.materials import Materials

LR = 1e-4


@dataclass(frozen=True)
class Case:
    """A training to time. Weights are random: only shapes decide how long a step takes."""

    name: str
    n_layers: int
    d_model: int
    n_heads: int
    n_words: int
    placement: tuple[str, ...]
    batch_size: int
    n_tokens: int
    n_answer: int
    """Tokens of an item that the loss is on."""
    rank: int = 8
    n_batches: int = 4
    """Distinct batches; items return, as they do in training for several epochs."""
    n_epochs: int = 10
    """Epochs that set-up and cache-building are charged to."""

    @cached_property
    def base(self) -> Base:
        """The base, made anew from a fixed seed."""
        config = GPT2Config(
            n_layer=self.n_layers,
            n_embd=self.d_model,
            n_head=self.n_heads,
            vocab_size=self.n_words,
            n_positions=max(64, self.n_tokens),
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            resid_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = GPT2LMHeadModel(config).eval().requires_grad_(False)
        model.config.pad_token_id = None
        return Base(self.name, model, build_word_tokenizer(), self.name, config.n_positions, stop_id=0, pad_id=0)

    @cached_property
    def items(self) -> EncodedItems:
        """Items of random tokens, all equally long."""
        n_items = self.batch_size * self.n_batches
        tokens_NT = np.random.default_rng(0).integers(0, self.n_words, (n_items, self.n_tokens))
        full = np.full(n_items, self.n_tokens)
        return EncodedItems(self.name, "train", tokens_NT, full - self.n_answer, full, full - 2, full - 1)

    def materials(self, row: int = 0) -> Materials:
        """The training of one adapter; rows differ in their first weights alone."""
        n_items = len(self.items)
        cell = Cell(
            base=self.name,
            task=self.name,
            arm=LoraSpec(rank=self.rank, placement=self.placement),
            optimiser=OptimiserSpec(lr=LR),
            budget=Budget(n_items=n_items, batch_size=self.batch_size, n_epochs=self.n_epochs),
            seeds=Seeds(init=row),
        )
        return Materials(cell, f"{self.name}-{row}", self.base, self.items)


def _gpt2_small(name: str, placement: tuple[str, ...]) -> Case:
    return Case(name, 12, 768, 12, 50257, placement, batch_size=16, n_tokens=170, n_answer=8, n_batches=2)


def _tiny(name: str, placement: tuple[str, ...]) -> Case:
    return Case(name, 4, 128, 4, 256, placement, batch_size=128, n_tokens=32, n_answer=8)


LAST_THREE = ("transformer.h.9.*", "transformer.h.10.*", "transformer.h.11.*")
CASES = {
    case.name: case
    for case in (
        _gpt2_small("gpt2-small c_proj", ("*.mlp.c_proj",)),
        _gpt2_small("gpt2-small all maps", ("*",)),
        _gpt2_small("gpt2-small last 3 layers", LAST_THREE),
        _gpt2_small("gpt2-small last layer", LAST_THREE[-1:]),
        _tiny("tiny-gpt2 all maps", ("*",)),
        _tiny("tiny-gpt2 last c_proj", ("transformer.h.3.mlp.c_proj",)),
        Case("smoke", 2, 32, 2, 64, ("transformer.h.1.*",), batch_size=4, n_tokens=12, n_answer=3, rank=2),
    )
}
SHORT = ("tiny-gpt2 all maps", "tiny-gpt2 last c_proj")
"""Cases of the short form."""
