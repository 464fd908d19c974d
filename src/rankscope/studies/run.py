"""Runs a study: open the run folder, train, score, find, report. Stopped anywhere, the same call goes on."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rankscope.base.device import resolve_device
from rankscope.base.errors import BadInput
from rankscope.base.paths import runs_root
from rankscope.lm.bases import Base, load_base
from rankscope.rank.calibration_records import recomputed
from rankscope.rank.records import (
    CalibrationRow,
    EstimatorScore,
    RateMap,
    SkillFindings,
    StudyFindings,
    read_findings,
    write_findings,
)
from rankscope.rank.simulate import null_tests, simulated_sets
from rankscope.runs.folder import RunFolder, verify_finished
from rankscope.runs.manifest import MANIFEST, read_manifest
from rankscope.studies.calibration_criteria import criteria
from rankscope.studies.calibration_findings import write_calibration, write_summary
from rankscope.studies.catalog import RankStudy, find_plan, find_study
from rankscope.studies.evidence import corrected
from rankscope.studies.findings import SkillTables, evidence_of, skill_findings
from rankscope.studies.hash_paper import HashPaperPlan
from rankscope.studies.hash_paper_run import run_hash_paper
from rankscope.studies.kept import Kept, check_items, keep_records, kept_skills
from rankscope.studies.oracle import Oracle
from rankscope.studies.other_rates import ON_PURPOSE, one_rate_needs
from rankscope.studies.page import FINDINGS, REPORT, RESULTS, write_page
from rankscope.studies.plan import SkillPlan, StudyPlan
from rankscope.studies.progress import meter, say
from rankscope.studies.provenance import run_facts
from rankscope.studies.rates import RateTable, confounded_flags, rate_maps, read_rates
from rankscope.studies.stages import (
    RECORDS,
    Sitting,
    Trained,
    read_tables,
    score_stage,
    skill_tags,
    tell_cost,
    threads_of,
    train_stage,
    write_records,
)
from rankscope.studies.tuning import GRID, run_tuning
from rankscope.train.cell import FullSpec
from rankscope.train.materials import first_items
from rankscope.train.precision import AUTO, resolve_precision

CALIBRATION = "docs/results/calibration"
"""The committed run whose calibration stands beside the results of every study that plants nothing itself."""


def run_study(
    name: str,
    out: Path | None = None,
    workers: int = 0,
    device: str = "auto",
    precision: str = AUTO,
    taken_from: Sequence[Path] = (),
) -> Path:
    """Runs `NAME[:FORM]` and returns its run folder, with `records/findings.json` and `report.html` in it.

    Both are written after every whole seed, marked as partial until the last, so they can be read at any time; of
    planted skills at the end alone.

    `workers` 0 fills the cores. `precision` `auto` is what is fastest here, frozen when the folder is first opened.
    Skills that the records of finished runs in `taken_from` hold are taken from there, whatever their precision; only
    the others are trained. It counts when the run folder is first opened, which keeps a copy of them.
    A finished study is verified and returned as it is.
    Raises UnknownName for a study that does not exist, RunLocked when another process is in the folder, BadInput where
    nothing can be taken from a folder of `taken_from`.
    """
    plan = find_plan(name)
    folder = out or runs_root() / plan.study.replace(":", "-")
    if isinstance(plan, HashPaperPlan):
        if precision not in (AUTO, "fp32"):
            raise BadInput(f"{plan.study} trains in fp32, as the paper does, not {precision!r}.")
        _refuse_taking(plan.study, taken_from)
        return run_hash_paper(plan, folder, workers, device)
    if not plan.tuned_by:
        _refuse_taking(plan.study, taken_from)
    plan = plan.override(precision=_precision(plan, folder, precision, device))
    kept = kept_skills(plan, folder, taken_from)
    taken = {"taken": {key: one.words for key, one in kept.items()}} if kept else {}
    with RunFolder.open(folder, plan.model_dump(mode="json") | taken, kind="study") as run:
        if run.finished:
            verify_finished(folder)
            say(f"{plan.study} is finished already; nothing to do.")
            return folder
        sitting = Sitting(folder, device, workers)
        if kept:
            keep_records(folder, taken_from)
            check_items(plan, kept, sitting)
        cells = [cell for *_, cell in plan.without(kept).cells()]
        if cells and not any((folder / "cells").glob("*/done.json")):
            tell_cost(cells, sitting, 1 if plan.tuned_by else len(GRID))
        if plan.tuned_by:
            _run_by_seed(plan, kept, sitting)
        else:
            run_tuning(plan, sitting)
        run.finish()
    return folder


def _refuse_taking(study: str, taken_from: Sequence[Path]) -> None:
    if taken_from:
        raise BadInput(
            f"{study} makes no findings on skills, so it can take none from an earlier run. Leave out --from."
        )


def _run_by_seed(plan: StudyPlan, kept: Mapping[str, Kept], sitting: Sitting) -> None:
    """Trains what is not kept, seed by seed, and writes findings and page after each; what is kept counts whole."""
    started = time.monotonic()
    own = plan.without(kept)
    for n in _told_after(own):
        if _is_trained_further(own, n, sitting):
            continue
        training, label = own.first_seeds(n), f"training, seed {n} of {own.n_seeds}"
        trained = train_stage(training, sitting, label) if own.skills else []
        score_stage(training, trained, sitting)
        partial = f"{n} of {own.n_seeds} seeds" if n < own.n_seeds else ""
        _conclude(plan.first_seeds(n, whole=kept), trained, kept, sitting, time.monotonic() - started, partial)


def _is_trained_further(own: StudyPlan, n: int, sitting: Sitting) -> bool:
    """Whether the seed after the first n is trained too, as in a run that goes on: findings are not put back to n."""
    cells = [cell for *_, cell in own.first_seeds(n + 1).cells()] if n < own.n_seeds else []
    return bool(cells) and all(map(sitting.executor.has_finished, cells))


def _told_after(own: StudyPlan) -> range:
    """After how many seeds findings are written: each, but the last alone where every teacher's oracle is computed."""
    return range(own.n_seeds if _plants(own) or not own.skills else 1, own.n_seeds + 1)


