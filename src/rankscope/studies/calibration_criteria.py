"""What was asked of the procedure where the answer is known, and whether it came out so: met, exceeded or not."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

from rankscope.rank.calibration import Totals, is_repeat, totals
from rankscope.rank.records import CalibrationRow, Criterion, SkillFindings, StudyFindings
from rankscope.rank.required import set_words
from rankscope.studies.evidence import SHARES, resolution_words
from rankscope.tasks.catalog import load_task
from rankscope.tasks.relabel import RelabelTask

PROMISED, ERROR = 0.95, 0.05
"""Of sets, the rate at which they hold the truth; of tests, the rate at which they reject a true null."""
LEAST = 0.90
"""A rate is met only where its interval lies above this, with errors in fewer than twice the promised 5 %: that of a
few repeats holds almost any rate, and so shows none."""
WIDEST = 1.0
"""Doublings that the median set may span."""
Verdict = Literal["met", "exceeded", "unmet", "not shown"]


def criteria(findings: StudyFindings) -> tuple[Criterion, ...]:
    """Every criterion of a calibration; of one that its form did not try nothing is said."""
    rows = [row for row in findings.calibration if row.planted_k is not None]
    return (
        *_of_left_out(findings.skills),
        *_of_sets(rows, totals(rows)),
        *_of_functional_ranks(totals(rows)),
        *(_of_shuffled(skill) for skill in findings.skills if skill.mode == "null" and skill.functional),
        *_of_relabelling(findings.skills),
        *_of_simulations(findings),
        *_of_what_was_tried(rows),
    )


def relabelled(skills: Iterable[SkillFindings]) -> list[tuple[int, SkillFindings]]:
    """Rank of P - I, and the skill that was relabelled by P, by rising rank."""
    tasks = [(load_task(skill.task), skill) for skill in skills]
    found = [(task.relabelling.rank, skill) for task, skill in tasks if isinstance(task, RelabelTask)]
    return sorted(((rank, skill) for rank, skill in found if skill.required), key=lambda one: one[0])


def relabel_rows(skills: Iterable[SkillFindings], q: float = SHARES[0]) -> list[dict[str, Any]]:
    """Rank of P - I beside the required rank that keeps a share q of dense's gain, by rising rank."""
    return [
        {"rank": rank, "q": q, "low": one.low, "high": one.high, "verdict": one.verdict}
        for rank, skill in relabelled(skills)
        for one in skill.required
        if one.q == q
    ]


def relabel_words(rows: list[dict[str, Any]]) -> str:
    """`2 at 1, between 4 and 8 at 16`: the required rank at each rank of P - I."""
    return ", ".join(f"{set_words(row['low'], row['high'])} at {row['rank']}" for row in rows)


