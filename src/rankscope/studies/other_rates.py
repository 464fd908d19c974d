"""Skills trained at learning rates that are not their own, and what one rate for all ranks would have said.

A skill in mode ONE_RATE_MODE trains some ranks at one rate and no dense. It goes by the name of the skill whose rates
were tuned, and is held against that one's dense training; a rank that was tuned to the same rate is taken from there.
"""

from collections.abc import Sequence

import numpy as np

from rankscope.rank.records import OneRateNeed, RequiredRank, SkillFindings
from rankscope.rank.required import required_rank
from rankscope.studies.evidence import Evidence, Term, improved_in_most

ONE_RATE_MODE, SWAPPED_MODE = "one rate", "swapped rate"
ON_PURPOSE = {
    ONE_RATE_MODE: "confounded: one learning rate for all ranks, to see what that does to the required rank",
    SWAPPED_MODE: "confounded: the learning rate of the other task, to see what that does to the functional rank",
}
"""Mode of skills whose rates are not their own -> the flag that says so."""


def one_rate_needs(evidence: Evidence, q: float = 0.9) -> tuple[OneRateNeed, ...]:
    """Per skill trained at one rate, the required rank that it shows. Left out where its twin or a dense is missing."""
    return tuple(
        OneRateNeed(skill=tuned.key, rate=fixed.curve[0].lr, need=_need(evidence, fixed, tuned, q))
        for fixed in evidence.skills
        if fixed.mode == ONE_RATE_MODE
        for tuned in evidence.skills
        if tuned.mode != ONE_RATE_MODE and tuned.name == fixed.name and tuned.point("dense")
    )


def _need(evidence: Evidence, fixed: SkillFindings, tuned: SkillFindings, q: float) -> RequiredRank:
    rate = fixed.curve[0].lr
    ranks = {
        point.rank: (one, point.arm)
        for one in (tuned, fixed)
        for point in one.curve
        if point.rank is not None and point.lr == rate
    }
    dense_SN = _gain(evidence, (tuned, "dense"), (fixed, tuned))
    return required_rank(
        {rank: _gain(evidence, place, (fixed, tuned)) for rank, place in ranks.items()},
        dense_SN,
        None,
        np.zeros(dense_SN.shape[1]),
        q,
        not_converged=improved_in_most(tuned, tuned.point("dense")),
    )


def _gain(evidence: Evidence, place: tuple[SkillFindings, str], both: Sequence[SkillFindings]) -> np.ndarray:
    """Gain [seeds, items] of one arm, over the seeds that every arm of both skills finished."""
    none: list[Term] = [(one, one.curve[0].arm, 0.0) for one in both]
    return evidence.contrast_SN([*none, (*place, 1.0)], "")
