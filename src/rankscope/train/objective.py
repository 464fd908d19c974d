"""Which loss a cell's items ask for, with the teacher where there is one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn

from rankscope.engine.prefix import PrefixCache
from rankscope.lm.bases import Base
from rankscope.tasks.encoded import EncodedItems
from rankscope.train.batches import Batch
from rankscope.train.loss import answer_loss, distill_loss
from rankscope.train.teacher import teacher_targets

Loss = Callable[[nn.Module, Batch], Float[Tensor, ""]]


@contextmanager
def objective_of(base: Base, items: EncodedItems, prefix: PrefixCache | None = None) -> Iterator[Loss]:
    """(model, batch) -> loss in nats; a teacher stays attached to a copy of the base while this is open."""
    with teacher_targets(base, items, prefix) as targets:
        if targets is None:
            yield answer_loss
        else:
            yield lambda model, batch: distill_loss(model, targets(batch), batch)
