"""`rankscope report` on records alone."""

from rankscope.rank.records import StudyFindings, write_findings

FINDINGS = {
    "study": "first_look:quick",
    "title": "How much rank do the two questions need?",
    "answer": ("Nothing was trained.",),
    "base": "tiny-gpt2",
    "base_hash": "0" * 64,
    "skills": (),
}


def test_report_is_written_again_from_the_records(rankscope, tmp_path):
    write_findings(tmp_path / "records" / "findings.json", StudyFindings.model_validate(FINDINGS))
    ran = rankscope("report", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert (ran.code, ran.out) == (0, f"Report: {tmp_path / 'report.html'}\n")
    assert FINDINGS["title"] in page
    rankscope("report", tmp_path, "--out", tmp_path / "elsewhere.html")
    assert (tmp_path / "elsewhere.html").read_text() == page


def test_a_run_without_findings_is_told_so(rankscope, tmp_path):
    ran = rankscope("report", tmp_path)
    assert ran.code == 2
    assert "findings.json is missing" in ran.err
    assert list(tmp_path.iterdir()) == []