def overlaps(rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Neighbouring ranks of P - I whose sets share a rank, so that no rise is shown between them."""
    return [
        (below["rank"], above["rank"])
        for below, above in pairwise(rows)
        if (below["low"] or 0) <= (above["high"] or float("inf"))
        and (above["low"] or 0) <= (below["high"] or float("inf"))
    ]


def rate_verdict(ends: tuple[float, float], promised: float) -> Verdict:
    """`exceeded` where the interval lies above the promised rate, `unmet` below; `met` where it holds it, above LEAST.

    Where it holds the promised rate and reaches down to LEAST, the rate is `not shown`.
    """
    low, high = ends
    if low <= promised <= high:
        return "met" if low > LEAST else "not shown"
    return "exceeded" if low > promised else "unmet"


def _of_rate(
    asked: str, found: str, ends: Iterable[tuple[float, float]], promised: float = PROMISED, remark: str = ""
) -> Criterion:
    """A rate by one interval or several, of which the worst decides."""
    verdict = _worst(rate_verdict(one, promised) for one in ends)
    too_few = f"Too few to tell: an interval allows errors in {1 - LEAST:.0%} or more."
    remarks = [remark, too_few if verdict == "not shown" else ""]
    return Criterion(asked=asked, found=found, verdict=verdict, remark=" ".join(filter(None, remarks)))


def _of_left_out(skills: Iterable[SkillFindings]) -> Iterator[Criterion]:
    """Planted skills that no row counts, though they were trained to be repeats; nothing where there are none."""
    planted = [skill for skill in skills if skill.mode == "planted" and not skill.descriptive]
    lost = [skill.name for skill in planted if not is_repeat(skill)]
    if lost:
        yield Criterion(
            asked="every planted skill is trained far enough to be a repeat",
            found=f"{len(planted) - len(lost)} of {len(planted)}",
            verdict="unmet",
            remark="Not judged, and not among the repeats that are counted, since dense or the adapter that is cut "
            f"diverged in every seed: {'; '.join(lost)}.",
        )


def _of_sets(rows: Sequence[CalibrationRow], found: Totals) -> Iterator[Criterion]:
    if found.interval is None:
        return
    yield _of_rate(
        asked="95 % of sets hold the rank that the best update needs",
        found=_rate_words(found.covered, found.n_judged, found.interval),
        ends=[found.interval],
        remark="This truth took the place of the next one after that had failed (decision 15).",
    )
    if found.covered_by_cut is not None and found.by_cut_interval is not None:
        yield _of_rate(
            asked="95 % of sets hold the rank that the planted update needs when it is cut (the truth first chosen)",
            found=_rate_words(found.covered_by_cut, found.n_judged, found.by_cut_interval),
            ends=[found.by_cut_interval],
            remark="An update that is free to choose its directions may need fewer than the cut one.",
        )
    widths = [row.median_doublings for row in rows if row.median_doublings is not None]
    yield _of_widths("the median set of each planted condition spans at most one doubling", widths)


def _of_widths(asked: str, widths: Sequence[float]) -> Criterion:
    wide = [width for width in widths if width > WIDEST]
    return Criterion(
        asked=asked,
        found=f"at most {max(widths):g}; wider than one in {len(wide)} of {len(widths)}",
        verdict="unmet" if wide else "met",
    )


def _of_functional_ranks(found: Totals) -> Iterator[Criterion]:
    if not found.n_functional:
        return
    off = found.n_functional - found.functional_within_one
    yield Criterion(
        asked="functional rank is that of the planted update, cut alike, or one off",
        found=f"{found.functional_within_one} of {found.n_functional} adapters; {off} are off by more",
        verdict="unmet" if off else "met",
    )


def _of_shuffled(skill: SkillFindings) -> Criterion:
    functional = skill.functional[0]
    at_zero = sum(rank == 0 for rank in functional.by_seed)
    point, remark = skill.point(functional.arm), ""
    if point and skill.chance is not None and point.score.estimate < skill.chance:
        remark = (
            f"It could hardly have failed: the adapters score {point.score.estimate:.1%}, a guess among the candidates "
            f"{skill.chance:.1%}, so that there is no gain to keep. Their rate was not tuned."
        )
    return Criterion(
        asked="functional rank is 0 with shuffled labels",
        found=f"{at_zero} of {len(functional.by_seed)} adapters, of {functional.arm}",
        verdict="met" if at_zero == len(functional.by_seed) else "unmet",
        remark=remark,
    )


def _of_relabelling(skills: Sequence[SkillFindings]) -> Iterator[Criterion]:
    """By the primary share; where sets overlap there, what seeds could see and the stricter share stand beside it."""
    rows, stricter = (relabel_rows(skills, q) for q in SHARES)
    if len(rows) < 2:
        return
    shared = overlaps(rows)
    falls = any((above["high"] or float("inf")) < (below["low"] or 0) for below, above in pairwise(rows))
    remarks = [f"Between {below} and {above} the sets overlap." for below, above in shared]
    remarks += _undecided_words(skills) if shared else []
    if shared and [row["verdict"] for row in stricter] == ["estimated"] * len(rows):
        apart = "" if overlaps(stricter) else ", which share no rank"
        told = f"For {SHARES[1]:.0%} of the gain, looked at after this had come out, they are {relabel_words(stricter)}"
        remarks.append(f"{told}{apart}.")
    yield Criterion(
        asked="required rank rises with the rank of P - I, where answers are exchanged by a permutation P",
        found=relabel_words(rows),
        verdict="unmet" if falls else "not shown" if shared else "met",
        remark=" ".join(remarks),
    )


def _undecided_words(skills: Iterable[SkillFindings]) -> list[str]:
    """What the seeds could see of every rank that they left undecided on relabelled answers."""
    return [
        f"On rank {rank} for {skill.name}: {resolution_words(found, 100, 'points')}"
        for _, skill in relabelled(skills)
        for rank, found in skill.required[0].resolution.items()
    ]


def _of_simulations(findings: StudyFindings) -> Iterator[Criterion]:
    if findings.simulated:
        rates = [row.covered / row.n_curves for row in findings.simulated]
        yield _of_rate(
            asked="95 % of sets hold the truth of simulated curves of every kind",
            found=f"{min(rates):.1%} to {max(rates):.1%} by kind, {findings.simulated[0].n_curves:,} curves each",
            ends=[(row.coverage_low, row.coverage_high) for row in findings.simulated],
        )
        widths = [row.median_doublings for row in findings.simulated]
        yield _of_widths("the median set of each kind of simulated curve spans at most one doubling", widths)
    if findings.nulls:
        shares = [row.rejected / row.n_nulls for row in findings.nulls]
        yield _of_rate(
            asked="two-sided 5 % tests reject a true null in 5 %",
            found=f"{min(shares):.1%} to {max(shares):.1%} by test, {findings.nulls[0].n_nulls:,} nulls each",
            ends=[(1 - row.high, 1 - row.low) for row in findings.nulls],
            promised=1 - ERROR,
        )


def _of_what_was_tried(rows: Sequence[CalibrationRow]) -> Iterator[Criterion]:
    if not rows:
        return
    judged = [row for row in rows if row.n_judged]
    noises = list(dict.fromkeys(row.noise for row in judged if row.noise not in ("none", "")))
    beyond = list(dict.fromkeys(row.noise for row in rows if row.noise not in ("none", "", *noises)))
    yield Criterion(
        asked="targets of more than one level of noise",
        found=f"{len(noises)} ({'; '.join(noises) or 'none'})",
        verdict="met" if len(noises) > 1 else "unmet",
        remark=f"Tried and not judged, since dense falls short there: {'; '.join(beyond)}." if beyond else "",
    )
    alone, together = (_largest(row for row in judged if (len(row.sites) > 1) == several) for several in (False, True))
    yield Criterion(
        asked="the same planted ranks at several sites as at one",
        found=f"up to rank {together} at several sites, up to {alone} at one",
        verdict="met" if together >= alone else "unmet",
    )


def _largest(rows: Iterable[CalibrationRow]) -> int:
    return max((row.planted_k or 0 for row in rows), default=0)


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    found = set(verdicts)
    order: tuple[Verdict, ...] = ("unmet", "not shown", "exceeded", "met")
    return next(verdict for verdict in order if verdict in found)


def _rate_words(n_hit: int, n: int, ends: tuple[float, float]) -> str:
    return f"{n_hit} of {n} ({ends[0]:.2%} to {ends[1]:.2%})"
