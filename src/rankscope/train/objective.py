"""Which loss a cell's items ask for, with the teacher where there is one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn

from rankscope.adapters.planted import teacher_of
from rankscope.base.errors import BadInput
from rankscope.engine.model import adapted
from rankscope.lm.bases import Base
from rankscope.tasks.encoded import EncodedItems
from rankscope.train.arms import copy_sharing_weights
from rankscope.train.batches import Batch
from rankscope.train.loss import answer_loss, distill_loss

Loss = Callable[[nn.Module, Batch], Float[Tensor, ""]]


@contextmanager
def objective_of(base: Base, items: EncodedItems) -> Iterator[Loss]:
    """(model, batch) -> loss in nats; a teacher stays attached to a copy of the base while this is open."""
    if items.objective == "answer":
        yield answer_loss
        return
    teacher = teacher_of(base, items.task)
    if items.objective != "distill" or teacher is None:
        raise BadInput(f"{items.task} asks for the objective {items.objective!r}, for which it has no teacher.")
    with adapted(copy_sharing_weights(base.model), teacher) as teacher_model:
        yield lambda model, batch: distill_loss(model, teacher_model, batch)
