"""What a distilled cell imitates: a teacher's distribution at every completion position, or tokens drawn from it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rankscope.adapters.planted import teacher_of
from rankscope.base.errors import BadInput
from rankscope.base.seeds import numpy_stream
from rankscope.engine.model import adapted
from rankscope.engine.prefix import PrefixCache
from rankscope.lm.bases import Base
from rankscope.tasks.catalog import split_name
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.planted import teacher_knobs
from rankscope.tasks.planted_spec import PlantedSpec
from rankscope.train.arms import copy_sharing_weights
from rankscope.train.batches import Batch
from rankscope.train.loss import completion_logits

Targets = Callable[[Batch], Float[Tensor, "M V"]]
"""batch -> log-probabilities to imitate, at the positions that predict a completion token, in row order."""
LOG_ZERO = -1e4
"""Log-probability of a token that was not drawn: its probability is 0 in float64, and 0 times it is 0."""


@contextmanager
def teacher_targets(base: Base, items: EncodedItems, prefix: PrefixCache | None = None) -> Iterator[Targets | None]:
    """The targets of a `distill` task, None for one that names its answers; a copy of the base carries the teacher.

    The prefix, if there is one, holds what the base computes for these items in full precision.

    With the knob `samples` each position's target is the shares of that many tokens drawn from the teacher. The draw
    is a function of items, row and position: the same in every epoch, batch, micro-batch and pack.
    """
    if items.objective == "answer":
        yield None
        return
    teacher = teacher_of(base, items.task)
    if items.objective != "distill" or teacher is None:
        raise BadInput(f"{items.task} asks for the objective {items.objective!r}, for which it has no teacher.")
    n_samples = PlantedSpec.parse(teacher_knobs(split_name(items.task)[1])).samples
    with adapted(copy_sharing_weights(base.model), teacher, prefix) as model:

        @torch.no_grad()
        def targets(batch: Batch) -> Tensor:
            log_probs_MV = completion_logits(model, batch).log_softmax(-1)
            if n_samples is None:
                return log_probs_MV
            return drawn_shares(log_probs_MV, _uniforms(items, batch, n_samples).to(log_probs_MV.device))

        yield targets


def drawn_shares(log_probs_MV: Float[Tensor, "M V"], uniform_MS: Float[Tensor, "M S"]) -> Float[Tensor, "M V"]:
    """Logs of the shares of S tokens drawn by inverting each row's distribution; LOG_ZERO where none was drawn."""
    cumulative_MV = log_probs_MV.double().exp().cumsum(-1)
    drawn_MS = torch.searchsorted(cumulative_MV, uniform_MS * cumulative_MV[:, -1:]).clamp_(
        max=cumulative_MV.shape[1] - 1
    )
    each = torch.full_like(uniform_MS, 1 / uniform_MS.shape[1])
    shares_MV = torch.zeros_like(cumulative_MV).scatter_add_(1, drawn_MS, each)
    return shares_MV.log().clamp_(min=LOG_ZERO).to(log_probs_MV.dtype)


def _uniforms(items: EncodedItems, batch: Batch, n_samples: int) -> Float[Tensor, "M S"]:
    """Numbers in [0, 1), a stream per item, cut to the batch's width; float64."""
    width = batch.tokens_NT.shape[1]
    each = [
        numpy_stream("drawn targets", items.content_hash, int(row)).random((width, n_samples)) for row in batch.rows_N
    ]
    return torch.from_numpy(np.stack(each))[batch.predicts_NT.cpu()]
