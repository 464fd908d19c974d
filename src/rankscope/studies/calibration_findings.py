"""What the planted skills of a study say about the procedure: their truths and estimates, and the summary."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rankscope.adapters.read import read_adapter
from rankscope.adapters.weights import AdapterWeights
from rankscope.base.atomic import write_json
from rankscope.rank.calibration import is_repeat, totals
from rankscope.rank.calibration_records import (
    KeptPlanted,
    OracleRecords,
    PlantedRepeat,
    truths,
    write_estimates,
    write_oracle,
)
from rankscope.rank.estimator_scores import Estimated, mean_estimates
from rankscope.rank.records import CalibrationRow, SkillFindings, StudyFindings
from rankscope.spectra.estimators import ESTIMATORS, absolute_count, noise_cut_rank
from rankscope.spectra.low_rank_svd import singular_values
from rankscope.studies.calibration import NUISANCE_OF_SAMPLES
from rankscope.studies.calibration_criteria import relabel_rows
from rankscope.studies.evidence import SHARES
from rankscope.studies.findings import SkillTables, arms_alive, estimate_of, whole_seeds
from rankscope.studies.oracle import BEST, Oracle, Q, exact_task, spec_of
from rankscope.studies.plan import SkillPlan, StudyPlan
from rankscope.train.cell import LoraSpec
from rankscope.train.training import FINAL

SUMMARY = "summary.json"
WEIGHTED = (", weighted by the input", ("energy .90", "energy .99", "entropy", "stable", "participation", "N(1e-3)"))
"""Estimators that are also taken of the spectrum weighted by the second moment of the site's input."""
COUNTED, NOISE_CUT = "count above 1e-5", "noise cut"
ESTIMATED = {*ESTIMATORS, COUNTED, *(f"{name}{WEIGHTED[0]}" for name in WEIGHTED[1])}
"""Every estimator that is taken of an adapter, but for the noise cut, which small ones lack."""
Estimator = Callable[[Tensor], float | None]


def write_calibration(
    plan: StudyPlan,
    oracle: Oracle,
    found: Mapping[str, SkillFindings],
    tables: Mapping[str, SkillTables],
    kept: Mapping[str, KeptPlanted],
    records: Path,
) -> None:
    """Writes what the calibration's tables follow from: the truth about every teacher, every adapter's estimates.

    `kept`: of skills taken from an earlier run, what was measured there.
    """
    planted = [skill for skill in plan.skills if skill.mode == "planted"]
    for one in kept.values():
        oracle.know(one.teacher)
    write_oracle(records, oracle_records(oracle, planted, found))
    cells: list[Estimated] = []
    for skill in planted:
        own = kept.get(skill.key)
        cells += own.estimated if own else estimated(oracle, skill, found[skill.key], tables[skill.key])
    write_estimates(records, cells)


def kept_planted(
    skill: SkillPlan, tables: SkillTables, oracle: OracleRecords, cells: Iterable[Estimated]
) -> KeptPlanted | None:
    """What an earlier run's two files hold of a planted skill; None where they lack its teacher or some adapter.

    Nor where they hold other estimators than are computed now, or best updates that were sought in another way.
    """
    task, nuisance = exact_task(skill), nuisance_of(skill)
    teacher = next((one for one in oracle.teachers if one.teacher == task and one.n_items == skill.n_test), None)
    mine = tuple(cell for cell in cells if (cell.teacher, cell.nuisance) == (task, nuisance))
    wanted = {(arm.rank, seed) for arm in _adapters(skill, tables) for seed in whole_seeds(skill, tables)}
    whole = {(cell.nominal, cell.seed) for cell in mine} == wanted
    alike = {name for cell in mine for name in cell.estimates} - {NOISE_CUT} == ESTIMATED
    known = (oracle.q, oracle.best_update) == (Q, BEST)
    return KeptPlanted(teacher, mine) if teacher and whole and alike and known else None


def oracle_records(oracle: Oracle, planted: Iterable[SkillPlan], found: Mapping[str, SkillFindings]) -> OracleRecords:
    """The truth about every teacher; those that serve estimators alone are no repeats of the procedure.

    Nor are those whose dense training diverged in every seed, or that of the adapter that is cut.
    """
    planted = list(planted)
    tried = [skill for skill in planted if not skill.descriptive and is_repeat(found[skill.key])]
    repeats = [_repeat(oracle, skill, found[skill.key]) for skill in tried]
    first_of: dict[str, SkillPlan] = {}
    for skill in planted:
        first_of.setdefault(exact_task(skill), skill)
    teachers = tuple(oracle.record(skill) for skill in first_of.values())
    return OracleRecords(q=Q, best_update=BEST, teachers=teachers, repeats=tuple(repeats))


