"""What claims are judged by: a study's findings, and its required ranks once more at any other level.

Verdicts come from confidence sets, so a claim's p-value is the smallest error at which its rule still decides, and the
claims of a study are corrected together (Holm). The level is that of each set: a rule that asks on which side of a
value a ratio lies uses one end of either set, each wrong with half of the error, so together with all of it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rankscope.rank.records import ClaimCard, Control, CurvePoint, RequiredRank, Resolution, SkillFindings
from rankscope.rank.required import contrast_resolution, resolution_of
from rankscope.stats.crossed import crossed_interval
from rankscope.stats.holm import holm
from rankscope.stats.interval import Interval
from rankscope.stats.power import times_as_many
from rankscope.stats.smallest_error import smallest_error

DECIDED = ("supported", "refuted")
ERROR = 0.05
"""Of all decided claims of a study together, after Holm's correction."""
LEVEL = 1 - ERROR
MIN_SEEDS = 5
"""Fewer decide nothing."""
SHARES = (0.9, 0.95)
"""Shares q of a gain that every rank statement is made at; the first is the primary one."""
Term = tuple[SkillFindings, str, float]
"""(skill, arm, weight): its gain times the weight."""


PRIMARY = ""
"""In place of a score's name: the one that ranks are judged by."""


def _no_contrasts(_terms: Sequence[Term], _score: str) -> np.ndarray:
    raise AssertionError("This study's claims are not about contrasts of gains.")


def _no_draws(_skill: SkillFindings, _control: Control, _q: float) -> np.ndarray:
    raise AssertionError("This study's claims are not about functional ranks.")


def _no_roles(_skill: SkillFindings, _arm: str, _question: str, _population: str) -> None:
    return None


def _no_names(_skill: SkillFindings, _arm: str, _question: str) -> str:
    return ""


@dataclass(frozen=True)
class Evidence:
    """Findings on every skill, and how required ranks and gains come out at another level."""

    skills: tuple[SkillFindings, ...]
    required_at: Callable[[SkillFindings, float], RequiredRank]
    """(skill, level) -> required rank at the first share of the gain; sets shrink as the level falls."""
    gain_at: Callable[[SkillFindings, str, float], Interval]
    """(skill, arm, level) -> the arm's gain with its interval."""
    contrast_SN: Callable[[Sequence[Term], str], np.ndarray] = _no_contrasts
    """(terms, score) -> weighted sum of gains per seed and item; all terms are scored on the same items."""
    role_values_SN: Callable[[SkillFindings, str, str, str], np.ndarray | None] = _no_roles
    """(skill, arm, question about roles, population) -> role score as a value per seed and held-out item; None where
    no adapter was read for it."""
    roles_judged: Callable[[SkillFindings, str, str], str] = _no_names
    """(skill, arm, question about roles) -> the roles that counted, with commas."""
    functional_SD: Callable[[SkillFindings, Control, float], np.ndarray] = _no_draws
    """(skill, `energy` or `global`, share of the gain) -> functional rank of its largest adapter per seed and draw of
    its items, by such cuts; skills scored on the same items are drawn alike."""

    def contrast_at(self, terms: Sequence[Term], level: float, score: str = PRIMARY) -> Interval:
        """The mean contrast, seeds and items crossed."""
        return crossed_interval(self.contrast_SN(terms, score), level)

    def contrast_power(self, terms: Sequence[Term], score: str = PRIMARY, beyond: float = 0.0) -> Resolution | None:
        """What these seeds and items could see of the contrast's distance from `beyond`; None with one seed."""
        return contrast_resolution(self.contrast_SN(terms, score) - beyond)

    def skill(self, mode: str, name: str) -> SkillFindings | None:
        """The skill of that mode and name, if the study has it with a required rank."""
        return next((one for one in self.skills if one.key == f"{mode}/{name}" and one.required), None)


def p_value_of(verdict_at: Callable[[float], str]) -> float | None:
    """Smallest error at which the rule still decides; None where it decides at no level, so nothing can be told."""
    p = smallest_error(lambda level: verdict_at(level) in DECIDED)
    return None if p == 1.0 else p


