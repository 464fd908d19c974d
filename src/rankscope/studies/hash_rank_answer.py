"""The plain-language answer of hash_rank, and of the pilot that chooses its levels of difficulty."""

from collections.abc import Sequence

from rankscope.rank.records import CalibrationRow, ClaimCard, OneRateNeed, RequiredRank, SkillFindings
from rankscope.rank.required import lowest_need, set_words
from rankscope.stats.interval import Interval
from rankscope.studies.answers import held_words
from rankscope.studies.claims import unsettled_words
from rankscope.studies.evidence import STUCK, Evidence
from rankscope.studies.hash_rank import LEVELS, TWINS
from rankscope.studies.hash_rank_ratios import Ratio, largest_functional, ratio_of_sets
from rankscope.studies.hash_rank_twins import (
    PRIMARY,
    Pair,
    equal_rate_pairs,
    level_words,
    pairs_of,
    repeat_pair,
    unmatched,
)
from rankscope.studies.other_rates import LONGER_MODE

UNTOLD = "underpowered"
"""Verdict of a required rank from too few seeds, or that no rank is surely enough for."""
SHORTCUT_MARGIN = 0.10
"""Direct HashChain counts as learnt when full fine-tuning is surely this far above the best shortcut."""
Way = tuple[Sequence[RequiredRank], Ratio]
"""What both tasks need when trained in one way, and the ratio."""


def hash_rank_answer(
    skills: tuple[SkillFindings, ...],
    claims: tuple[ClaimCard, ...],
    calibration: tuple[CalibrationRow, ...],
    one_rate: tuple[OneRateNeed, ...] = (),
) -> tuple[str, ...]:
    """The claims, both tasks in every placement, further levels, other rates and budgets, the controls.

    Of the pilot, its choice.
    """
    if any(skill.mode == "difficulty" for skill in skills):
        return difficulty_answer(skills)
    mode = "matched" if any(skill.mode == "matched" for skill in skills) else "direct"
    evidence = Evidence(skills, _as_found, _not_again)
    pairs = pairs_of(evidence, mode)
    return (
        *verdict_words(claims),
        *(f"{place}: {_pair_words(pair)}" for place, pair in pairs.items() if place in PRIMARY),
        *(f"The level {place} is left out of the claims: {why}." for place, pair in pairs.items()
          if (why := unmatched(pair))),
        *further_levels_words(pairs),
        *equal_rate_uses(evidence),
        *one_rate_words(one_rate, skills),
        *longer_words(evidence),
        *control_words(evidence),
        *(shortcut_words(pairs["all maps"][1]) if mode == "direct" and "all maps" in pairs else ()),
        *held_words(calibration),
    )  # fmt: skip


def verdict_words(claims: tuple[ClaimCard, ...]) -> tuple[str, ...]:
    """A sentence per verdict, with its claims; that of the first claim leads."""
    verdicts = dict.fromkeys(card.verdict for card in claims)
    claimed = {verdict: "; ".join(card.claim for card in claims if card.verdict == verdict) for verdict in verdicts}
    return tuple(f"{verdict.capitalize()}: {names}." for verdict, names in claimed.items())


def _as_found(skill: SkillFindings, _: float) -> RequiredRank:
    return skill.required[0]


def _not_again(skill: SkillFindings, arm: str, _: float) -> Interval:
    point = skill.point(arm)
    assert point is not None
    return point.gain


def _pair_words(pair: Pair) -> str:
    return " ".join(f"{skill.name.partition(',')[0]}: {skill.required[0].sentence}" for skill in pair)


def further_levels_words(pairs: dict[str, Pair]) -> tuple[str, ...]:
    """Functional ranks of the largest adapters at the further levels that qualify; empty where none was trained."""
    told = [
        f"{place} {' and '.join(f'{found.median:g}' for found in uses if found)}"
        for place, pair in pairs.items()
        if place not in PRIMARY and not unmatched(pair) and all(uses := [largest_functional(one) for one in pair])
    ]
    line = f"Further levels of difficulty, functional rank of {' and '.join(TWINS)} (medians): {', '.join(told)}."
    return (line,) * bool(told)


