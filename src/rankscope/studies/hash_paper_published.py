"""The paper's own figures, as its public repository stores them, beside ours.

Source: arXiv 2412.00029 and neelr/lora-reasoning-experiments at 91a9c90: accuracies read off its stored outputs and
figures, the spectrum of its one analysed checkpoint (rank 256). The shares that the ban allows were simulated for
its generators and GPT-2's tokenizer.
"""

from collections.abc import Sequence

from rankscope.rank.paper_records import (
    ConfigurationNumbers,
    PublishedNumber,
    SweepPoint,
    TokenFacts,
)
from rankscope.stats.interval import Interval
from rankscope.studies.hash_paper import TaskKind

PLANNING_BY_HOPS = {1: 0.78, 2: 0.84, 3: 0.76, 4: 0.68}
"""Hops -> accuracy of the paper's rank-256 adapter, 100 items each."""
REASONING_BY_LENGTH = {2: 0.527, 3: 0.648, 4: 0.428, 5: 0.305}
"""Shortest length -> accuracy of the paper's rank-256 adapter, 148 to 177 items each."""


def published_numbers(
    configurations: Sequence[ConfigurationNumbers], sweep: Sequence[SweepPoint], tokens: Sequence[TokenFacts]
) -> tuple[PublishedNumber, ...]:
    """Every headline figure of the paper that has a counterpart here."""
    one = next(row for row in configurations if row.key == "published")
    largest = max(point.rank for point in sweep)
    spectrum = {point.task: point for point in sweep if point.rank == largest}
    facts = {fact.task: fact for fact in tokens}
    planning, reasoning = spectrum["planning"], spectrum["reasoning"]

    def ours(share: Interval) -> str:
        return f"{100 * share.estimate:.1f} %"

    def curve(point: SweepPoint) -> str:
        return " / ".join(f"{value:.1f}" for value in point.thresholds.values())

    return (
        PublishedNumber(
            name="planning, base",
            published="28.1 %",
            ours=ours(one.planning.base),
            note="theirs over 1 to 15 hops in maps of 20 hashes",
        ),
        PublishedNumber(
            name="planning, largest rank",
            published="30.5 %",
            ours=ours(one.planning.accuracy),
            note="theirs at rank 256",
        ),
        PublishedNumber(
            name="planning gain, as claimed",
            published="5.7 points",
            ours=f"{100 * _best_gain(sweep, 'planning'):.1f} points",
            note="best of the ranks, chosen on the test items (theirs hop by hop), less the base: mostly selection; "
            "theirs would be 4.0 with no effect at all",
        ),
        PublishedNumber(
            name="reasoning, base",
            published="49.2 %",
            ours=ours(one.reasoning.base),
            note="theirs on 3 chains, their adapters on 4",
        ),
        PublishedNumber(
            name="reasoning, largest rank",
            published="36.3 %",
            ours=ours(one.reasoning.accuracy),
            note="theirs at rank 256",
        ),
        PublishedNumber(
            name="true answers that the ban lets be written",
            published="26 %",
            ours=f"{ours(facts['planning'].whole_allowed)} and {ours(facts['reasoning'].whole_allowed)}",
            note="ours: planning and reasoning; the most that a perfect model can score by the exact rule",
        ),
        PublishedNumber(
            name="the same for their first three characters",
            published="61 %",
            ours=f"{ours(facts['planning'].first_three_allowed)} and {ours(facts['reasoning'].first_three_allowed)}",
        ),
        PublishedNumber(
            name="tokens per hash",
            published="3.06",
            ours=f"{facts['planning'].tokens_per_hash:.2f}",
            note="with the leading space",
        ),
        PublishedNumber(
            name="N(1e-1) / ... / N(1e-5)",
            published="3 / 8 / 61 / 254 / 256 of 256",
            ours=f"{curve(planning)} and {curve(reasoning)} of {largest}",
            note="theirs of one checkpoint, most likely planning; ours planning and reasoning",
        ),
        PublishedNumber(
            name="singular values above 1e-5",
            published="256 of 256",
            ours=f"{planning.absolute_count:.1f} and {reasoning.absolute_count:.1f} of {largest}",
            note="always the nominal rank: no information",
        ),
        PublishedNumber(
            name="top-5 share of the nuclear norm",
            published="85.6 %",
            ours=f"{100 * (planning.top5_share or 0):.1f} and {100 * (reasoning.top5_share or 0):.1f} %",
            note="theirs called variance explained; nothing is squared",
        ),
        PublishedNumber(
            name="effective rank, planning over reasoning",
            published="2 to 3",
            ours=f"both {largest} of {largest}" if (ratio := one.ratio(largest)) is None else f"{ratio:.2f}",
            note="theirs can not be derived from their repository: one arm of the ratio is stored",
        ),
    )


def _best_gain(sweep: Sequence[SweepPoint], task: str) -> float:
    mine = {point.rank: point.as_published.estimate for point in sweep if point.task == task}
    return max(value for rank, value in mine.items() if rank > 0) - mine[0]


def published_share(kind: TaskKind, group: int) -> float | None:
    """The paper's accuracy at these hops or this shortest length, of its rank-256 adapter; None where it has none."""
    return (PLANNING_BY_HOPS if kind == "planning" else REASONING_BY_LENGTH).get(group)
