"""The training losses, ours in every executor: completion tokens only (padding too where items ask for it)."""

import inspect

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from rankscope.train.batches import Batch


def completion_logits(model: nn.Module, batch: Batch) -> Float[Tensor, "M V"]:
    """Logits, float32 at least, at the M positions that predict a completion token, in row order.

    Causal attention and right padding make an attention mask needless. Families of transformers that take
    `logits_to_keep` apply the head to these positions alone; with others the full logits are cut afterwards.
    """
    offered = {"logits_to_keep": batch.predicts_NT, "item_rows": batch.rows_N}
    taken = {name: value for name, value in offered.items() if name in _forward_parameters(model)}
    logits = model(input_ids=batch.tokens_NT, use_cache=False, **taken).logits
    kept = logits if logits.ndim == 2 else logits[batch.predicts_NT]
    return kept.to(torch.promote_types(kept.dtype, torch.float32))


def _forward_parameters(model: nn.Module) -> set[str]:
    return set(inspect.signature(model.forward).parameters)


def completion_targets(batch: Batch) -> Int[Tensor, " M"]:
    """The completion tokens themselves, aligned with `completion_logits`."""
    return batch.tokens_NT.roll(-1, dims=1)[batch.predicts_NT]


def answer_loss(model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats over the batch's completion tokens."""
    return F.cross_entropy(completion_logits(model, batch), completion_targets(batch))


def distill_loss(model: nn.Module, teacher_MV: Float[Tensor, "M V"], batch: Batch) -> Float[Tensor, ""]:
    """Mean KL(teacher || student) in nats over the positions that predict a completion token.

    teacher_MV: the teacher's log-probabilities there, in row order.
    """
    student_MV = completion_logits(model, batch).log_softmax(-1)
    return F.kl_div(student_MV, teacher_MV, reduction="batchmean", log_target=True)