def _repeat(oracle: Oracle, skill: SkillPlan, found: SkillFindings) -> PlantedRepeat:
    ranks, samples = tuple(found.required[0].by_rank), spec_of(skill).samples
    oracle.needed(skill, ranks)
    of_oracle, needed = truths(oracle.record(skill), ranks, Q)
    return PlantedRepeat(
        skill=skill.key,
        teacher=exact_task(skill),
        noise="none" if samples is None else f"{samples} tokens drawn",
        ranks=ranks,
        oracle_rank=of_oracle,
        needed_rank=needed,
    )


def estimated(oracle: Oracle, skill: SkillPlan, found: SkillFindings, tables: SkillTables) -> Iterator[Estimated]:
    """Every adapter of a planted skill that did not diverge, in the order of ranks and seeds."""
    functional = {
        (one.arm, seed): rank
        for one in found.functional
        if one.q == Q
        for seed, rank in zip(whole_seeds(skill, tables), one.by_seed, strict=True)
    }
    for arm in _adapters(skill, tables):
        for seed in whole_seeds(skill, tables):
            yield Estimated(
                teacher=exact_task(skill),
                nominal=arm.rank,
                seed=seed,
                planted=oracle.rank(skill),
                functional=functional.get((arm.label, seed)),
                nuisance=nuisance_of(skill),
                estimates=estimates_of(read_adapter(tables.folders[arm.label, seed] / FINAL), oracle.roots(skill)),
            )


def _adapters(skill: SkillPlan, tables: SkillTables) -> list[LoraSpec]:
    """Adapters that did not diverge in every seed."""
    return [arm for arm in arms_alive(skill, tables) if isinstance(arm, LoraSpec)]


def nuisance_of(skill: SkillPlan) -> str:
    """How the skill's trainings differ from the tuned ones on exact targets."""
    return skill.varies or NUISANCE_OF_SAMPLES[spec_of(skill).samples]


def estimates_of(weights: AdapterWeights, roots: Mapping[str, Tensor]) -> dict[str, float]:
    """Every estimator's mean over the adapter's sites, of plain and of weighted singular values."""
    plain = [singular_values(f.A_RI, f.B_OR, f.s).numpy() for f in weights.values()]
    weighted = [singular_values(f.A_RI.double() @ roots[site], f.B_OR, f.s).numpy() for site, f in weights.items()]
    shapes = [(f.B_OR.shape[0], f.A_RI.shape[1]) for f in weights.values()]
    suffix, chosen = WEIGHTED
    on_plain: dict[str, Estimator] = {**ESTIMATORS, COUNTED: absolute_count}
    if len(set(shapes)) == 1:
        on_plain[NOISE_CUT] = partial(noise_cut_rank, shape_OI=shapes[0])
    on_weighted: dict[str, Estimator] = {f"{name}{suffix}": ESTIMATORS[name] for name in chosen}
    return _means(plain, on_plain) | _means(weighted, on_weighted)


def _means(spectra: list[np.ndarray], estimators: dict[str, Estimator]) -> dict[str, float]:
    return mean_estimates(spectra, {name: partial(estimate_of, one) for name, one in estimators.items()})


def write_summary(folder: Path, findings: StudyFindings) -> None:
    """`summary.json`: the calibration in one small file, for machines and for those who check it."""
    all_rows = totals(findings.calibration)
    document = {
        "study": findings.study,
        "provenance": findings.provenance,
        "criteria": [criterion.model_dump(mode="json") for criterion in findings.criteria],
        "rows": [_summary_row(row) for row in findings.calibration if row.planted_k is not None],
        "all": {
            "repeats": all_rows.n_repeats,
            "judged": all_rows.n_judged,
            "covered": all_rows.covered,
            "interval": all_rows.interval,
            "covered_by_cut": all_rows.covered_by_cut,
            "interval_by_cut": all_rows.by_cut_interval,
            "functional_within_one": all_rows.functional_within_one,
            "functional": all_rows.n_functional,
        },
        "shuffled": [row.functional_rank for row in findings.calibration if row.planted_k is None],
        "relabel": [row for q in SHARES for row in relabel_rows(findings.skills, q)],
        "simulated": [row.model_dump(mode="json") for row in findings.simulated],
        "nulls": [row.model_dump(mode="json") for row in findings.nulls],
        "estimators": [row.model_dump(mode="json") for row in findings.estimators],
    }
    write_json(folder / SUMMARY, document)


def _summary_row(row: CalibrationRow) -> dict[str, Any]:
    return {
        "planted_k": row.planted_k,
        "strengths": row.strengths,
        "sites": list(row.sites),
        "noise": row.noise,
        "repeats": row.n_repeats,
        "judged": row.n_judged,
        "covered": row.covered,
        "interval": [row.coverage_low, row.coverage_high],
        "covered_by_cut": row.covered_by_cut,
        "interval_by_cut": [row.by_cut_low, row.by_cut_high],
        "median_doublings": row.median_doublings,
        "oracle_ranks": list(row.oracle_ranks),
        "needed_ranks": list(row.needed_ranks),
        "functional_rank": row.functional_rank,
        "functional_within_one": row.functional_within_one,
        "functional": row.n_functional,
    }
