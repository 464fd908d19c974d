"""The p-value of a verdict that is read off confidence sets: the smallest error at which it would still be given."""

import math
from collections.abc import Callable

SMALLEST, LARGEST = 1e-6, 0.99
_HALVINGS = 12
"""Of six decades; the result is at most a third of a per cent too large."""


def smallest_error(decides: Callable[[float], bool]) -> float:
    """One minus the largest level at which `decides(level)` holds, to a third of a per cent, never rounded down.

    `decides` must be monotone: what is decided at a level is decided at every lower one, as it is for a rule that
    asks whether nested confidence sets lie within a region. Then the result is a p-value: at most a with chance
    at most a where the verdict is wrong, as far as the sets keep their level. At least 1e-6; 1.0 where even the
    level 0.01 does not decide.
    """
    if not decides(1 - LARGEST):
        return 1.0
    if decides(1 - SMALLEST):
        return SMALLEST
    fails, holds = math.log(SMALLEST), math.log(LARGEST)
    for _ in range(_HALVINGS):
        middle = (fails + holds) / 2
        if decides(1 - math.exp(middle)):
            holds = middle
        else:
            fails = middle
    return math.exp(holds)
