"""Both tasks under each condition (a placement, or a further level), and whether they can be compared there."""

from rankscope.rank.records import SkillFindings
from rankscope.studies.evidence import Evidence
from rankscope.studies.hash_rank import LEVELS, PLACEMENTS, TWINS
from rankscope.studies.other_rates import SWAPPED_MODE

PAPER = "arXiv 2412.00029"
"""Whose claims are judged."""
Pair = tuple[SkillFindings, SkillFindings]
"""HashHop and HashChain in one place, or the same task twice."""
PRIMARY = tuple(PLACEMENTS)
"""Placements in the order in which they are asked: the first that can be told decides."""
PLACES = (*PRIMARY, *(level.name for level in LEVELS))
MOST_BASE, LEAST_FULL, MATCHED_WITHIN = 0.40, 0.90, 0.03
"""What qualifies a level of difficulty: highest base, lowest full, and how far twins may lie apart in either."""


def pairs_of(evidence: Evidence, mode: str) -> dict[str, Pair]:
    """Place (a placement, or a further level) -> both tasks, where both were trained."""
    found = {place: [evidence.skill(mode, f"{name}, {place}") for name in TWINS] for place in PLACES}
    return {place: (pair[0], pair[1]) for place, pair in found.items() if pair[0] and pair[1]}


def repeat_pair(evidence: Evidence) -> Pair | None:
    """HashHop on all maps, and the same with other seeds; None where it was not trained twice."""
    first = evidence.skill("matched", "HashHop, all maps")
    again = evidence.skill("control", "HashHop again, all maps")
    return (first, again) if first and again else None


def largest_repeats(evidence: Evidence) -> dict[str, Pair]:
    """Place -> HashHop there and the same with other seeds, where the largest adapter alone was trained again."""
    again = [one for one in evidence.skills if one.mode == "control" and one.name.startswith("HashHop again, ")]
    found = {one.name.partition(", ")[2]: one for one in again if not one.required}
    firsts = {place: evidence.skill("matched", f"HashHop, {place}") for place in found}
    return {place: (first, found[place]) for place, first in firsts.items() if first}


def equal_rate_pairs(evidence: Evidence) -> list[tuple[str, float, Pair]]:
    """Place, learning rate and both tasks at it, wherever one was trained at the rate tuned for the other."""
    return [
        (one.name.partition(", ")[2], one.curve[0].lr, pair)
        for one in evidence.skills
        if (pair := _equal_rate_pair(evidence, one))
    ]


def _equal_rate_pair(evidence: Evidence, swapped: SkillFindings) -> Pair | None:
    """A task at the other's learning rate, and the other as it was tuned, so that both have one rate.

    None for a skill whose rate was not swapped, and where the other task is missing, had another rate or precision.
    """
    name, _, place = swapped.name.partition(", ")
    if swapped.mode != SWAPPED_MODE or not swapped.curve:
        return None
    other = evidence.skill("matched", f"{next(one for one in TWINS if one != name)}, {place}")
    tuned = other.point(swapped.curve[0].arm) if other else None
    if other is None or tuned is None or (tuned.lr, other.precision) != (swapped.curve[0].lr, swapped.precision):
        return None
    return (swapped, other) if name == next(iter(TWINS)) else (other, swapped)


def seeds_of(pairs: dict[str, Pair]) -> int:
    """Fewest seeds of any condition that is compared; of all where none is."""
    compared = [pair for pair in pairs.values() if not unmatched(pair)] or pairs.values()
    return min(skill.n_seeds for pair in compared for skill in pair)


def unmatched(pair: Pair) -> str:
    """Why the twins of a level can not be compared: too easy, not learnt, or not equally hard; empty where they can."""
    base, fulls = [skill.base_score for skill in pair], [skill.point("full") for skill in pair]
    if dead := [skill.name for skill, point in zip(pair, fulls, strict=True) if point is None]:
        return f"full fine-tuning of {' and '.join(dead)} diverged in every seed"
    full = [point.score.estimate for point in fulls if point]
    told = level_words(pair)
    if max(base) > MOST_BASE:
        return f"base above {MOST_BASE:.0%}: {told}"
    if min(full) < LEAST_FULL:
        return f"full below {LEAST_FULL:.0%}: {told}"
    apart = max(abs(base[0] - base[1]), abs(full[0] - full[1]))
    return f"twins more than {100 * MATCHED_WITHIN:.0f} points apart: {told}" if apart > MATCHED_WITHIN else ""


def level_words(pair: Pair) -> str:
    """Scores of base and full of both tasks."""
    base = [f"{skill.base_score:.1%}" for skill in pair]
    return f"base {' and '.join(base)}, full {' and '.join(score_words(skill, 'full') for skill in pair)}"


def score_words(skill: SkillFindings, arm: str) -> str:
    """Primary score of an arm, mean over seeds and items."""
    point = skill.point(arm)
    return "diverged" if point is None else f"{point.score.estimate:.1%}"
