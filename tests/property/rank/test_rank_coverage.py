"""Simulated rates at which required-rank sets and recovery intervals hold a known truth."""

import numpy as np
import pytest

from rankscope.rank.recovery import recovery
from rankscope.rank.required import required_rank

pytestmark = pytest.mark.slow

RANKS = (1, 2, 4, 8, 16)
BASE, Q = 0.1, 0.9


def _arm(random, mean, item_N, seed_sd, S):
    """0/1 scores whose chance of success is mean + item effect + seed effect, never clipped here."""
    chance_SN = np.clip(mean + item_N + seed_sd * random.uniform(-1.7, 1.7, (S, 1)), 0, 1)
    return (random.random((S, len(item_N))) < chance_SN).astype(float)


@pytest.mark.parametrize(
    "curve", [(0.2, 0.4, 0.65, 0.74, 0.75), (0.3, 0.6, 0.675, 0.69, 0.75), (0.1, 0.2, 0.3, 0.5, 0.7)]
)
def test_required_rank_sets_hold_the_truth(curve):
    random = np.random.default_rng(3)
    dense, S, N, sims = 0.75, 5, 300, 300
    truth = next(r for r, mean in zip(RANKS, curve, strict=True) if mean >= Q * dense + (1 - Q) * BASE)
    held = narrow = 0
    for _ in range(sims):
        item_N = random.uniform(-0.1, 0.1, N)
        arms = {r: _arm(random, mean, item_N, 0.02, S) for r, mean in zip(RANKS, curve, strict=True)}
        found = required_rank(arms, _arm(random, dense, item_N, 0.02, S), None, np.full(N, BASE), Q)
        held += (found.low or 0) <= truth <= (found.high or np.inf)
        narrow += (found.low or 0) >= truth / 2
    assert held / sims >= 0.93
    assert narrow / sims >= 0.5


@pytest.mark.parametrize(("adapter", "full", "S"), [(0.5, 0.6, 5), (0.8, 0.75, 5), (0.4, 0.8, 12)])
def test_recovery_intervals_hold_the_truth(adapter, full, S):
    random = np.random.default_rng(4)
    sims, held = (1000 if S < 10 else 200), 0
    for _ in range(sims):
        item_N = random.uniform(-0.1, 0.1, 200)
        arms = [_arm(random, mean, item_N, 0.04, S) for mean in (adapter, full)]
        ratio = recovery(*arms, np.full(200, BASE), "rank 4").ratio
        held += ratio.low <= (adapter - BASE) / (full - BASE) <= ratio.high
    assert 0.93 <= held / sims <= 0.985
