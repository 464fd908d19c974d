"""The page of a study in its run folder, with what is committed beside it."""

from pathlib import Path

from rankscope.interpret.look_records import LOOK_FILE
from rankscope.rank.paper_records import read_paper_findings
from rankscope.rank.records import read_findings
from rankscope.report.look_page import write_look_page
from rankscope.report.page import write_report
from rankscope.report.paper_page import write_paper_report
from rankscope.runs.folder import RunFolder, verify_finished
from rankscope.runs.manifest import MANIFEST, read_manifest
from rankscope.studies.catalog import STUDIES
from rankscope.studies.plan import StudyPlan

FINDINGS, PAPER_FINDINGS, REPORT = "records/findings.json", "records/hash_paper.json", "report.html"
RESULTS = Path(__file__).parents[3] / "docs" / "results"
"""Committed studies; not part of an installed package."""


def committed_findings(study: str) -> Path | None:
    """Findings of the committed full form, to be shown beside another form of the same study."""
    stem, _, form = study.partition(":")
    path = RESULTS / stem / FINDINGS
    plan = STUDIES[stem].plan(form) if stem in STUDIES and form in ("quick", "smoke") else None
    return path if isinstance(plan, StudyPlan) and stem in plan.shows and path.exists() else None


def write_page(folder: Path, target: Path) -> None:
    """Writes the report of a study or a look from the records in its folder, which need no run folder around them."""
    if (folder / LOOK_FILE).exists():
        write_look_page(folder, target)
        return
    if (folder / PAPER_FINDINGS).exists():
        write_paper_report(folder / PAPER_FINDINGS, target)
        return
    findings = read_findings(folder / FINDINGS)
    write_report(folder / FINDINGS, target, committed_findings(findings.study))


def rewrite_page(folder: Path, target: Path | None = None) -> Path:
    """Writes the report again and returns where; by default `report.html` in the folder.

    A page inside a finished run folder is among the files that `done.json` vouches for: under the folder's lock its
    files are verified, the mark is taken off, and set again over the new page. Raises BadFile when a file had
    changed or the records are missing, RunLocked when the study is still running.
    """
    path = target or folder / REPORT
    _check_records(folder)
    if not (folder / MANIFEST).exists() or not path.resolve().is_relative_to(folder.resolve()):
        write_page(folder, path)
        return path
    manifest = read_manifest(folder)
    with RunFolder.open(folder, manifest["resolved"], manifest["kind"]) as run:
        finished = run.finished
        if finished:
            verify_finished(folder)
            run.reopen()
        write_page(folder, path)
        if finished:
            run.finish()
    return path


def _check_records(folder: Path) -> None:
    """Raises BadFile unless the folder holds the findings of a study, or a look."""
    if (folder / LOOK_FILE).exists():
        return  # read on writing its page, which needs no run folder
    if (folder / PAPER_FINDINGS).exists():
        read_paper_findings(folder / PAPER_FINDINGS)
    else:
        read_findings(folder / FINDINGS)
