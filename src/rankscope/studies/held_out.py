"""Held-out items of any task: the ones that every training on it is scored on, with the teacher of a planted one."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rankscope.base.errors import BadInput
from rankscope.evals.teacher_forced import Teacher
from rankscope.lm.bases import Base
from rankscope.studies.scoring import SCORING_SEED, planted_teacher
from rankscope.tasks.catalog import load_items, load_role_items, load_task
from rankscope.tasks.encoded import EncodedItems, check_fits
from rankscope.tasks.jsonl import JsonlTask
from rankscope.tasks.roles import RoleTable


@dataclass(frozen=True)
class HeldOut:
    """Items of one split, and on planted tasks the teacher's log-probabilities on them."""

    items: EncodedItems
    teacher: Teacher | None

    @property
    def guess_N(self) -> Float[np.ndarray, " N"] | None:
        """Chance of the exact output by guessing among the candidates; None where a trace has to be written too."""
        items = self.items
        if items.objective != "answer" or not np.array_equal(items.answer_start_N, items.n_prompt_N):
            return None
        return items.chance_N


def n_available(task: str, split: str, n: int) -> int:
    """The number n for a task that makes its items; of a file, as many of them as the split has."""
    loaded = load_task(task)
    return min(n, len(loaded.rows(split))) if isinstance(loaded, JsonlTask) else n


def held_out_items(task: str, base: Base, n: int, split: str = "test", fewest: int = 1) -> EncodedItems:
    """The first n items of the split; of a file, as many as it has.

    Raises: BadInput when there are fewer than `fewest`, or one is longer than the base can read.
    """
    items = load_items(task, split, _n_found(task, split, n, fewest), SCORING_SEED, base.tokenizer)
    check_fits(items, base.n_positions, base.name)
    return items


def _n_found(task: str, split: str, n: int, fewest: int) -> int:
    """How many of n items there are. Raises BadInput when they are fewer than `fewest`."""
    n_found = n_available(task, split, n)
    if n_found < fewest:
        raise BadInput(
            f"{task} has {n_found or 'no'} {split} items (splits go by a hash of the prompt), and at least "
            f"{fewest} {'is' if fewest == 1 else 'are'} needed. Add lines to it."
        )
    return n_found


def held_out(task: str, base: Base, n: int, split: str = "test", fewest: int = 2) -> HeldOut:
    """`held_out_items` with their teacher."""
    items = held_out_items(task, base, n, split, fewest)
    return HeldOut(items, planted_teacher(base, items))


def held_out_roles(
    task: str, base: Base, n: int, split: str = "test", fewest: int = 1
) -> tuple[EncodedItems, RoleTable | None]:
    """`held_out_items` with the roles of their tokens; None where the task has none."""
    n_found = _n_found(task, split, n, fewest)
    items, roles = load_role_items(task, split, n_found, SCORING_SEED, base.tokenizer)
    check_fits(items, base.n_positions, base.name)
    return items, roles


def held_out_answers(task: str, base: Base, n: int) -> tuple[EncodedItems, RoleTable | None]:
    """The test items of `held_out_roles`, two at least, of a task that has answers. Raises BadInput for one without."""
    items, roles = held_out_roles(task, base, n, fewest=2)
    if items.objective != "answer":
        raise BadInput(
            f"{task} imitates a teacher and has no answers; ablations are read at answers. Use another task."
        )
    return items, roles