def _plants(plan: StudyPlan) -> bool:
    """Whether the study calibrates the procedure itself."""
    return any(skill.mode == "planted" for skill in plan.skills)


def _precision(plan: StudyPlan, folder: Path, asked: str, device: str) -> str:
    """The plan that the run folder was frozen to, or the one to freeze it to."""
    if asked == AUTO and (folder / MANIFEST).exists():
        return str(read_manifest(folder)["resolved"].get("precision", plan.precision))
    base = load_base(plan.base)
    *_, first = next(iter(plan.cells()))
    return resolve_precision(asked, base, first_items(first, base), first.budget.batch_size, resolve_device(device))


def _conclude(
    plan: StudyPlan, trained: list[Trained], kept: Mapping[str, Kept], sitting: Sitting, time_s: float, partial: str
) -> None:
    """Records and report; `partial` says how much of the study they hold, where that is not all."""
    tags, folder = skill_tags(plan), sitting.folder
    tables = {
        skill.key: kept[skill.key].tables if skill.key in kept else read_tables(skill, trained, folder, tags[skill.key])
        for skill in plan.skills
    }
    write_records(plan, trained, [one.rows for one in kept.values()], tables, folder)
    base = load_base(plan.base)
    provenance = run_facts(
        sitting.device,
        plan.precision,
        time_s,
        executor=", ".join(sorted({one.executor for one in trained})) or "none, all was taken from earlier runs",
        **({"threads per worker": ", ".join(sorted({threads_of(one) for one in trained}))} if trained else {}),
    )
    findings = study_findings(plan, base, tables, provenance, folder, kept)
    write_findings(folder / FINDINGS, findings.override(partial=partial))
    if findings.calibration_source == plan.study:
        write_summary(folder, findings)
    write_page(folder, folder / REPORT)


def study_findings(
    plan: StudyPlan,
    base: Base,
    tables: dict[str, SkillTables],
    provenance: dict[str, str],
    folder: Path,
    kept: Mapping[str, Kept],
) -> StudyFindings:
    """Everything that the tables say of what was trained here, and what was found of skills taken from earlier runs.

    What the truth about planted skills takes to find is kept in the folder.
    """
    table = read_rates(plan.tuned_by)
    with meter("statistics", len(plan.skills)) as bar:
        found: dict[str, SkillFindings] = {}
        for skill in plan.skills:
            found[skill.key] = _findings_of(plan, skill, base, tables, table, kept)
            bar.advance(1)
    skills = abridged(tuple(found.values()))
    plants = _plants(plan)
    committed = None if plants else committed_calibration()
    shown = (committed.calibration if committed else (), ())
    calibration, estimators = _calibration(plan, base, found, tables, kept, folder) if plants else shown
    source = plan.study if plants else CALIBRATION if committed else None
    command = f"rankscope study {plan.study}"
    entry, _ = find_study(plan.study)
    assert isinstance(entry, RankStudy)
    evidence = evidence_of(plan.skills, skills, tables)
    claims = corrected(entry.claims(evidence, command))
    findings = StudyFindings(
        study=plan.study,
        title=plan.title,
        answer=(),
        base=base.name,
        base_hash=base.content_hash,
        skills=skills,
        claims=claims,
        calibration=calibration,
        calibration_source=source,
        simulated=simulated_sets(plan.simulated) if plan.simulated else (),
        nulls=null_tests(plan.simulated) if plan.simulated else (),
        estimators=estimators,
        rate_maps=_rate_maps(table, base, plan, found),
        one_rate=one_rate_needs(evidence),
        reproduce=_reproduce(plan, command, kept.values(), committed),
        provenance=provenance,
        taken={key: one.facts for key, one in kept.items()},
    )
    told = {"answer": entry.answer(findings), "criteria": criteria(findings) if source == plan.study else ()}
    return findings.model_copy(update=told)


