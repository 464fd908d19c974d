"""From the tables of a whole study to its findings: every skill, the claims, the calibration beside them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rankscope.lm.bases import Base, shipped_bases
from rankscope.rank.calibration_records import recomputed
from rankscope.rank.records import (
    CalibrationRow,
    ClaimCard,
    EstimatorScore,
    RateMap,
    SkillFindings,
    StudyFindings,
    read_findings,
)
from rankscope.rank.simulate import null_tests, simulated_sets
from rankscope.studies.calibration_criteria import criteria
from rankscope.studies.calibration_findings import write_calibration
from rankscope.studies.evidence import Evidence, corrected
from rankscope.studies.findings import SkillTables, evidence_of, skill_findings
from rankscope.studies.kept import Kept
from rankscope.studies.oracle import Oracle
from rankscope.studies.other_rates import ON_PURPOSE, one_rate_needs
from rankscope.studies.page import FINDINGS, RESULTS
from rankscope.studies.plan import SkillPlan, StudyPlan
from rankscope.studies.progress import meter
from rankscope.studies.rates import RateTable, confounded_flags, rate_maps
from rankscope.studies.stages import RECORDS
from rankscope.train.cell import FullSpec

CALIBRATION = "docs/results/calibration"
"""The committed run whose calibration stands beside the results of every study that plants nothing itself."""


@dataclass(frozen=True)
class Account:
    """How a study gives account of what it found, beside what its plan says."""

    claims: Callable[[Evidence, str], tuple[ClaimCard, ...]]
    """(what was found, the command that repeats it) -> a card per claim that the study declares."""
    answer: Callable[[StudyFindings], tuple[str, ...]]
    """The plain-language answer, from everything else that was found."""
    rates: RateTable | None
    """What the tuning found that the plan's learning rates come from; None where there was none."""
    command: str
    """The command that runs the study."""
    tuned_with: str = ""
    """The commands that tuned it; none where the study's own does."""


def plants(plan: StudyPlan) -> bool:
    """Whether the study calibrates the procedure itself."""
    return any(skill.mode == "planted" for skill in plan.skills)


def study_findings(
    plan: StudyPlan,
    account: Account,
    base: Base,
    tables: dict[str, SkillTables],
    provenance: dict[str, str],
    folder: Path,
    kept: Mapping[str, Kept],
) -> StudyFindings:
    """Everything that the tables say of what was trained here, and what was found of skills taken from earlier runs.

    What the truth about planted skills takes to find is kept in the folder.
    """
    table = account.rates
    with meter("statistics", len(plan.skills)) as bar:
        found: dict[str, SkillFindings] = {}
        for skill in plan.skills:
            found[skill.key] = _findings_of(plan, skill, base, tables, table, kept)
            bar.advance(1)
    skills = abridged(tuple(found.values()))
    calibrates = plants(plan)
    committed = None if calibrates else committed_calibration()
    shown = (committed.calibration if committed else (), ())
    calibration, estimators = _calibration(plan, base, found, tables, kept, folder) if calibrates else shown
    source = plan.study if calibrates else CALIBRATION if committed else None
    evidence = evidence_of(plan.skills, skills, tables)
    claims = corrected(account.claims(evidence, account.command))
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
        reproduce=_reproduce(plan, account, kept.values(), committed),
        provenance=provenance,
        taken={key: one.facts for key, one in kept.items()},
    )
    told = {"answer": account.answer(findings), "criteria": criteria(findings) if source == plan.study else ()}
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


def _reproduce(plan: StudyPlan, account: Account, kept: Iterable[Kept], shown: StudyFindings | None) -> dict[str, str]:
    """What -> the command that makes it again; `shown` is the committed calibration, where the page has it."""
    found = {
        "this study": f"{account.command} --precision '{plan.precision}'",
        **{f"what was taken from {one.words}, with the code of that commit": one.command for one in kept},
        "this page from its records": "rankscope report RUN_FOLDER",
    }
    if account.tuned_with:
        found["learning rates"] = account.tuned_with
    if shown:
        precision = shown.provenance.get("precision", "fp32")
        found["the calibration shown"] = f"rankscope study {shown.study} --precision '{precision}'"
    shipped = {"the base": f"rankscope base build {plan.base} --out FOLDER"} if plan.base in shipped_bases() else {}
    return found | shipped
