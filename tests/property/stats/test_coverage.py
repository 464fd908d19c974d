"""Simulated coverage: nominal 95 % intervals over many synthetic studies with known truth."""

import numpy as np
import pytest
from scipy import stats

from rankscope.stats.crossed import crossed_interval

pytestmark = pytest.mark.slow


def _coverage(S, seed_sd, item_sd, share, sims, draws=200):
    """Share of intervals that hold the truth; scores are 0/1 with that mean, or normal where share is None."""
    random = np.random.default_rng(7)
    held = 0
    for _ in range(sims):
        latent_SN = seed_sd * random.standard_normal((S, 1)) + item_sd * random.standard_normal((1, 200))
        latent_SN = latent_SN + random.standard_normal((S, 200))
        if share is not None:
            cut = stats.norm.ppf(share) * np.sqrt(1 + seed_sd**2 + item_sd**2)
            latent_SN = (latent_SN + cut > 0).astype(float)
        found = crossed_interval(latent_SN, draws=draws)
        held += found.low <= (share or 0.0) <= found.high
    return held / sims


@pytest.mark.parametrize(
    ("S", "seed_sd", "item_sd", "share"),
    [
        (5, 0.0, 0.0, None),
        (5, 1.0, 1.0, None),
        (5, 0.05, 1.0, None),
        (5, 0.3, 1.0, None),
        (5, 0.3, 1.0, 0.7),
        (5, 0.3, 2.0, 0.9),
        (3, 0.3, 1.0, 0.7),
        (12, 0.5, 1.0, None),
        (12, 0.3, 1.0, 0.7),
        (12, 0.0, 0.0, 0.5),
    ],
)
def test_crossed_interval_holds_the_truth(S, seed_sd, item_sd, share):
    rate = _coverage(S, seed_sd, item_sd, share, sims=1500 if S < 10 else 500)
    assert 0.93 <= rate <= 0.985