def _findings_of(
    plan: StudyPlan,
    skill: SkillPlan,
    base: Base,
    tables: dict[str, SkillTables],
    table: RateTable | None,
    kept: Mapping[str, Kept],
) -> SkillFindings:
    one = kept[skill.key].findings(plan, skill) if skill.key in kept else skill_findings(plan, skill, tables[skill.key])
    return one.override(flags=(*one.flags, *rate_flags(table, base, skill, plan.rates)))


def _calibration(
    plan: StudyPlan,
    base: Base,
    found: dict[str, SkillFindings],
    tables: dict[str, SkillTables],
    kept: Mapping[str, Kept],
    folder: Path,
) -> tuple[tuple[CalibrationRow, ...], tuple[EstimatorScore, ...]]:
    """Rows and estimators of a study that plants: it writes what they follow from, and makes them from those files."""
    records, planted = folder / RECORDS, {key: one.planted for key, one in kept.items() if one.planted}
    write_calibration(plan, Oracle(base, folder / "oracle"), found, tables, planted, records)
    return recomputed(records, list(found.values()))


def abridged(skills: tuple[SkillFindings, ...]) -> tuple[SkillFindings, ...]:
    """The skills, those that repeat an earlier one without spectra and truncation curves, which no page shows.

    Every number of theirs that a verdict or a table rests on stays.
    """
    seen: set[str] = set()
    kept = []
    for skill in skills:
        if skill.repeats and skill.repeats in seen:
            functional = tuple(one.model_copy(update={"curve": ()}) for one in skill.functional)
            skill = skill.model_copy(update={"spectral": (), "functional": functional})
        seen.add(skill.repeats)
        kept.append(skill)
    return tuple(kept)


def rate_flags(table: RateTable | None, base: Base, skill: SkillPlan, rates: dict[str, float]) -> tuple[str, ...]:
    """What a reader must know of the skill's learning rates."""
    if skill.mode in ON_PURPOSE:
        return (ON_PURPOSE[skill.mode],)
    if skill.varies:
        return ()
    if table is None:
        return ("confounded: rates not tuned",)
    if len(skill.arms) == 1 and isinstance(skill.arms[0], FullSpec):
        return ()  # no adapter to compare with
    borrowed = skill.tuned_as not in (None, skill.task) and skill.mode != "planted"
    other = (f"learning rates are those tuned on {skill.tuned_as}",) if borrowed else ()
    return (*other, *confounded_flags(table, base.content_hash, skill, rates))


def _rate_maps(
    table: RateTable | None, base: Base, plan: StudyPlan, found: dict[str, SkillFindings]
) -> tuple[RateMap, ...]:
    if table is None:
        return ()
    skills = [skill for skill in plan.skills if not skill.varies and skill.mode != "null"]
    return rate_maps(table, base.content_hash, skills, [found[skill.key].base_score for skill in skills])


def committed_calibration() -> StudyFindings | None:
    """The committed calibration; None where the package stands alone."""
    path = RESULTS / "calibration" / FINDINGS
    return read_findings(path) if path.exists() else None


def _reproduce(plan: StudyPlan, command: str, kept: Iterable[Kept], shown: StudyFindings | None) -> dict[str, str]:
    """What -> the command that makes it again; `shown` is the committed calibration, where the page has it."""
    found = {
        "this study": f"{command} --precision '{plan.precision}'",
        **{f"what was taken from {one.words}, with the code of that commit": one.command for one in kept},
        "this page from its records": "rankscope report RUN_FOLDER",
    }
    if plan.tuned_by:
        found["learning rates"] = "; ".join(f"rankscope study {tuning}" for tuning in plan.tuned_by)
    if shown:
        precision = shown.provenance.get("precision", "fp32")
        found["the calibration shown"] = f"rankscope study {shown.study} --precision '{precision}'"
    return found | {"the base": f"rankscope base build {plan.base} --out FOLDER"}
