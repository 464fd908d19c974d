"""Items written by hand, models whose logits are given, and a tiny base trained on the items for a moment."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rankscope.tasks.encoded import NO_TOKEN, EncodedItems

STOP = 1


def items_of(
    rows: Sequence[tuple[list[int], list[int], list[int]]],
    candidates: Sequence[list[list[int]]] | None = None,
    padding: int = 0,
    **changes: object,
) -> EncodedItems:
    """Items from (prompt, trace, answer), with a stop token added and `padding` columns more than needed."""
    texts = [[*prompt, *trace, *answer, STOP] for prompt, trace, answer in rows]
    tokens = np.zeros((len(rows), max(map(len, texts)) + padding), dtype=np.int64)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = text
    starts = [len(prompt) + len(trace) for prompt, trace, _ in rows]
    fields = {
        "task": "hand",
        "split": "test",
        "tokens_NT": tokens,
        "n_prompt_N": np.array([len(prompt) for prompt, _, _ in rows]),
        "n_tokens_N": np.array([len(text) for text in texts]),
        "answer_start_N": np.array(starts),
        "answer_end_N": np.array([start + len(row[2]) for start, row in zip(starts, rows, strict=True)]),
        "candidates_NCA": None if candidates is None else _filled(candidates),
        "item_ids_N": np.arange(len(rows)) + 100,
    }
    return EncodedItems(**(fields | changes))


def _filled(candidates: Sequence[list[list[int]]]) -> np.ndarray:
    shape = (len(candidates), max(map(len, candidates)), max(len(one) for row in candidates for one in row))
    filled = np.full(shape, NO_TOKEN)
    for row, options in enumerate(candidates):
        for column, option in enumerate(options):
            filled[row, column, : len(option)] = option
    return filled


class GivenLogits(nn.Module):
    """A model whose next-token logits are a function of the tokens read so far."""

    def __init__(self, logits_after: Callable[[tuple[int, ...]], Sequence[float]]) -> None:
        super().__init__()
        self.logits_after = logits_after

    def forward(self, input_ids: Tensor, past_key_values: None = None, use_cache: bool = False) -> SimpleNamespace:
        rows = [[self.logits_after(tuple(row[: end + 1].tolist())) for end in range(len(row))] for row in input_ids]
        return SimpleNamespace(logits=torch.tensor(rows, dtype=torch.float32), past_key_values=None)


def random_items(seed: int, n_items: int, n_words: int = 256, traces: bool = True) -> EncodedItems:
    """Items of mixed lengths over random words; the word before each answer is always 2."""
    random = np.random.default_rng(seed)

    def words(low: int, high: int) -> list[int]:
        return random.integers(3, n_words, random.integers(low, high)).tolist()

    return items_of([(words(3, 9), [*words(0, 5), 2] if traces else [], words(1, 3)) for _ in range(n_items)])


def train_briefly(model: PreTrainedModel, items: EncodedItems, n_steps: int, lr: float = 1e-2) -> None:
    """Full-batch steps of AdamW on the completions, in place."""
    tokens = torch.from_numpy(items.tokens_NT)
    mask = torch.from_numpy(items.completion_mask_NT[:, 1:])
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr)
    for _ in range(n_steps):
        logits = model(input_ids=tokens[:, :-1]).logits[mask]
        loss = torch.nn.functional.cross_entropy(logits, tokens[:, 1:][mask])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.requires_grad_(True)
