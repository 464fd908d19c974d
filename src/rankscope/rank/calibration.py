"""How a rank procedure does where the rank is known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rankscope.rank.records import CalibrationRow, FunctionalRank, RequiredRank, SkillFindings
from rankscope.rank.required import doublings, holds
from rankscope.stats.proportion import clopper_pearson

ENOUGH_GAIN = 0.98
"""Share of the exact gain that dense training must reach for a repeat to be judged."""


@dataclass(frozen=True)
class Planted:
    """What was planted, and how it was learnt: repeats that agree in all of it are one line of the table."""

    k: int
    """Directions planted at every site."""
    strengths: str = "equal"
    """`equal`, or the ratio of each direction's strength to the one before."""
    sites: tuple[str, ...] = ()
    noise: str = "none"
    """`none`, or how many tokens of the teacher's a training target was drawn as."""

    @property
    def words(self) -> str:
        """Such as `planted rank 2, two sites`."""
        falling = "" if self.strengths == "equal" else f", each {self.strengths} times as strong as the one before"
        sites = "" if len(self.sites) < 2 else f", {len(self.sites)} sites"
        noise = "" if self.noise == "none" else f", targets of {self.noise}"
        return f"planted rank {self.k}{falling}{sites}{noise}"


@dataclass(frozen=True)
class Repeat:
    """One planted teacher, put through the procedure."""

    planted: Planted
    oracle: int
    """The oracle's rank at q, what functional rank is held against: see oracle_rank."""
    truth: int
    """The smallest trained rank of which the best update keeps q of the exact gain: what the set should hold. One past
    the largest where none does."""
    dense_share: float
    """gain(dense) / exact gain."""
    required: RequiredRank
    functional: FunctionalRank

    @property
    def judged(self) -> bool:
        """Whether dense training came close enough to the exact gain."""
        return self.dense_share >= ENOUGH_GAIN

    @property
    def covered(self) -> bool:
        """Whether the set holds the truth."""
        return holds(self.required, self.truth)

    @property
    def covered_by_cut(self) -> bool:
        """Whether the set holds the smallest trained rank that is at least the oracle's, another truth."""
        return holds(self.required, trained_truth(self.oracle, list(self.required.by_rank)))

    def doublings(self, largest: int) -> float:
        """Width of the set; `largest` is the largest rank tried."""
        return doublings(self.required, largest)


def is_repeat(found: SkillFindings) -> bool:
    """Whether a planted skill has what a repeat is: a set of required ranks, and an adapter that was cut.

    It lacks them where dense, or every adapter of the rank that is cut, diverged.
    """
    return bool(found.required and found.functional)


def oracle_rank(gain_by_rank: Mapping[int, float], exact_gain: float, q: float) -> int:
    """Smallest number of the planted directions that keeps q of the exact gain.

    gain_by_rank: r -> gain of the planted update cut to its best r directions, on the same items.
    """
    enough = [rank for rank, gain in gain_by_rank.items() if gain >= q * exact_gain]
    return min(enough)


def trained_truth(truth: int, ranks: Sequence[int]) -> int:
    """The smallest trained rank that is at least the truth: ranks between trained ones count as the larger.

    One past the largest trained rank where none is, which is what a set says that excludes every trained rank.
    """
    return min((rank for rank in ranks if rank >= truth), default=max(ranks) + 1)


def needed_rank(
    gain_by_rank: Mapping[int, float], best_gain: Callable[[int], float], ranks: Sequence[int], q: float
) -> int:
    """The smallest of these ranks of which the best update keeps q of the exact gain: the truth about training.

    Never more than the planted directions that keep it, and less where a better update of fewer directions does; one
    past the largest of these ranks where none keeps it.

    gain_by_rank: as for oracle_rank; its largest rank has the exact gain.
    best_gain: rank -> gain of the best update of that rank; asked from large to small ranks, up to the first that
    falls short.
    """
    exact_gain = gain_by_rank[max(gain_by_rank)]
    needed = trained_truth(oracle_rank(gain_by_rank, exact_gain, q), ranks)
    for rank in sorted((rank for rank in ranks if rank < needed), reverse=True):
        if best_gain(rank) < q * exact_gain:
            break
        needed = rank
    return needed


