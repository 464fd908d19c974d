"""One teacher-forced pass: logits at the completion positions only, flattened over items.

Sequences are right-padded and attention is causal, so a completion position never sees padding and no
attention mask is needed; padding is read as the item's first token, whatever it was. P counts completion
positions of a batch, item by item.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rankscope.base.errors import BadInput
from rankscope.engine.variants import Variants
from rankscope.tasks.encoded import EncodedItems

LOGITS_PER_BATCH = 2**27
"""Most logits held at once (512 MiB in float32); batches shrink to stay below it."""


@dataclass(frozen=True)
class CompletionLogits:
    """Logits of M items at the P positions from which their completion tokens are predicted."""

    rows_M: Int[np.ndarray, " M"]
    """Row of each item in the items that were asked for."""
    n_completion_M: Int[np.ndarray, " M"]
    owner_P: Int[np.ndarray, " P"]
    """Which of the M items a position belongs to; ascending."""
    position_P: Int[np.ndarray, " P"]
    """Position of the predicted token."""
    target_P: Int[Tensor, " P"]
    """The gold token."""
    logits_PV: Float[Tensor, "P V"]

    @property
    def starts_M(self) -> Int[np.ndarray, " M"]:
        """First position of each item within P."""
        return np.cumsum(self.n_completion_M) - self.n_completion_M

    @property
    def log_probs_PV(self) -> Float[Tensor, "P V"]:
        """Log-softmax in float32."""
        return self.logits_PV.log_softmax(-1)


def iter_completion_logits(model: nn.Module, items: EncodedItems, batch_size: int = 256) -> Iterator[CompletionLogits]:
    """Completion logits of all items, batch by batch, items of like length together.

    Gradients follow the caller's mode.
    Raises: BadInput when an item has no completion or no prompt.
    """
    check_completions(items)
    for rows_M in length_batches(items, batch_size, n_words(model)):
        yield completion_logits(model, items, rows_M)


def iter_variant_logits(
    variants: Variants, model: nn.Module, items: EncodedItems, batch_size: int = 256
) -> Iterator[list[CompletionLogits]]:
    """Completion logits of every variant, batch by batch; `model` is their base, and says where inputs go."""
    check_completions(items)
    for rows_M in length_batches(items, max(1, batch_size // variants.n_rows), n_words(model) * variants.n_rows):
        batch = CompletionBatch.of(items, rows_M)
        device = model_device(model)
        logits_KPV = variants.logits(batch.read_MT.to(device), batch.wanted_MT.to(device)).float()
        yield [batch.with_logits(logits_PV, device) for logits_PV in logits_KPV]


def completion_logits(
    model: nn.Module, items: EncodedItems, rows_M: Int[np.ndarray, " M"] | slice = slice(None)
) -> CompletionLogits:
    """Completion logits of the given rows as one batch, in that order."""
    batch = CompletionBatch.of(items, np.arange(len(items))[rows_M])
    device = model_device(model)
    known = getattr(model, "prefix_identity", None)
    named_M = batch.rows_M if known is not None and known == items.tokens_hash else None
    logits_PV = _logits_at(model, batch.read_MT.to(device), batch.wanted_MT.to(device), named_M)
    return batch.with_logits(logits_PV, device)


@dataclass(frozen=True)
class CompletionBatch:
    """Rows of items as a model reads them, and where their completion tokens are predicted."""

    rows_M: Int[np.ndarray, " M"]
    tokens_MT: Int[Tensor, "M T"]
    mask_MT: Bool[np.ndarray, "M T"]
    """True where a token belongs to the completion."""

    @classmethod
    def of(cls, items: EncodedItems, rows_M: Int[np.ndarray, " M"]) -> "CompletionBatch":
        """The given rows, cut to the longest of them."""
        batch = items.take(rows_M)
        n_read = int(batch.n_tokens_N.max())
        read_MT = np.arange(n_read) < batch.n_tokens_N[:, None]
        tokens_MT = np.where(read_MT, batch.tokens_NT[:, :n_read], batch.tokens_NT[:, :1]).astype(np.int64)
        return cls(rows_M, torch.from_numpy(tokens_MT), batch.completion_mask_NT[:, :n_read])

    @property
    def read_MT(self) -> Int[Tensor, "M S"]:
        """What the model reads: all but the last token."""
        return self.tokens_MT[:, :-1]

    @property
    def reads_MS(self) -> Bool[np.ndarray, "M S"]:
        """True where what the model reads is no padding: a token that predicts another."""
        n_tokens_M = self.mask_MT.shape[1] - self.mask_MT[:, ::-1].argmax(1)  # the completion ends the item
        return np.asarray(np.arange(self.mask_MT.shape[1] - 1) < n_tokens_M[:, None] - 1)

    @property
    def wanted_MT(self) -> Bool[Tensor, "M S"]:
        """True where the next token belongs to the completion."""
        return torch.from_numpy(self.mask_MT[:, 1:])

    def with_logits(self, logits_PV: Float[Tensor, "P V"], device: torch.device) -> CompletionLogits:
        """The same positions with what a model gave for them."""
        owner_P, position_P = np.nonzero(self.mask_MT)
        return CompletionLogits(
            rows_M=self.rows_M,
            n_completion_M=self.mask_MT.sum(1),
            owner_P=owner_P,
            position_P=position_P,
            target_P=self.tokens_MT[torch.from_numpy(self.mask_MT)].to(device),
            logits_PV=logits_PV,
        )


def _logits_at(
    model: nn.Module, tokens_MT: Tensor, wanted_MT: Tensor, rows_M: Int[np.ndarray, " M"] | None
) -> Float[Tensor, "P V"]:
    """Logits where wanted, in float32; the head runs on those rows alone where the model can be told so.

    `rows_M` names the rows to a model that knows these items from before.
    """
    options: dict[str, object] = {"logits_to_keep": wanted_MT} if accepts(model, "logits_to_keep") else {}
    if rows_M is not None:
        options["item_rows"] = rows_M
    logits: Tensor = model(input_ids=tokens_MT, use_cache=False, **options).logits
    return (logits[wanted_MT] if logits.ndim == 3 else logits).float()


def check_completions(items: EncodedItems) -> None:
    """Raises BadInput when there are no items, or one lacks a prompt or a completion."""
    if len(items) == 0:
        raise BadInput(f"{items.task} ({items.split}) has no items to score. Ask for at least one.")
    if (items.n_prompt_N < 1).any() or (items.n_tokens_N <= items.n_prompt_N).any():
        raise BadInput(f"Every item of {items.task} needs a prompt and a completion of at least one token each.")


def accepts(model: nn.Module, option: str) -> bool:
    """Whether the model's forward names this option."""
    return option in inspect.signature(model.forward).parameters


def model_device(model: nn.Module) -> torch.device:
    """Where the model's inputs must be."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def n_words(model: nn.Module) -> int:
    """Size of the vocabulary; 1 for a model without a config."""
    config = getattr(model, "config", None)
    return 1 if config is None else int(config.get_text_config().vocab_size)


def length_batches(items: EncodedItems, batch_size: int, n_vocabulary: int) -> Iterator[Int[np.ndarray, " M"]]:
    """Rows in batches of like length, smaller ones where logits would take too much memory."""
    order_N = np.lexsort((items.n_prompt_N, items.n_tokens_N))
    longest = int((items.n_tokens_N - items.n_prompt_N).max())
    n_rows = max(1, min(batch_size, LOGITS_PER_BATCH // (longest * n_vocabulary)))
    for start in range(0, len(order_N), n_rows):
        yield order_N[start : start + n_rows]
