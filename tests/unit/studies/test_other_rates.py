"""The required rank that one learning rate for all ranks shows, on scores made up for it."""

from typing import Any

import numpy as np

from rankscope.rank.records import CurvePoint, SkillFindings
from rankscope.stats.interval import Interval
from rankscope.studies.evidence import Evidence
from rankscope.studies.other_rates import LONGER_MODE, ONE_RATE_MODE, one_rate_needs

GAINS = {
    "matched/A": {"rank 2": 0.95, "rank 4": 0.95, "rank 16": 0.96, "dense": 1.0},
    f"{ONE_RATE_MODE}/A": {"rank 2": 0.5, "rank 4": 0.7, "rank 8": 0.94},
}
RATES = {"rank 2": 0.02, "rank 4": 0.01, "rank 16": 0.008, "dense": 0.001}
"""Of the tuned skill; the other trains everything at .008."""


def skill(mode: str, improving: int = 0) -> SkillFindings:
    def point(arm: str, gain: float) -> CurvePoint:
        at = Interval(estimate=gain, low=None, high=None, method="", n_seeds=5, n_items=50, by_seed=(gain,) * 5)
        lr, rank = RATES[arm] if mode == "matched" else 0.008, None if arm == "dense" else int(arm.split()[1])
        return CurvePoint(arm=arm, rank=rank, lr=lr, score=at, gain=at, not_converged_seeds=improving)

    return SkillFindings(
        name="A", task="t", mode=mode, n_seeds=5, n_items=50, budget="", chance=None, chance_forced=None, required=(),
        base_score=0.0, curve=tuple(point(arm, gain) for arm, gain in GAINS[f"{mode}/A"].items()),
    )  # fmt: skip


def contrast_SN(terms, _score) -> np.ndarray:
    noise_SN = 0.01 * np.random.default_rng(0).standard_normal((5, 50))
    return sum(weight * (GAINS[one.key][arm] + noise_SN) for one, arm, weight in terms)


def not_asked(*_asked: object) -> Any:
    raise AssertionError


def evidence(*skills: SkillFindings) -> Evidence:
    return Evidence(skills, not_asked, not_asked, contrast_SN)


def test_ranks_of_that_rate_are_held_against_the_tuned_dense():
    """Ranks 2 and 4 count as trained at .008, not at their own rates; 16 has that rate there, 8 here; the bar is .9."""
    (found,) = one_rate_needs(evidence(skill("matched"), skill(ONE_RATE_MODE)))
    assert (found.skill, found.rate) == ("matched/A", 0.008)
    assert found.need.by_rank == {
        2: "insufficient", 4: "insufficient", 8: "sufficient", 16: "sufficient"
    }  # fmt: skip
    assert (found.need.low, found.need.high, found.need.verdict) == (8, 8, "estimated")
    assert found.need.contrast[4].estimate < -0.19


def test_a_dense_that_still_improved_is_told_and_one_that_is_missing_leaves_nothing_to_hold_against():
    (found,) = one_rate_needs(evidence(skill("matched", improving=3), skill(ONE_RATE_MODE)))
    assert found.need.verdict == "not converged"
    alone = skill("matched")
    alone = alone.override(curve=[point.model_dump() for point in alone.curve if point.arm != "dense"])
    assert one_rate_needs(evidence(alone, skill(ONE_RATE_MODE))) == ()
    assert one_rate_needs(evidence(skill("matched"))) == ()
    gone = skill(ONE_RATE_MODE).override(curve=())
    assert one_rate_needs(evidence(skill("matched"), gone)) == (), "every arm diverged"
    longer = skill("matched").override(mode=LONGER_MODE)
    assert len(one_rate_needs(evidence(skill("matched"), longer, skill(ONE_RATE_MODE)))) == 1, "not what is beside"
    other = skill(ONE_RATE_MODE).override(precision="bf16")
    assert one_rate_needs(evidence(skill("matched"), other)) == (), "precisions are not mixed"
