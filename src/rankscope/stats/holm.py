"""Holm's correction: several declared outcomes of one study, with one error for all of them."""

from collections.abc import Sequence

from rankscope.base.errors import BadInput


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values, in the order given: an outcome holds at level 1 - a where its adjusted value is at most a.

    The smallest of m values is multiplied by m, the next by m - 1, and so on; none falls below one before it, none
    exceeds 1. The chance of any false statement among all m is at most a, however they depend on each other.
    Source: Holm 1979.
    Check: .01, .04, .03 give .03, .06, .06.
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise BadInput(f"p-values lie between 0 and 1, not {list(p_values)}.")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for passed, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - passed) * p_values[place]))
        adjusted[place] = highest
    return tuple(adjusted)
