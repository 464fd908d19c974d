"""What more seeds could decide of hash_rank's claims, and what they can not: budgets, a functional rank, a veto."""

import numpy as np

from rankscope.rank.records import SkillFindings
from rankscope.studies.claims import PAPER_RANGE
from rankscope.studies.evidence import power_words, resolution_words, seed_resolution, sets_power
from rankscope.studies.hash_rank_ratios import hidden_spread, largest_functional


def ratio_power(low_S: np.ndarray, high_S: np.ndarray, item_var: float = 0.0) -> str:
    """Power of a ratio paired by seed, from the ends that each seed leaves open; seeds do not narrow what budgets hide.

    Nor do they narrow `item_var`, the variance of the mean logarithm that is due to the items.
    What decides is the end that is nearest to a border of the paper's range.
    """
    if len(low_S) < 2:
        return "One seed says nothing about the spread over seeds, so not how many would decide it."
    least, most = np.log(PAPER_RANGE)
    with np.errstate(divide="ignore"):
        low_S, high_S = np.log(low_S), np.log(high_S)
    low, high = float(low_S.mean()), float(high_S.mean())
    if high < least:
        border, distance_S = PAPER_RANGE[0], least - high_S
    elif low >= least and high <= most:
        border, distance_S = min(
            ((PAPER_RANGE[0], low_S - least), (PAPER_RANGE[1], most - high_S)), key=lambda one: float(one[1].mean())
        )
    elif low > most:
        return (
            f"More seeds alone would not decide it: the ratio lies above {PAPER_RANGE[1]:g}, where the rule gives no "
            "verdict."
        )
    else:
        return (
            f"More seeds alone would not decide it: with any number of them the interval would be "
            f"[{np.exp(low):.3g}, {np.exp(high):.3g}], as wide as the budgets tried leave it. Budgets closer together "
            "would narrow it."
        )
    found = seed_resolution(distance_S, hidden_spread(np.exp(low_S), np.exp(high_S)), item_var)
    assert found is not None
    return f"On the logarithm of the ratio, measured from log {border:g}: " + resolution_words(
        found, 1, "(a factor of " + f"{np.exp(found.detectable):.2g})"
    )


def low_rank_power(skill: SkillFindings, most: int) -> str:
    """What more seeds could do: ranks from `most` on that are undecided, unless the functional rank forbids it."""
    uses = largest_functional(skill)
    near = {rank: found for rank, found in skill.required[0].resolution.items() if rank >= most}
    if uses is None:
        return "More seeds alone would not decide it: the functional rank was not measured."
    above = [rank for rank in uses.by_seed if rank > most]
    could_refute = any(found.seen < 0 for found in near.values())
    if near and (could_refute or not above):
        return power_words((f"{skill.name}, rank {rank}", found) for rank, found in near.items())
    if above:
        return (
            f"More seeds alone would not decide it: the functional rank lies above {most} in {len(above)} of "
            f"{len(uses.by_seed)} seeds, and it must not in any."
        )
    return sets_power((skill,))
