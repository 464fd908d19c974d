"""A study seed by seed: train, score, and say after every whole seed what was found so far."""

import time
from collections.abc import Mapping
from pathlib import Path

from rankscope.base.device import resolve_device
from rankscope.lm.bases import load_base
from rankscope.rank.records import write_findings
from rankscope.runs.manifest import MANIFEST, read_manifest
from rankscope.studies.calibration_findings import write_summary
from rankscope.studies.kept import Kept
from rankscope.studies.page import FINDINGS, REPORT, write_page
from rankscope.studies.plan import StudyPlan
from rankscope.studies.provenance import run_facts
from rankscope.studies.stages import (
    Sitting,
    Trained,
    read_tables,
    score_stage,
    skill_tags,
    threads_of,
    train_stage,
    write_records,
)
from rankscope.studies.study_findings import Account, plants, study_findings
from rankscope.train.materials import first_items
from rankscope.train.precision import AUTO, resolve_precision


def run_by_seed(plan: StudyPlan, account: Account, kept: Mapping[str, Kept], sitting: Sitting) -> None:
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
        part, time_s = plan.first_seeds(n, whole=kept), time.monotonic() - started
        _conclude(part, account, trained, kept, sitting, time_s, partial)


def _is_trained_further(own: StudyPlan, n: int, sitting: Sitting) -> bool:
    """Whether the seed after the first n is trained too, as in a run that goes on: findings are not put back to n."""
    cells = [cell for *_, cell in own.first_seeds(n + 1).cells()] if n < own.n_seeds else []
    return bool(cells) and all(map(sitting.executor.has_finished, cells))


def _told_after(own: StudyPlan) -> range:
    """After how many seeds findings are written: each, but the last alone where every teacher's oracle is computed."""
    return range(own.n_seeds if plants(own) or not own.skills else 1, own.n_seeds + 1)


def frozen_precision(plan: StudyPlan, folder: Path, asked: str, device: str) -> str:
    """The plan that the run folder was frozen to, or the one to freeze it to."""
    if asked == AUTO and (folder / MANIFEST).exists():
        return str(read_manifest(folder)["resolved"].get("precision", plan.precision))
    base = load_base(plan.base)
    *_, first = next(iter(plan.cells()))
    return resolve_precision(asked, base, first_items(first, base), first.budget.batch_size, resolve_device(device))


def _conclude(
    plan: StudyPlan,
    account: Account,
    trained: list[Trained],
    kept: Mapping[str, Kept],
    sitting: Sitting,
    time_s: float,
    partial: str,
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
    findings = study_findings(plan, account, base, tables, provenance, folder, kept)
    write_findings(folder / FINDINGS, findings.override(partial=partial))
    if findings.calibration_source == plan.study:
        write_summary(folder, findings)
    write_page(folder, folder / REPORT)
