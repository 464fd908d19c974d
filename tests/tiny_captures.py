"""Small bases, adapters and items to record, and what PEFT's own layers compute on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import peft
import torch
from hand_items import random_items
from tiny_models import save_tiny, tiny_opt, tiny_tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.capture.store import AdapterState, Block
from rankscope.capture.tokens import Tokens, concatenated
from rankscope.lm.bases import Base, load_base
from rankscope.lm.sites import linear_sites
from rankscope.tasks.encoded import EncodedItems


def base_of(family: str, folder: Path) -> Base:
    """A random base that our decoder runs (gpt2, qwen2, ...), or `opt`, which only transformers does."""
    if family != "opt":
        return load_base(str(save_tiny(family, folder)))
    tiny_opt().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return load_base(str(folder))


def random_adapter(model: PreTrainedModel, rank: int, seed: int = 0, scale: float = 0.5) -> AdapterWeights:
    """Random factors at every map, of falling strengths so that no two directions are alike."""
    draw = torch.Generator().manual_seed(seed)
    strength_R1 = torch.logspace(0, -0.4 * (rank - 1), rank)[:, None]
    return AdapterWeights(
        {
            site: Factors(
                0.3 * strength_R1 * torch.randn(rank, n_in, generator=draw),
                0.3 * torch.randn(n_out, rank, generator=draw),
                scale,
            )
            for site, (n_out, n_in) in linear_sites(model).items()
        }
    )


def some_items(n_items: int = 9) -> EncodedItems:
    """Items of mixed lengths."""
    return random_items(4, n_items)


def recorded(state: AdapterState) -> tuple[Tokens, np.ndarray]:
    """All tokens and raw values of a capture."""
    return gathered(state.iter_raw())


def gathered(blocks: Iterator[Block]) -> tuple[Tokens, np.ndarray]:
    """Blocks one after another."""
    found = list(blocks)
    return concatenated([block.tokens for block in found]), np.concatenate([block.values_MF for block in found])


@contextmanager
def in_peft(base: Base, weights: AdapterWeights, folder: Path, family: str) -> Iterator[peft.PeftModel]:
    """The same adapter in PEFT's layers, on a model of its own."""
    write_adapter(folder, weights, base.name)
    yield peft.PeftModel.from_pretrained(load_base(base.name).model, folder).eval()


@torch.no_grad()
def outputs_of(model: peft.PeftModel, modules: dict[str, torch.nn.Module], items: EncodedItems) -> dict[str, Tensor]:
    """What each module gives on every token of the items, one item at a time and without padding."""
    found: dict[str, list[Tensor]] = {name: [] for name in modules}
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: found[name].append(output))
        for name, module in modules.items()
    ]
    for row, length in enumerate(items.n_tokens_N):
        model(input_ids=torch.from_numpy(items.tokens_NT[row : row + 1, :length]))
    for handle in handles:
        handle.remove()
    return {name: torch.cat([output.reshape(-1, output.shape[-1]) for output in each]) for name, each in found.items()}