def calibration_row(repeats: Sequence[Repeat], largest: int, note: str = "") -> CalibrationRow:
    """One line of the calibration table, for repeats of one planted update."""
    judged = [repeat for repeat in repeats if repeat.judged]
    covered = sum(repeat.covered for repeat in judged)
    by_cut = sum(repeat.covered_by_cut for repeat in judged)
    low, high = clopper_pearson(covered, len(judged)) if judged else (None, None)
    cut_low, cut_high = clopper_pearson(by_cut, len(judged)) if judged else (None, None)
    failures = len(repeats) - len(judged)
    failed = f"{failures} of {len(repeats)} repeats not judged: dense training stayed under 98 % of the exact gain."
    off = [abs(rank - repeat.oracle) for repeat in judged for rank in repeat.functional.by_seed]
    planted = repeats[0].planted
    return CalibrationRow(
        truth=planted.words,
        planted_k=planted.k,
        strengths=planted.strengths,
        sites=planted.sites,
        noise=planted.noise,
        n_repeats=len(repeats),
        n_judged=len(judged),
        covered=covered,
        coverage_low=low,
        coverage_high=high,
        covered_by_cut=by_cut,
        by_cut_low=cut_low,
        by_cut_high=cut_high,
        oracle_ranks=tuple(repeat.oracle for repeat in judged),
        needed_ranks=tuple(repeat.truth for repeat in judged),
        median_doublings=float(np.median([repeat.doublings(largest) for repeat in judged])) if judged else None,
        functional_rank=functional_words([repeat.functional for repeat in judged]),
        n_functional=len(off),
        functional_within_one=sum(distance <= 1 for distance in off),
        note=" ".join(filter(None, [note, failed if failures else ""])),
    )


@dataclass(frozen=True)
class Totals:
    """A calibration's rows added up, those of planted updates alone."""

    n_repeats: int
    n_judged: int
    covered: int
    covered_by_cut: int | None
    """None where a row was made by an earlier version, which did not count it."""
    n_functional: int
    functional_within_one: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Exact 95 % interval of the rate at which sets hold the rank that the best update needs."""
        return clopper_pearson(self.covered, self.n_judged) if self.n_judged else None

    @property
    def by_cut_interval(self) -> tuple[float, float] | None:
        """The same for the rank that the cut update needs."""
        if self.covered_by_cut is None or not self.n_judged:
            return None
        return clopper_pearson(self.covered_by_cut, self.n_judged)


def totals(rows: Sequence[CalibrationRow]) -> Totals:
    """The rows of planted updates added up."""
    planted = [row for row in rows if row.planted_k is not None]
    by_cut = [row.covered_by_cut for row in planted if row.covered_by_cut is not None]
    return Totals(
        n_repeats=sum(row.n_repeats for row in planted),
        n_judged=sum(row.n_judged for row in planted),
        covered=sum(row.covered for row in planted),
        covered_by_cut=sum(by_cut) if len(by_cut) == len(planted) else None,
        n_functional=sum(row.n_functional for row in planted),
        functional_within_one=sum(row.functional_within_one for row in planted),
    )


def null_row(functional: FunctionalRank) -> CalibrationRow:
    """The line for shuffled labels, where functional rank must come out 0."""
    return CalibrationRow(
        truth="shuffled labels (rank 0)",
        n_repeats=len(functional.by_seed),
        n_judged=len(functional.by_seed),
        covered=sum(rank == 0 for rank in functional.by_seed),
        coverage_low=None,
        coverage_high=None,
        median_doublings=None,
        functional_rank=functional_words([functional]),
        note="functional rank per training seed; nothing but the format can be learnt",
    )


def functional_words(found: Sequence[FunctionalRank]) -> str:
    """Functional ranks over all seeds and repeats, such as `2 (28 of 30), 3 (2 of 30)`."""
    values = [rank for one in found for rank in one.by_seed]
    counts = {rank: values.count(rank) for rank in sorted(set(values))}
    return ", ".join(f"{rank} ({count} of {len(values)})" for rank, count in counts.items())
