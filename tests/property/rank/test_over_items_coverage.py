"""Simulated coverage of a functional rank's interval over items, where the rank over all items is known."""

import numpy as np
import pytest

from rankscope.rank.functional import TruncationCurve
from rankscope.rank.over_items import functional_rank_over_items

pytestmark = pytest.mark.slow
N_ITEMS, RIGHT, Q = 300, 0.95, 0.9


def widest(kept: tuple[float, ...]) -> int:
    """Distance of the ends that at least half of all intervals keep within, by normal theory.

    The share kept at a budget is that of the items which the whole adapter has right: its standard error is known. An
    end reaches a budget whose estimate lies within 1.96 of these of q, and in a quarter of samples an estimate is off
    by more than .674 towards it. So each end goes past 2.634 of them in a quarter at most, and one or both in half.
    """
    kept_K = np.array(kept)
    reach_K = 2.634 * np.sqrt(kept_K * (1 - kept_K) / (RIGHT * N_ITEMS))
    return int(np.argmax(kept_K - reach_K >= Q) - np.argmax(kept_K + reach_K >= Q))


@pytest.mark.parametrize(
    ("kept", "truth"),
    [((0.0, 0.3, 0.7, 0.96, 1.0), 3), ((0.0, 0.5, 0.85, 0.93, 1.0), 3), ((0.0, 0.84, 0.88, 0.91, 1.0), 3)],
)
def test_the_interval_holds_the_rank_over_all_items(kept, truth):
    """Item n is right from some k on, drawn from these shares; 300 items, 95 % of them right by the whole adapter."""
    random, held, widths, sims = np.random.default_rng(3), 0, [], 250
    for _ in range(sims):
        needs_N = np.searchsorted(np.array(kept), random.random(N_ITEMS))
        right_KN = (np.arange(5)[:, None] >= needs_N) & (random.random(N_ITEMS) < RIGHT) & (np.arange(5)[:, None] > 0)
        curve = TruncationCurve(tuple(map(float, range(5))), right_KN[None].astype(float))
        (found,) = functional_rank_over_items(curve, np.zeros(N_ITEMS), draws=400)
        held += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    assert held / sims >= 0.93
    assert np.median(widths) <= widest(kept) < len(kept) - 1, "no wider than it must be, and not every budget"
