"""Findings as a notebook shows them."""

import rankscope
from rankscope.rank.records import StudyFindings, write_findings
from rankscope.report.notebook import findings_html


def test_what_read_findings_gives_shows_itself(made_up, tmp_path):
    written = made_up.example()
    write_findings(tmp_path / "records" / "findings.json", written)
    for path in (tmp_path, str(tmp_path), tmp_path / "records" / "findings.json"):
        found = rankscope.read_findings(path)
        assert isinstance(found, StudyFindings)
        assert found.model_dump() == written.model_dump()
        assert found._repr_html_() == findings_html(StudyFindings.model_validate(found.model_dump()))
        assert written.answer[0] in found._repr_html_()


def test_the_fragment_escapes_what_findings_say(made_up, tmp_path):
    written = made_up.example().override(title="<script>")
    write_findings(tmp_path / "findings.json", written)
    shown = rankscope.read_findings(tmp_path / "findings.json")._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
