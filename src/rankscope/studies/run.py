"""Runs a study by its name: open the folder, train, score, find, report. Stopped anywhere, the same call goes on."""

from collections.abc import Sequence
from pathlib import Path

from rankscope.base.errors import BadInput
from rankscope.base.paths import runs_root
from rankscope.runs.folder import RunFolder, verify_finished
from rankscope.studies.by_seed import frozen_precision, run_by_seed
from rankscope.studies.catalog import RankStudy, find_plan, find_study
from rankscope.studies.hash_paper import HashPaperPlan
from rankscope.studies.hash_paper_run import run_hash_paper
from rankscope.studies.kept import check_items, keep_records, kept_skills
from rankscope.studies.plan import StudyPlan
from rankscope.studies.progress import say
from rankscope.studies.rates import read_rates
from rankscope.studies.stages import Sitting, tell_cost
from rankscope.studies.study_findings import Account
from rankscope.studies.tuning import AT_EACH, GRID, run_tuning
from rankscope.train.precision import AUTO


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
    plan = plan.override(precision=frozen_precision(plan, folder, precision, device))
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
            tell_cost(cells, sitting, *(() if plan.tuned_by else (len(GRID), AT_EACH)))
        if plan.tuned_by:
            run_by_seed(plan, _account(plan), kept, sitting)
        else:
            run_tuning(plan, sitting)
        run.finish()
    return folder


def _refuse_taking(study: str, taken_from: Sequence[Path]) -> None:
    if taken_from:
        raise BadInput(
            f"{study} makes no findings on skills, so it can take none from an earlier run. Leave out --from."
        )


def _account(plan: StudyPlan) -> Account:
    entry, _ = find_study(plan.study)
    assert isinstance(entry, RankStudy)
    tuned_with = "; ".join(f"rankscope study {tuning}" for tuning in plan.tuned_by)
    return Account(entry.claims, entry.answer, read_rates(plan.tuned_by), f"rankscope study {plan.study}", tuned_with)
