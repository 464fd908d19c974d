"""The example page's text and structure, without styles, scripts and drawings, against the accepted one."""

import os
from html.parser import HTMLParser
from pathlib import Path

from rankscope.report.page import render

ACCEPTED = Path(__file__).with_name("page.txt")
SKIPPED = {"style", "script", "svg"}
MARKED = {
    "h1",
    "h2",
    "h3",
    "section",
    "table",
    "tr",
    "figure",
    "figcaption",
    "details",
    "article",
    "li",
    "p",
    "caption",
}
VOID = {"meta", "br"}


class Outline(HTMLParser):
    """One line per structural element, holding the text below it; cells are separated by bars."""

    def __init__(self):
        super().__init__()
        self.lines = []
        self.skipping = 0

    def handle_starttag(self, tag, attrs):
        self.skipping += tag in SKIPPED
        if self.skipping or tag in VOID:
            return
        if tag in MARKED:
            self.lines.append(f"<{tag}>")
        if tag in ("td", "th"):
            self.lines[-1] += " |"

    def handle_endtag(self, tag):
        self.skipping -= tag in SKIPPED

    def handle_data(self, data):
        text = " ".join(data.split())
        if text and not self.skipping and self.lines:
            self.lines[-1] += f" {text}"


def outline(html):
    parser = Outline()
    parser.feed(html)
    return "\n".join(parser.lines) + "\n"


def test_the_example_page_reads_as_accepted(made_up):
    found = outline(render(made_up.example()))
    if os.environ.get("RANKSCOPE_GOLDEN_ACCEPT") == "1":
        ACCEPTED.write_text(found, encoding="utf-8")
    assert found == ACCEPTED.read_text(encoding="utf-8")
