"""Skills trained at learning rates not tuned for them, and what one rate for all ranks would have said.

A skill in mode ONE_RATE_MODE trains some ranks at one rate and no dense. It goes by the name of the skill whose rates
were tuned, and is held against that one's dense training; further ranks that were tuned to the same rate count too.
"""

from collections.abc import Sequence

import numpy as np

from rankscope.rank.records import OneRateNeed, RequiredRank, SkillFindings
from rankscope.rank.required import required_rank
from rankscope.studies.evidence import Evidence, Term, improved_in_most

ONE_RATE_MODE, SWAPPED_MODE, LONGER_MODE = "one rate", "swapped rate", "longer"
ON_PURPOSE = {
    ONE_RATE_MODE: "confounded: one learning rate for all ranks, to see what that does to the required rank",
    SWAPPED_MODE: "confounded: the learning rate of the other task, to see what that does to the functional rank",
    LONGER_MODE: "confounded: trained for longer than the learning rates were tuned for, to see what more steps do",
}
"""Mode of skills whose rates are not their own -> the flag that says so."""


def one_rate_needs(evidence: Evidence, q: float = 0.9) -> tuple[OneRateNeed, ...]:
    """Per skill trained at one rate, the required rank that it shows.

    Left out where its twin or a dense is missing, no seed is shared, or the two were trained in different precisions.
    """
    pairs = [
        (fixed, tuned)
        for fixed in evidence.skills
        if fixed.mode == ONE_RATE_MODE and fixed.curve
        for tuned in evidence.skills
        if tuned.mode not in ON_PURPOSE and tuned.name == fixed.name and tuned.precision == fixed.precision
    ]
    return tuple(
        OneRateNeed(skill=tuned.key, rate=fixed.curve[0].lr, need=need)
        for fixed, tuned in pairs
        if tuned.point("dense") and (need := _need(evidence, fixed, tuned, q))
    )


def _need(evidence: Evidence, fixed: SkillFindings, tuned: SkillFindings, q: float) -> RequiredRank | None:
    """The required rank at the rate of the first; None where the two share no seed."""
    dense_SN = _gain(evidence, (tuned, "dense"), (fixed, tuned))
    if not len(dense_SN):
        return None
    ranks = {
        point.rank: (one, point.arm)
        for one in (tuned, fixed)
        for point in one.curve
        if point.rank is not None and point.lr == fixed.curve[0].lr
    }
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
    nothing: list[Term] = [(one, one.curve[0].arm, 0.0) for one in both]  # a contrast keeps the seeds of all its terms
    return evidence.contrast_SN([*nothing, (*place, 1.0)], "")
