"""What more seeds could decide of hash_rank's claims, and what they can not: budgets, a functional rank, a veto."""

import numpy as np

from rankscope.rank.records import SkillFindings
from rankscope.studies.claims import PAPER_RANGE
from rankscope.studies.evidence import (
    FROM_THE_BAR,
    Evidence,
    at_the_bar,
    blocked_words,
    power_words,
    resolution_words,
    seed_resolution,
    sets_power,
)
from rankscope.studies.hash_rank_ratios import hidden_spread, largest_functional

ROUNDED = 12**-0.5
"""Standard deviation that rounding to whole directions may hide."""


def ratio_power(low_S: np.ndarray, high_S: np.ndarray, item_var: float = 0.0) -> str:
    """Power of a ratio paired by seed, from the ends that each seed leaves open; seeds do not narrow what budgets hide.

    Nor do they narrow `item_var`, the variance of the mean logarithm that is due to the items.
    What decides is the end that is nearest to a border of the paper's range.
    """
    if len(low_S) < 2:
        return "One seed says nothing about the spread over seeds, so not how many would decide it."
    least, most = np.log(PAPER_RANGE)
    sees = _sees_factor(low_S, high_S, item_var)
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
        return blocked_words(f"the ratio lies above {PAPER_RANGE[1]:g}, where the rule gives no verdict") + sees
    else:
        ends = f"[{np.exp(low):.3g}, {np.exp(high):.3g}]"
        why = f"with any number of them the interval would be {ends}, as wide as the budgets tried leave it"
        return f"{blocked_words(why)} Budgets closer together would narrow it.{sees}"
    found = seed_resolution(distance_S, hidden_spread(np.exp(low_S), np.exp(high_S)), item_var)
    assert found is not None
    return f"On the logarithm of the ratio, measured from log {border:g}: " + resolution_words(
        found, 1, "(a factor of " + f"{np.exp(found.detectable):.2g})"
    )


def _sees_factor(low_S: np.ndarray, high_S: np.ndarray, item_var: float) -> str:
    """How far from a border a ratio must lie for the seeds to tell, in the middle of what budgets leave open."""
    middle_S = np.sqrt(low_S * high_S)
    if not (np.isfinite(middle_S) & (middle_S > 0)).all():
        return ""
    found = seed_resolution(np.log(middle_S), hidden_spread(low_S, high_S), item_var)
    assert found is not None
    return f" With {found.n_seeds} seeds this design sees a factor of {np.exp(found.detectable):.2g} from a border."


def low_rank_power(evidence: Evidence, skill: SkillFindings, most: int) -> str:
    """What more seeds could do: ranks from `most` on that are undecided, unless the functional rank forbids it."""
    uses = largest_functional(skill)
    near = {rank: found for rank, found in skill.required[0].resolution.items() if rank >= most}
    if uses is None:
        return blocked_words("the functional rank was not measured", at_the_bar(evidence, [skill]), unit=FROM_THE_BAR)
    above = [rank for rank in uses.by_seed if rank > most]
    could_refute = any(found.seen < 0 for found in near.values())
    if near and (could_refute or not above):
        return power_words((f"{skill.name}, rank {rank}", found) for rank, found in near.items())
    if above:
        often = f"{len(above)} of {len(uses.by_seed)} seeds"
        why = f"the functional rank lies above {most} in {often}, and it must not in any"
        found = seed_resolution(np.array(uses.by_seed, dtype=float) - most, ROUNDED)
        return blocked_words(why, [(f"functional rank less {most}", found)], 1, "directions")
    return sets_power(evidence, (skill,))
