import re
from pathlib import Path

import pytest

from rankscope.base.errors import BadFile
from rankscope.rank.records import read_findings, write_findings
from rankscope.report.notebook import findings_html
from rankscope.report.page import render, truncation_panel, write_report

ORDER = [
    *("answer", "claims", "scores", "ranks", "truncation"),
    *("spectra", "estimators", "rates", "recovery", "calibration", "details", "reproduce"),
]


@pytest.fixture(scope="module")
def page(made_up):
    return render(made_up.example())


def test_sections_stand_in_order(page):
    assert re.findall(r'<section id="(\w+)"', page) == ORDER


def test_flags_other_than_confounded_ones_are_folded_away_where_they_are_many(made_up):
    found = made_up.example()
    grave = "confounded: one lr for all ranks"
    assert any(grave in skill.flags for skill in found.skills)

    def with_flags(n_flags):
        first, *others = (one.override(flags=[flag for flag in one.flags if flag == grave]) for one in found.skills)
        flags = (*first.flags, *(f"trifle {i}" for i in range(n_flags)))
        return render(found.override(skills=[one.model_dump() for one in (first.override(flags=flags), *others)]))

    few, many = with_flags(3), with_flags(4)
    assert "more flags" not in few
    shown, folded = many.split("<summary>4 more flags</summary>")
    assert "Flagged: trifle 2" in few
    assert "trifle" not in shown
    assert all(f"Flagged: trifle {i}" in folded for i in range(4))
    assert grave in shown


def test_a_study_of_rank_1_alone_says_nothing_of_ranks(made_up):
    found = made_up.example()
    alone = [
        skill.override(
            required=(),
            functional=(),
            spectral=tuple(one.override(nominal_rank=1).model_dump() for one in skill.spectral),
        ).model_dump()
        for skill in found.skills
    ]
    text = render(found.override(skills=alone))
    assert re.findall(r'<section id="(\w+)"', text) == [
        one for one in ORDER if one not in ("ranks", "truncation", "spectra")
    ]
    assert re.findall(r'<section id="(\w+)"', render(found.override(skills=alone), found)) == ORDER


def test_hostile_names_never_become_markup(page, made_up):
    assert page.count("<script") == 1
    assert "alert(" in page
    assert made_up.HOSTILE not in page
    assert "<script>alert" not in findings_html(made_up.example())


def test_the_page_asks_for_nothing_from_outside(page):
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_every_picture_has_words_and_every_table_a_caption(page):
    assert page.count('<div role="img" aria-label="') == page.count('class="panel"')
    assert not re.search(r'role="img" aria-label=""', page)
    assert page.count("<table") == page.count("<caption")
    assert page.count("<figure>") == page.count("<figcaption>")


def test_every_dash_in_a_table_has_a_reason(page):
    blanks = re.findall(r'<td class="\w+ missing"([^>]*)>', page)
    assert len(blanks) > 20
    assert all(re.search(r'title="[^"]+"', attributes) for attributes in blanks)


def test_a_committed_study_is_labelled_in_every_section(tmp_path, made_up):
    quick, full = made_up.example(hostile=False), made_up.example(8, study="first_look:full", hostile=False)
    write_findings(tmp_path / "quick.json", quick)
    write_findings(tmp_path / "full.json", full)
    write_report(tmp_path / "quick.json", tmp_path / "out" / "report.html", tmp_path / "full.json")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert text.count("Committed run · first_look:full</p>") == len(ORDER)
    assert text.index("This run · first_look:quick") < text.index("Committed run")


def test_a_missing_findings_file_is_told(tmp_path):
    with pytest.raises(BadFile, match="missing"):
        write_report(tmp_path / "none.json", tmp_path / "report.html")


def test_bare_findings_still_make_a_whole_page(made_up):
    bare = made_up.example().override(skills=(), claims=(), calibration=(), reproduce={}, notes=())
    text = render(bare)
    assert 'id="claims"' not in text
    assert "What survives truncation" not in text


def test_of_skills_that_repeat_one_another_the_first_is_shown(made_up):
    found = made_up.example()
    planted = next(skill for skill in found.skills if skill.mode == "planted")
    again = [planted.override(name=f"teacher {n}", repeats="planted") for n in (1, 2, 3)]
    page = render(found.override(skills=[s.model_dump() for s in (*found.skills, *again)]))
    assert "teacher 1" in page
    assert "teacher 2" not in page
    assert "2 of 10 skills repeat one shown here" in page


def test_notebook_summary_shows_answer_sets_and_size(made_up):
    text = findings_html(made_up.example())
    assert "[8, 16] (underpowered)" in text
    assert "3 seeds × 400 items" in text


def test_a_truncation_says_how_many_items_it_was_scored_on_and_names_its_budgets():
    found = read_findings(Path(__file__).parents[3] / "docs/results/hash_rank/records/findings.json")
    skill = next(one for one in found.skills if one.functional)
    panel = truncation_panel(skill, skill.functional[0])
    assert (skill.n_items, "5 seeds × 150 items" in panel.subtitle) == (500, True)
    assert all(f">{k}<" in panel.svg for k in (0, 1, 2, 4, 8, 16, 32, 64))
