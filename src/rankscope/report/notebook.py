"""A compact summary of findings for notebooks."""

from rankscope.rank.records import StudyFindings
from rankscope.report import tables, words
from rankscope.report.page import environment


def findings_html(findings: StudyFindings) -> str:
    """Answer, size of the run and the rank table as an HTML fragment that brings its own small style."""
    template = environment().get_template("notebook.html")
    return template.render(
        findings=findings,
        sizes=words.size_lines(findings),
        honesty=words.honesty_line(findings),
        table=tables.rank_table(findings),
    )
