"""Simulated coverage of a functional rank's interval over items, where the rank over all items is known."""

import numpy as np
import pytest

from rankscope.rank.functional import TruncationCurve
from rankscope.rank.over_items import functional_rank_over_items

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("kept", "truth"),
    [((0.0, 0.3, 0.7, 0.96, 1.0), 3), ((0.0, 0.5, 0.85, 0.93, 1.0), 3), ((0.0, 0.84, 0.88, 0.91, 1.0), 3)],
)
def test_the_interval_holds_the_rank_over_all_items(kept, truth):
    """Item n is right from some k on, drawn from these shares; 300 items, 95 % of them right by the whole adapter."""
    random, held, n_items, sims = np.random.default_rng(3), 0, 300, 250
    for _ in range(sims):
        needs_N = np.searchsorted(np.array(kept), random.random(n_items))
        right_KN = (np.arange(5)[:, None] >= needs_N) & (random.random(n_items) < 0.95) & (np.arange(5)[:, None] > 0)
        curve = TruncationCurve(tuple(map(float, range(5))), right_KN[None].astype(float))
        (found,) = functional_rank_over_items(curve, np.zeros(n_items), draws=400)
        held += found.low <= truth <= found.high
    assert held / sims >= 0.93
