"""Numbers as people read them: shares in per cent, nats with three figures, rank sets, cells with intervals."""

import math
from collections.abc import Callable

from rankscope.rank.records import FunctionalRank, RequiredRank, SkillFindings
from rankscope.report.parts import Cell, Tone
from rankscope.stats.interval import Interval

DASH = "–"
MODE_ORDER = (
    "matched", "trace", "direct", "reasoning", "difficulty", "planted", "relabel", "one rate", "swapped rate",
    "longer", "control", "null",
)  # fmt: skip
VERDICT_TONES: dict[str, Tone] = {
    "estimated": "good",
    "supported": "good",
    "refuted": "bad",
    "censored below": "info",
    "not reached": "info",
    "placement-limited": "open",
    "no headroom": "open",
    "underpowered": "open",
    "undecided": "open",
    "not converged": "open",
    "not tested": "open",
    "not measured": "open",
    "sufficient": "good",
    "insufficient": "bad",
    "met": "good",
    "exceeded": "info",
    "unmet": "bad",
    "not shown": "open",
}
Formatter = Callable[[float], str]


def minus(text: str) -> str:
    """The text with a true minus sign, and none before a rounded zero."""
    if text.startswith("-"):
        return text[1:] if not text.strip("-0.") else "−" + text[1:]
    return text


def percent(x: float) -> str:
    """A share as per cent with one decimal, without the sign: 0.342 gives `34.2`."""
    return minus(f"{100 * x:.1f}")


def plain(x: float) -> str:
    """Up to three significant figures, never in scientific notation between 0.001 and 100 000."""
    if x == 0 or not math.isfinite(x):
        return "0" if x == 0 else str(x)
    digits = max(0, 2 - math.floor(math.log10(abs(x))))
    return minus(f"{x:.{min(digits, 4)}f}")


def count(x: float) -> str:
    """A rank: whole when it is whole, else one decimal."""
    return f"{x:.0f}" if x == int(x) else f"{x:.1f}"


def rate(x: float) -> str:
    """A learning rate, such as `3e-3`."""
    mantissa, exponent = f"{x:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}".replace("e-", "e−")


def is_share(skill: SkillFindings) -> bool:
    """True when the primary score is a share of items; planted skills are scored in nats."""
    return skill.mode != "planted"


def score_format(skill: SkillFindings) -> Formatter:
    """How this skill's primary score is written."""
    return percent if is_share(skill) else plain


def unit(skill: SkillFindings) -> str:
    """`%` or `nats`."""
    return "%" if is_share(skill) else "nats"


def span_text(interval: Interval, write: Formatter) -> str:
    """The interval's ends in brackets, a dash for an open end; `no interval` when both are."""
    if interval.low is None and interval.high is None:
        return "no interval"
    low = DASH if interval.low is None else write(interval.low)
    high = DASH if interval.high is None else write(interval.high)
    return f"[{low}, {high}]"


def with_span(interval: Interval, skill: SkillFindings) -> str:
    """A score in running text: `34.2 % [28.1, 40.3]`."""
    write = score_format(skill)
    return f"{write(interval.estimate)} {unit(skill)} {span_text(interval, write)}"


def interval_title(interval: Interval, write: Formatter) -> str:
    """How an interval was made, from what, and the value of every seed."""
    size = f"{plural(interval.n_seeds, 'seed')} × {plural(interval.n_items, 'item')}"
    seeds = f"; by seed: {', '.join(map(write, interval.by_seed))}" if interval.by_seed else ""
    open_end = interval.low is None or interval.high is None
    why = f"; an open end could not be set with {plural(interval.n_seeds, 'seed')}" if open_end else ""
    return f"{interval.level:.0%} interval: {interval.method} ({size}){why}{seeds}"


def raw(x: float | None, write: Formatter | None = None) -> str:
    """A number as it goes into a CSV file, in the unit its column shows; empty when missing."""
    return "" if x is None else f"{100 * x if write is percent else x:.6g}"


def missing(why: str) -> Cell:
    """A dash that says why there is no value."""
    return Cell(text=DASH, title=why, missing=True)


def interval_cell(interval: Interval | None, write: Formatter, why: str) -> Cell:
    """An estimate with its interval below it, or a dash that says why."""
    if interval is None:
        return missing(why)
    return Cell(
        text=write(interval.estimate),
        detail=span_text(interval, write),
        title=interval_title(interval, write),
        csv=raw(interval.estimate, write),
        low=raw(interval.low, write),
        high=raw(interval.high, write),
    )


def number_cell(x: float | None, write: Formatter, why: str, title: str = "") -> Cell:
    """A number without an interval, or a dash that says why."""
    return missing(why) if x is None else Cell(text=write(x), title=title, csv=raw(x, write))


def text_cell(text: str, why: str = "", title: str = "") -> Cell:
    """Words, or a dash that says why there are none."""
    return Cell(text=text, title=title, csv=text) if text else missing(why)


def rank_set(required: RequiredRank) -> str | None:
    """The set of ranks as text (`[4, 8]`, `8`, `≤ 2`, `≥ 16`); None when the data bound it on neither side.

    `not reached` without a low end reads `not bounded`: no rank was enough, and none was shown to be too low.
    """
    if required.low is None and required.high is None:
        return "not bounded" if required.verdict == "not reached" else None
    if required.low is None:
        return f"≤ {required.high}"
    if required.high is None:
        return f"≥ {required.low}"
    return str(required.low) if required.low == required.high else f"[{required.low}, {required.high}]"


def functional_text(functional: FunctionalRank) -> str | None:
    """The median functional rank with its interval when it has one; `0` for an adapter without gain."""
    if functional.no_gain:
        return "0"
    if functional.median is None:
        return None
    if functional.low is None or functional.high is None:
        return count(functional.median)
    return f"{count(functional.median)} [{count(functional.low)}, {count(functional.high)}]"


def plural(n: int, word: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{n} {word}" if n == 1 else f"{n:,} {word}s"


def listing(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def size_text(skill: SkillFindings, n_items: int = 0) -> str:
    """Seeds and items of a skill, or of what was scored on `n_items` of its items alone."""
    return f"{plural(skill.n_seeds, 'seed')} × {plural(n_items or skill.n_items, 'item')}"


def skill_label(skill: SkillFindings) -> str:
    """Name and mode of a skill."""
    return f"{skill.name} · {skill.mode}"


def ordered(skills: tuple[SkillFindings, ...]) -> list[SkillFindings]:
    """Skills by mode (matched first, shuffled labels last), keeping the given order within a mode."""
    known = {mode: i for i, mode in enumerate(MODE_ORDER)}
    return sorted(skills, key=lambda skill: known.get(skill.mode, len(known)))


def by_mode(skills: tuple[SkillFindings, ...]) -> dict[str, list[SkillFindings]]:
    """Skills grouped by mode, in reading order."""
    groups: dict[str, list[SkillFindings]] = {}
    for skill in ordered(skills):
        groups.setdefault(skill.mode, []).append(skill)
    return groups