def corrected(cards: Sequence[ClaimCard]) -> tuple[ClaimCard, ...]:
    """The claims a study declares with Holm's p-values; a verdict that does not survive becomes `undecided`."""
    adjusted = holm([1.0 if card.p_value is None else card.p_value for card in cards])
    return tuple(_surviving(card, p, len(cards)) for card, p in zip(cards, adjusted, strict=True))


def _surviving(card: ClaimCard, p_holm: float, n_declared: int) -> ClaimCard:
    p = card.p_value
    card = card.override(p_holm=None if p is None else p_holm, n_declared=n_declared)
    if p is None and card.verdict in DECIDED:
        because = f"It would be {card.verdict}, but its rule has no p-value that could be corrected. {card.because}"
        return card.override(verdict="undecided", because=because)
    if p is None or card.verdict not in DECIDED or p_holm <= ERROR:
        return card.override(power=f"{card.power} {_at_most(n_declared)}") if counts_seeds(card) else card
    because = (
        f"By its rule alone it would be {card.verdict} (p = {p:.2g}), but the study declares {n_declared} "
        f"claims, and after Holm's correction p = {p_holm:.2g} is above {ERROR:g}. {card.because}"
    )
    return card.override(verdict="undecided", because=because, power=_holm_power(p, n_declared))


def counts_seeds(card: ClaimCard) -> bool:
    """Whether the card says how many more seeds would decide it, and other claims may ask for more."""
    return card.n_declared > 1 and "would decide it" in card.power


def _at_most(n_declared: int) -> str:
    """At which level seeds were counted, and which one the other claims can ask for."""
    return (
        f"Seeds are counted for {LEVEL:.0%}, by this claim alone; beside {n_declared - 1} others Holm's correction can "
        f"ask for {1 - ERROR / n_declared:.1%}."
    )


def _holm_power(p: float, n_declared: int) -> str:
    """What would have kept a verdict that the correction took."""
    wanted = ERROR / n_declared
    times = times_as_many(p, wanted)
    return (
        f"Whatever the other claims' values, it would stand with a p of {wanted:.2g} of its own. Were the effect as "
        f"large as it was seen, about {times:.1f} times as much data, seeds and items alike, would give that with 80 % "
        "power (normal approximation)."
    )


def few_words(n_seeds: int) -> str:
    """That so many seeds are too few."""
    return f"{n_seeds} seed{'' if n_seeds == 1 else 's'}; at least {MIN_SEEDS} are needed for any verdict."


def incomparable_words(skills: Iterable[SkillFindings]) -> str | None:
    """Why skills, or the arms of one, can not be compared: rates that were not tuned, or precisions that differ."""
    skills = tuple(skills)
    confounded = [skill.name for skill in skills if any("confounded" in flag for flag in skill.flags)]
    if confounded:
        return f"the learning rates of {' and '.join(confounded)} are confounded"
    if len({skill.precision for skill in skills if skill.precision}) > 1:
        return f"{' and '.join(skill.name for skill in skills)} were trained in different precisions"
    return None


def improved_in_most(skill: SkillFindings, point: CurvePoint | None) -> bool:
    """Whether an arm was still improving in most seeds when its budget ended; False for one that there is not."""
    return point is not None and point.not_converged_seeds > skill.n_seeds / 2


def points_words(gain: Interval) -> str:
    """A gain, or a difference of shares, in points with its ends."""
    ends = ["–" if end is None else f"{100 * end:.1f}" for end in (gain.low, gain.high)]
    return f"{100 * gain.estimate:.1f} points [{ends[0]}, {ends[1]}]"


def power_words(told: Iterable[tuple[str, Resolution]]) -> str:
    """A sentence per contrast of scores: what the seeds could see, what they saw, how many more would decide."""
    return " ".join(f"{name}: {resolution_words(found, 100, 'points')}" for name, found in told)


