"""A report written again: what is committed stands beside it, and a finished folder stays finished."""

import pytest

from rankscope.base.errors import BadFile, RunLocked
from rankscope.interpret.look_records import write_look
from rankscope.rank.records import StudyFindings, read_findings, write_findings
from rankscope.runs.folder import RunFolder, is_finished, verify_finished
from rankscope.studies import page
from rankscope.studies.page import FINDINGS, RESULTS, committed_findings, rewrite_page
from tests.look_records_maker import look_record

RESOLVED = {"study": "first_look:quick"}


def findings(study: str, title: str) -> StudyFindings:
    return StudyFindings(study=study, title=title, answer=("x",), base="tiny-gpt2", base_hash="0", skills=())


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Committed results of the full study."""
    monkeypatch.setattr(page, "RESULTS", tmp_path / "results")
    write_findings(tmp_path / "results" / "first_look" / FINDINGS, findings("first_look:full", "Committed"))
    return tmp_path / "results"


@pytest.fixture
def run(tmp_path):
    """A finished run folder whose page is an old one."""
    folder = tmp_path / "run"
    with RunFolder.open(folder, RESOLVED, "study") as opened:
        write_findings(folder / FINDINGS, findings("first_look:quick", "This run"))
        (folder / "report.html").write_text("old")
        opened.finish()
    return folder


def test_committed_results_stand_beside_the_short_forms_of_the_same_study(results):
    path = results / "first_look" / FINDINGS
    forms = ("full", "quick", "smoke", "tune")
    assert [committed_findings(f"first_look:{form}") for form in forms] == [None, path, path, None]
    write_findings(results / "calibration" / FINDINGS, findings("calibration:quick", ""))
    assert committed_findings("calibration:quick") is None
    assert committed_findings("someone's:quick") is None


@pytest.mark.usefixtures("results")
def test_a_finished_folder_vouches_for_its_new_page(run):
    assert rewrite_page(run) == run / "report.html"
    verify_finished(run)
    written = (run / "report.html").read_text()
    assert "This run" in written
    assert "first_look:full" in written
    with RunFolder.open(run, RESOLVED, "study") as opened:
        assert opened.finished


@pytest.mark.usefixtures("results")
def test_a_page_elsewhere_touches_nothing_in_the_folder(run, tmp_path):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    rewrite_page(run, tmp_path / "elsewhere.html")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert "first_look:full" in (tmp_path / "elsewhere.html").read_text()


def test_a_folder_that_was_tampered_with_is_not_vouched_for_again(run):
    (run / "notes.txt").write_text("added later")
    (run / FINDINGS).write_text((run / FINDINGS).read_text().replace("This run", "Other"))
    done = (run / "done.json").read_bytes()
    with pytest.raises(BadFile, match="findings.json has changed"):
        rewrite_page(run)
    assert (run / "report.html").read_text() == "old"
    assert (run / "done.json").read_bytes() == done


def test_an_unfinished_folder_stays_unfinished_and_a_busy_one_is_told(run):
    with RunFolder.open(run, RESOLVED, "study") as opened:
        opened.reopen()
        with pytest.raises(RunLocked):
            rewrite_page(run)
    rewrite_page(run)
    assert not is_finished(run)
    assert "This run" in (run / "report.html").read_text()


def test_a_look_is_written_again_from_its_record(tmp_path):
    write_look(tmp_path / "look.json", look_record())
    assert rewrite_page(tmp_path) == tmp_path / "report.html"
    elsewhere = rewrite_page(tmp_path, tmp_path / "other.html")
    assert elsewhere.read_text() == (tmp_path / "report.html").read_text()
    (tmp_path / "look.json").write_text("{}")
    with pytest.raises(BadFile, match=r"look\.json"):
        rewrite_page(tmp_path)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/records/findings.json")), ids=lambda path: path.parts[-3])
def test_committed_findings_of_earlier_versions_are_still_read(path):
    found = read_findings(path)
    assert found.partial == ""
    assert all(claim.n_declared >= 1 for claim in found.claims)
    assert all(claim.n_declared == len(found.claims) for claim in found.claims if claim.p_holm is not None)
