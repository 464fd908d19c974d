"""Items with a wrong step: no model can foresee where it comes, so exact output is out of reach on them."""

import numpy as np
from jaxtyping import Bool, Shaped

from rankscope.base.config import Config
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.roles import RoleTable

CORRECTION, CORRECTED = "correction", "corrected"
"""The tag of a step that is written again, and the group of items that have one."""


class WrongSteps(Config):
    """How many items hold a wrong step, and the score on the others."""

    n: int
    n_items: int
    exact_elsewhere: float | None
    """Exact output on the items without one, mean over adapters; None where all hold one."""


def wrong_steps(exact_SN: Shaped[np.ndarray, "S N"], items: EncodedItems, roles: RoleTable | None) -> WrongSteps | None:
    """Counts items with a wrong step and takes the exact output of the others; None where no item is known to hold one.

    exact_SN: whether each adapter's output is exact.
    """
    wrong_N = _holds_wrong_step(items, roles)
    if not wrong_N.any():
        return None
    elsewhere = None if wrong_N.all() else float(exact_SN[:, ~wrong_N].mean())
    return WrongSteps(n=int(wrong_N.sum()), n_items=len(items), exact_elsewhere=elsewhere)


def _holds_wrong_step(items: EncodedItems, roles: RoleTable | None) -> Bool[np.ndarray, " N"]:
    """By the tag of a correction, else by the items' group, which a file does not have."""
    if roles is not None and CORRECTION in roles.tags:
        return np.asarray(roles.has(CORRECTION).any(1))
    return np.asarray(items.groups.get(CORRECTED, np.zeros(len(items))) == 1)
