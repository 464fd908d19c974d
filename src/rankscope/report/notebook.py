"""Findings in notebooks: what `rankscope.read_findings` gives shows itself there."""

from pathlib import Path

from rankscope.rank import records
from rankscope.rank.records import StudyFindings
from rankscope.report import rank_tables, words
from rankscope.report.page import environment

IN_RUN_FOLDER = Path("records") / "findings.json"


class ShownFindings(StudyFindings):
    """Findings that show themselves as their answer, their rank table and the size of the run."""

    def _repr_html_(self) -> str:
        return findings_html(self)


def read_findings(path: Path | str) -> ShownFindings:
    """What a study found, from its run folder or its findings file. Raises BadFile as `rank.records` does."""
    path = Path(path)
    found = records.read_findings(path / IN_RUN_FOLDER if path.is_dir() else path)
    return ShownFindings.model_construct(**dict(found))


def findings_html(findings: StudyFindings) -> str:
    """Answer, size of the run and the rank table as an HTML fragment that brings its own small style."""
    template = environment().get_template("notebook.html")
    return template.render(
        findings=findings,
        sizes=words.size_lines(findings),
        honesty=words.honesty_line(findings),
        table=rank_tables.rank_table(findings),
    )
