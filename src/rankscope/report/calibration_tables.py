"""Tables of the procedure where the answer is known: real trainings, simulated curves, true nulls, estimators."""

from rankscope.rank.records import (
    CalibrationRow,
    Criterion,
    StudyFindings,
)
from rankscope.report.formats import (
    VERDICT_TONES,
    count,
    interval_cell,
    missing,
    number_cell,
    percent,
    plain,
    raw,
    text_cell,
)
from rankscope.report.parts import Cell, Column, Table


def calibration_table(findings: StudyFindings) -> Table:
    """How the procedure did on skills whose rank is known.

    Where planted updates were cut, the sets are held against both truths, side by side.
    """
    by_cut = any(row.covered_by_cut is not None for row in findings.calibration)
    coverage = "Sets holding what the best update needs, %" if by_cut else "Sets holding the truth, %"
    columns = (
        Column("truth", "Truth"),
        Column("repeats", "Repeats judged"),
        Column("coverage", coverage, "interval"),
        *((Column("by-cut", "Sets holding what the cut update needs, %", "interval"),) if by_cut else ()),
        Column("width", "Median width, doublings", "number"),
        Column("functional", "Functional rank found"),
        Column("note", "Note", "prose"),
    )
    rows = tuple(
        calibration_row(row) | ({"by-cut": by_cut_cell(row)} if by_cut else {}) for row in findings.calibration
    )
    return Table("calibration", "The same procedure where the answer is known", columns, rows)


def calibration_row(row: CalibrationRow) -> dict[str, Cell]:
    """One truth: how many repeats were judged and how many sets held it."""
    return {
        "truth": text_cell(row.truth),
        "repeats": Cell(text=f"{row.n_judged} of {row.n_repeats}", csv=f"{row.n_judged} of {row.n_repeats}"),
        "coverage": coverage_cell(row.covered, row.n_judged, (row.coverage_low, row.coverage_high)),
        "width": number_cell(row.median_doublings, plain, "no set to measure for this truth"),
        "functional": text_cell(row.functional_rank, "no adapter was truncated"),
        "note": Cell(text=row.note, csv=row.note),
    }


def by_cut_cell(row: CalibrationRow) -> Cell:
    """How many sets held the rank that the planted update needs when it is cut."""
    if row.covered_by_cut is None:
        return missing("nothing was planted that could be cut")
    return coverage_cell(row.covered_by_cut, row.n_judged, (row.by_cut_low, row.by_cut_high))


def coverage_cell(covered: int, n_judged: int, ends: tuple[float | None, float | None]) -> Cell:
    """Covered of judged, with the interval of the rate."""
    if n_judged == 0:
        return missing("no repeat could be judged: dense training never came close enough to the exact gain")
    low, high = ends
    span = "no interval" if low is None or high is None else f"[{percent(low)}, {percent(high)}]"
    return Cell(
        text=f"{covered} of {n_judged}",
        detail=span,
        title="95 % interval of the rate, in per cent",
        csv=raw(covered / n_judged, percent),
        low=raw(low, percent),
        high=raw(high, percent),
    )


def criteria_table(findings: StudyFindings) -> Table:
    """What was asked of the procedure, and whether it came out so."""
    columns = (
        Column("asked", "Asked", "prose"),
        Column("found", "Found", "prose"),
        Column("verdict", "Criterion"),
        Column("remark", "Remark", "prose"),
    )
    rows = tuple(criterion_row(criterion) for criterion in findings.criteria)
    note = (
        "exceeded: the sets hold the truth more often than they promise, so they are wider than they need be. not "
        "shown: too little was tried, or came out too near, to tell."
    )
    return Table("criteria", "What was asked of the procedure", columns, rows, note)


def criterion_row(criterion: Criterion) -> dict[str, Cell]:
    """One criterion."""
    return {
        "asked": text_cell(criterion.asked),
        "found": text_cell(criterion.found),
        "verdict": Cell(text="", badge=criterion.verdict, tone=VERDICT_TONES[criterion.verdict], csv=criterion.verdict),
        "remark": Cell(text=criterion.remark, csv=criterion.remark),
    }


def simulated_table(findings: StudyFindings) -> Table:
    """How often the sets hold the truth of simulated curves."""
    columns = (
        Column("family", "Curves"),
        Column("size", "Seeds × items"),
        Column("coverage", "Sets holding the truth, %", "interval"),
        Column("width", "Median width, doublings", "number"),
    )
    rows = tuple(
        {
            "family": text_cell(row.family),
            "size": text_cell(f"{row.n_seeds} × {row.n_items}"),
            "coverage": rate_cell(row.covered, row.n_curves, (row.coverage_low, row.coverage_high)),
            "width": number_cell(row.median_doublings, plain, ""),
        }
        for row in findings.simulated
    )
    return Table("simulated", "The sets on simulated rank curves whose truth is known", columns, rows)


def null_table(findings: StudyFindings) -> Table:
    """How often 5 % tests reject a true null."""
    columns = (Column("test", "Two-sided 5 % test"), Column("rate", "Rejected, %", "interval"))
    rows = tuple(
        {"test": text_cell(row.test), "rate": rate_cell(row.rejected, row.n_nulls, (row.low, row.high))}
        for row in findings.nulls
    )
    return Table("nulls", "Where there is nothing to find", columns, rows)


def rate_cell(n_hit: int, n: int, ends: tuple[float, float]) -> Cell:
    """A rate in per cent with its exact interval."""
    span = f"[{percent(ends[0])}, {percent(ends[1])}]"
    text = percent(n_hit / n)
    return Cell(text, span, f"{n_hit:,} of {n:,}; exact 95 % interval", csv=text, low=raw(ends[0]), high=raw(ends[1]))


def estimator_table(findings: StudyFindings, target: str, of: str) -> Table:
    """Estimators by their error in telling a rank, and by what moves them."""
    shown = [row for row in findings.estimators if row.target == target]
    nuisances = list(dict.fromkeys(name for row in shown for name in row.moved_by))
    columns = (
        Column("estimator", "Estimator"),
        Column("cells", "Adapters", "number"),
        Column("error", "Error, doublings", "interval"),
        Column("bias", "Bias, doublings", "number"),
        Column("correlation", "Rank correlation", "number"),
        *(Column(f"moved-{name}", f"Moved by {name}", "number") for name in nuisances),
    )
    rows = tuple(
        {
            "estimator": text_cell(row.estimator),
            "cells": number_cell(row.n_cells, count, ""),
            "error": interval_cell(row.error_doublings, plain, ""),
            "bias": number_cell(row.bias_doublings, plain, ""),
            "correlation": number_cell(row.correlation, plain, "the estimate never changes"),
            **{f"moved-{name}": number_cell(row.moved_by.get(name), plain, "not tried") for name in nuisances},
        }
        for row in shown
    )
    note = "Moved by: mean change of the estimate, in doublings, where the truth is the same."
    return Table(f"estimators-{target}", f"Against the rank of the {of}", columns, rows, note)
