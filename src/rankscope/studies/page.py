"""The page of a study in its run folder, with what is committed beside it."""

from pathlib import Path

from rankscope.rank.records import read_findings
from rankscope.report.page import write_report
from rankscope.runs.folder import RunFolder, verify_finished
from rankscope.runs.manifest import MANIFEST, read_manifest
from rankscope.studies.catalog import STUDIES

FINDINGS, REPORT = "records/findings.json", "report.html"
RESULTS = Path(__file__).parents[3] / "docs" / "results"
"""Committed studies; not part of an installed package."""


def committed_findings(study: str) -> Path | None:
    """Findings of the committed full form, to be shown beside another form of the same study."""
    stem, _, form = study.partition(":")
    path = RESULTS / stem / FINDINGS
    shown = stem in STUDIES and form in ("quick", "smoke") and stem in STUDIES[stem].plan(form).shows
    return path if shown and path.exists() else None


def write_page(folder: Path, target: Path) -> None:
    """Writes a study's report from the records in its folder, which need no run folder around them."""
    findings = read_findings(folder / FINDINGS)
    write_report(folder / FINDINGS, target, committed_findings(findings.study))


def rewrite_page(folder: Path, target: Path | None = None) -> Path:
    """Writes the report again and returns where; by default `report.html` in the folder.

    A page inside a finished run folder is among the files that `done.json` vouches for: under the folder's lock its
    files are verified, the mark is taken off, and set again over the new page. Raises BadFile when a file had
    changed or the records are missing, RunLocked when the study is still running.
    """
    path = target or folder / REPORT
    read_findings(folder / FINDINGS)
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
