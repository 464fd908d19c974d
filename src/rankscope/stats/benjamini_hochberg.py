"""Benjamini and Hochberg's correction: many tests, with a share of false ones among those that are reported."""

import numpy as np
from jaxtyping import Float

from rankscope.base.errors import BadInput


def benjamini_hochberg(p_M: Float[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
    """Adjusted p-values: reporting those of at most a, the expected share of false ones among them is at most a.

    The i-th smallest of m values is multiplied by m / i, and none exceeds one after it. Valid for independent or
    positively dependent tests.
    Source: Benjamini and Hochberg 1995.
    Check: .01, .04, .03, .5 give .04, .0533, .0533, .5.
    """
    if p_M.size and not bool(((p_M >= 0) & (p_M <= 1)).all()):
        raise BadInput("p-values lie between 0 and 1; some do not.")
    order_M = np.argsort(p_M, kind="stable")
    scaled_M = p_M[order_M] * len(p_M) / np.arange(1, len(p_M) + 1)
    adjusted_M = np.empty_like(scaled_M)
    adjusted_M[order_M] = np.minimum(np.minimum.accumulate(scaled_M[::-1])[::-1], 1.0)
    return adjusted_M
