"""Which items a step sees: a pure function of the items, the order seed and the step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from rankscope.base.errors import BadInput
from rankscope.base.seeds import numpy_stream
from rankscope.engine.passes import Part, Passes
from rankscope.tasks.encoded import EncodedItems
from rankscope.train.cell import Budget


@dataclass(frozen=True)
class Batch:
    """Tokens of one step, trimmed to its longest item, and where its loss is."""

    tokens_NT: Int[Tensor, "N T"]
    predicts_NT: Bool[Tensor, "N T"]
    """True at positions whose next token is in the loss: the completion, and padding where the items ask for that."""
    rows_N: Int[np.ndarray, " N"]
    """Which of the items these are."""
    length_N: Int[np.ndarray, " N"]
    """Tokens of each item that matter: its own, or all where the loss is on padding too."""

    def parts(self, passes: Passes) -> Iterator[tuple["Batch", float | None]]:
        """Its passes, each with its share of the loss's positions; the whole, without one, where there is only one."""
        parts = passes.of(self.length_N)
        if len(parts) == 1:
            yield self, None
            return
        for part in parts:
            one = self.part(part)
            yield one, int(one.predicts_NT.sum()) / int(self.predicts_NT.sum())

    def part(self, part: Part) -> "Batch":
        """The items of one pass."""
        items_M = torch.from_numpy(part.items_M).to(self.tokens_NT.device)
        tokens_MT, predicts_MT = (whole_NT[items_M, : part.n_tokens] for whole_NT in (self.tokens_NT, self.predicts_NT))
        return Batch(tokens_MT, predicts_MT, self.rows_N[part.items_M], self.length_N[part.items_M])


@lru_cache(maxsize=4)
def epoch_order(order_seed: int, epoch: int, n_items: int) -> Int[np.ndarray, " N"]:
    """The order in which an epoch visits the items: a permutation that depends on (order seed, epoch)."""
    return numpy_stream("order", order_seed, epoch).permutation(n_items)


def batch_rows(budget: Budget, order_seed: int, step: int) -> Int[np.ndarray, " N"]:
    """The items of a step. Epochs are cut to whole batches; what is left over sits that epoch out."""
    per_epoch = budget.n_items // budget.batch_size
    epoch, index = divmod(step, per_epoch)
    start = index * budget.batch_size
    return epoch_order(order_seed, epoch, budget.n_items)[start : start + budget.batch_size]


def batch_of(items: EncodedItems, rows_N: Int[np.ndarray, " N"], device: torch.device) -> Batch:
    """The given items as a batch on the device."""
    width = int(items.n_tokens_N[rows_N].max())
    predicts_NT = np.zeros((len(rows_N), width), dtype=bool)
    at_T = np.arange(1, width)
    is_before_end = items.loss_on_padding | (at_T < items.n_tokens_N[rows_N, None])
    predicts_NT[:, :-1] = (at_T >= items.n_prompt_N[rows_N, None]) & is_before_end
    tokens_NT = torch.from_numpy(items.tokens_NT[rows_N, :width].astype(np.int64))
    length_N = np.full(len(rows_N), width) if items.loss_on_padding else items.n_tokens_N[rows_N]
    return Batch(tokens_NT.to(device), torch.from_numpy(predicts_NT).to(device), rows_N, length_N)


def batch_stream(items: EncodedItems, budget: Budget, order_seed: int, device: torch.device) -> Callable[[int], Batch]:
    """Step -> Batch. Raises BadInput when the items are not as many as the budget says, or fill no batch."""
    if len(items) != budget.n_items or budget.n_steps == 0:
        raise BadInput(
            f"Training needs {budget.n_items} items of {items.task} in batches of {budget.batch_size}; there are "
            f"{len(items)}. Ask for no more items than the task has, and at least one batch."
        )
    return lambda step: batch_of(items, batch_rows(budget, order_seed, step), device)