def resolution_words(found: Resolution, per_unit: float, unit: str) -> str:
    """What the seeds could see of one contrast, in a unit of which `per_unit` make one."""
    more = (
        "more seeds alone would not decide it"
        if found.more_seeds is None
        else f"about {found.more_seeds} more seed{'' if found.more_seeds == 1 else 's'} would decide it"
    )
    return (
        f"with {found.n_seeds} seeds this design sees a contrast of {per_unit * found.detectable:.2g} {unit}; "
        f"it saw {per_unit * found.seen:.2g}; {more}."
    )


def blocked_words(
    why: str, told: Iterable[tuple[str, Resolution | None]] = (), per_unit: float = 100, unit: str = "points"
) -> str:
    """That seeds are not what is missing, and the contrasts that those there are see with 80 % power all the same."""
    found = {name: one for name, one in told if one is not None}
    blocked = f"More seeds alone would not decide it: {why}."
    if not found:
        return blocked
    sees = [f"{name}: {per_unit * one.detectable:.2g} (saw {per_unit * one.seen:.2g})" for name, one in found.items()]
    n_seeds = " or ".join(map(str, sorted({one.n_seeds for one in found.values()})))
    return f"{blocked} What {n_seeds} seeds can see, in {unit}: {'; '.join(sees)}."


def seed_resolution(values_S: np.ndarray, least_spread: float = 0.0, item_var: float = 0.0) -> Resolution | None:
    """What seeds could see of the distance of their mean from 0, and what they saw; None with one seed.

    `least_spread`: a standard deviation that the seeds have though they may not show it, as where values are rounded.
    `item_var`: the part of the mean's variance that more seeds do not shrink.
    """
    n_seeds = len(values_S)
    if n_seeds < 2:
        return None
    spread, seen = max(float(values_S.std(ddof=1)), least_spread), float(values_S.mean())
    return resolution_of(seen, n_seeds, spread, item_var)


FROM_THE_BAR = f"points from {SHARES[0]:.0%} of dense's gain"


def at_the_bar(evidence: Evidence, skills: Iterable[SkillFindings]) -> list[tuple[str, Resolution | None]]:
    """Of the ranks on either side of the bar, what seeds see of their gain less the share of dense's that is asked."""
    return [
        (
            f"{skill.name}, {point.arm}",
            evidence.contrast_power([(skill, point.arm, 1.0), (skill, "dense", -SHARES[0])]),
        )
        for skill in skills
        for point in skill.curve
        if point.rank in _next_to_the_bar(skill.required[0])
    ]


def _next_to_the_bar(required: RequiredRank) -> tuple[int, ...]:
    """The largest trained rank that is too little, and the smallest from which all are enough; those that there are."""
    too_little = [rank for rank, found in required.by_rank.items() if found == "insufficient"]
    ends = (max(too_little, default=None), required.high)
    return tuple(rank for rank in ends if rank is not None)


def sets_power(evidence: Evidence, skills: Sequence[SkillFindings]) -> str:
    """Power of a claim about required ranks: its undecided ranks, or why seeds are not what is missing."""
    stuck = [f"{skill.name} is {skill.required[0].verdict}" for skill in skills if skill.required[0].verdict in STUCK]
    if stuck:
        return blocked_words(", ".join(stuck), at_the_bar(evidence, skills), unit=FROM_THE_BAR)
    undecided = [
        (f"{skill.name}, rank {rank}", found)
        for skill in skills
        for rank, found in skill.required[0].resolution.items()
    ]
    if undecided:
        return power_words(undecided)
    if min(skill.n_seeds for skill in skills) < 2:
        return "One seed says nothing about the spread over seeds, so not how many would decide it."
    why = "no rank is undecided; ranks closer together would narrow the ratio"
    return blocked_words(why, at_the_bar(evidence, skills), unit=FROM_THE_BAR)


STUCK = ("no headroom", "placement-limited", "not converged")
"""Verdicts of a required rank that forbid to compare it, however many seeds there are."""