def one_rate_words(one_rate: tuple[OneRateNeed, ...], skills: tuple[SkillFindings, ...]) -> tuple[str, ...]:
    """Whether one learning rate for all ranks turns what is said of the tasks' ratio; empty where not tried on both."""
    found = {
        skill.name.partition(",")[0]: (one, skill) for one in one_rate for skill in skills if one.skill == skill.key
    }
    if set(found) != set(TWINS):
        return ()
    ways = {
        f"at one rate of {one_rate[0].rate:g} for all ranks": [found[name][0].need for name in TWINS],
        "at rates of their own": [found[name][1].required[0] for name in TWINS],
    }
    place = found["HashHop"][1].name.partition(", ")[2]
    both = two_ways_words({way: (needs, need_ratio(needs)) for way, needs in ways.items()})
    return (f"One learning rate for all ranks, {place}, required rank: {both}",)


def longer_words(evidence: Evidence) -> tuple[str, ...]:
    """What more steps do to the required ranks of both tasks, a line per place where that was tried on both.

    Left out where one of the four was trained in another precision. No ratio is told where claim 1 would tell none.
    """
    longer, usual = (pairs_of(evidence, mode) for mode in (LONGER_MODE, "matched"))
    both = {place: (longer[place], usual[place]) for place in longer if place in usual}
    return tuple(
        f"Trained for longer, {place}, required rank: {two_ways_words(dict(map(_after_steps, pairs)))}"
        for place, pairs in both.items()
        if _of_one_precision(*pairs)
    )


def _after_steps(pair: Pair) -> tuple[str, Way]:
    """`after 640 steps of 64 items`, and what both tasks need then."""
    needs = [one.required[0] for one in pair]
    ratio, unsettled = need_ratio(needs), unsettled_words(*pair)
    told = ratio if ratio.untold or not unsettled else Ratio(untold=unsettled)
    return f"after {pair[0].budget.rpartition(', ')[0]}", (needs, told)


def _of_one_precision(*pairs: Pair) -> bool:
    return len({skill.precision for pair in pairs for skill in pair}) == 1


def two_ways_words(ways: dict[str, Way]) -> str:
    """The sets of both tasks and their ratio, by two ways of training, and whether one turns what the other says."""
    told = "; ".join(
        f"{way} {sets_words(needs)}, a ratio that {_is_words(ratio)}" for way, (needs, ratio) in ways.items()
    )
    turned = {ratio.stand for _, ratio in ways.values()} == {"favours", "contradicts"}
    return f"{told}. It {'turns' if turned else 'is not shown to turn'} the conclusion round."


def equal_rate_uses(evidence: Evidence) -> tuple[str, ...]:
    """Functional ranks where both tasks were trained at one learning rate, beside those at rates of their own."""
    told: dict[str, list[str]] = {}
    for place, _, pair in equal_rate_pairs(evidence):
        told.setdefault(place, []).append(_uses_words(pair))
    tuned = pairs_of(evidence, "matched")
    return tuple(
        f"Both tasks at one learning rate, {place}, functional ranks by seed: {'; '.join(equal)}; in place of "
        f"{_uses_words(tuned[place])}."
        for place, equal in told.items()
        if place in tuned and _of_one_precision(tuned[place])
    )


def _uses_words(pair: Pair) -> str:
    """`HashHop 40 40 32 at 0.008, HashChain 16 14 20 at 0.004`, of the largest adapters."""
    said = []
    for name, skill in zip(TWINS, pair, strict=True):
        found = largest_functional(skill)
        point = skill.point(found.arm) if found else None
        if found and point:
            said.append(f"{name} {' '.join(map(str, found.by_seed))} at {point.lr:g}")
    return ", ".join(said)


def sets_words(needs: Sequence[RequiredRank]) -> str:
    """The sets of both tasks."""
    return " and ".join(f"{name} {set_words(one.low, one.high)}" for name, one in zip(TWINS, needs, strict=True))


def _is_words(ratio: Ratio) -> str:
    return ratio.words if ratio.untold else f"is {ratio.words}"


def need_ratio(needs: Sequence[RequiredRank]) -> Ratio:
    """Of two required ranks, or why it can not be told; below five seeds it is not."""
    stuck = [
        f"{name} {need.verdict}" for name, need in zip(TWINS, needs, strict=True) if need.verdict in (*STUCK, UNTOLD)
    ]
    return Ratio(untold=", ".join(stuck)) if stuck else ratio_of_sets(*needs)


def control_words(evidence: Evidence) -> tuple[str, ...]:
    """What the controls gave, beside what they must give."""
    skills, said = evidence.skills, []
    copy = next((skill for skill in skills if skill.name == "one-hop copy" and skill.required), None)
    if copy:
        need = f"{copy.required[0].sentence}{_no_less_words(copy, evidence)}"
        said.append(f"Control, one-hop copy (must need less than either task): {need}")
    used = [largest_functional(skill) for skill in repeat_pair(evidence) or ()]
    by_seed = [", ".join(map(str, found.by_seed)) for found in used if found]
    if len(by_seed) == 2:
        told = " and ".join(by_seed)
        said.append(f"Control, the same task twice (must agree): functional ranks by seed {told}, on all maps.")
    null = next((skill for skill in skills if skill.mode == "null" and skill.functional), None)
    if null:
        found = null.functional[0]
        right = "as it must" if found.median == 0 else "though there is nothing to learn: a warning"
        said.append(f"Control, shuffled labels: functional rank {found.median:g}, {right}.")
    if noise := noise_scores(skills):
        said.append(
            f"Control, random directions of the trained norm: at most {max(noise):.1%} exact output, in any placement."
        )
    return tuple(said)


def _no_less_words(copy: SkillFindings, evidence: Evidence) -> str:
    """That the copy surely needs no less rank than a task on the same sites; empty where that is not shown."""
    low, tasks = lowest_need(copy.required[0]), [evidence.skill("matched", f"{name}, all maps") for name in TWINS]
    ends = {one.name: one.required[0].high for one in tasks if one}
    no_less = [name for name, high in ends.items() if low is not None and high is not None and low >= high]
    return f" It needs no less than {' and '.join(no_less)}: a warning." if no_less else ""


def noise_scores(skills: tuple[SkillFindings, ...]) -> list[float]:
    """Scores of the largest adapters when each is replaced by noise of its norm and rank."""
    curves = [one.curve for skill in skills for one in skill.functional if one.q == 0.9]
    noise = [[point for point in curve if point.control == "noise"] for curve in curves]
    return [max(points, key=lambda point: point.k).score.estimate for points in noise if points]


def shortcut_words(chain: SkillFindings) -> tuple[str, ...]:
    """Whether direct HashChain was learnt, or only its shortcut, so that the claims rest on matched mode."""
    point = chain.point("full")
    if point is None:
        return ("Full fine-tuning of HashChain diverged in every seed, so direct mode says nothing.",)
    full = point.score
    shortcut = max((*chain.shortcuts.values(), chain.chance or 0.0))
    if full.low is not None and full.low > shortcut + SHORTCUT_MARGIN:
        return ()
    margin = f"{100 * SHORTCUT_MARGIN:.0f} points above its shortcut level"
    said = (
        f"Direct HashChain is not surely {margin}: full fine-tuning reaches {full.estimate:.1%}, any end of a chain "
        f"from the start {shortcut:.1%}, after {chain.budget}, the length that was declared. The claims rest on "
        "matched mode."
    )
    return (said,)


def difficulty_answer(skills: tuple[SkillFindings, ...]) -> tuple[str, ...]:
    """Base and full at every level, and whether twins can be compared there; of direct mode, whether it was learnt."""
    by_name = {skill.name: skill for skill in skills}
    levels = [level.name for level in LEVELS if f"HashHop, {level.name}" in by_name]
    pairs = {place: (by_name[f"HashHop, {place}"], by_name[f"HashChain, {place}"]) for place in levels}
    left_out = {place: why for place, pair in pairs.items() if (why := unmatched(pair))}
    levels_said = [
        f"{place}: {f'left out, {left_out[place]}' if place in left_out else f'qualifies, {level_words(pair)}'}."
        for place, pair in pairs.items()
    ]
    direct = [pairs[place][1] for place in left_out if "mode=direct" in pairs[place][1].task]
    return (*levels_said, *(line for chain in direct for line in shortcut_words(chain)))
