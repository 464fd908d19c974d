"""The page of hash_paper from findings made up here."""

import re

import altair as alt
import pytest

from rankscope.base.errors import BadFile
from rankscope.rank.paper_records import (
    ConfigurationNumbers,
    GroupPoint,
    HashPaperFindings,
    PublishedNumber,
    SweepPoint,
    TaskNumbers,
    TokenFacts,
    read_paper_findings,
    write_paper_findings,
)
from rankscope.report.figures import specification
from rankscope.report.paper_figures import accuracy_layers, threshold_layers
from rankscope.report.paper_page import render_paper, write_paper_report
from rankscope.stats.interval import Interval
from rankscope.studies.hash_paper_words import answer

HOSTILE = "<script>alert('x')</script>"


def interval(estimate: float, half: float = 0.05) -> Interval:
    return Interval(
        estimate=estimate, low=estimate - half, high=estimate + half, method="made up", n_seeds=1, n_items=100
    )


def numbers(accuracy: float, rank: float, first: bool = False) -> TaskNumbers:
    return TaskNumbers(
        retrained=not first,
        accuracy=interval(accuracy),
        change=None if first else interval(-0.2),
        base=interval(accuracy - 0.1),
        gain=interval(0.1),
        effective_rank=rank,
        by_layer=(rank - 1, rank + 1),
        functional=(3, 0),
    )


def row(key: str, first: bool = False) -> ConfigurationNumbers:
    return ConfigurationNumbers(
        key=key,
        title=f"{key} {HOSTILE}",
        planning=numbers(0.6, 10, first),
        reasoning=numbers(0.3, 5, first),
    )


def point(task: str, rank: int) -> SweepPoint:
    curve = {"1e-1": 1.0, "1e-2": 2.0, "1e-3": 4.0} if rank else {}
    return SweepPoint(
        task=task,
        rank=rank,
        as_published=interval(0.4),
        clean=interval(0.7),
        thresholds=curve,
        absolute_count=float(rank) if rank else None,
        top5_share=0.8 if rank else None,
    )


FINDINGS = HashPaperFindings(
    study="hash_paper:quick",
    title=f"Title {HOSTILE}",
    base="small GPT-2",
    answer=("An answer.",),
    setting=("A setting.",),
    configurations=(row("published", first=True), row("ban"), row("clean")),
    sweep=tuple(point(task, rank) for task in ("planning", "reasoning") for rank in (0, 2, 8)),
    groups=tuple(
        GroupPoint(
            task=task,
            group=2,
            n_items=50,
            trained=True,
            base=interval(0.2),
            as_published=interval(0.3),
            clean=interval(0.4),
            paper=paper,
        )
        for task, paper in (("planning", 0.84), ("reasoning", None))
    ),
    tokens=tuple(
        TokenFacts(
            task=task,
            tokens_per_hash=3.1,
            splits_differ=0.2,
            whole_allowed=interval(0.26),
            first_three_allowed=interval(0.61),
        )
        for task in ("planning", "reasoning")
    ),
    published=(PublishedNumber(name="a figure", published="1", ours="2"),),
    limits=("A limit.",),
)


@pytest.fixture(scope="module")
def page() -> str:
    return render_paper(FINDINGS)


def test_numbers_stand_on_the_page_with_their_intervals_and_signs(page: str) -> None:
    for text in ("60.0", "[55.0, 65.0]", "−20.0", "[−25.0, −15.0]", "+10.0", "2.00", "3, 0", "84.0"):
        assert text in page, text


def test_names_never_become_markup_and_nothing_comes_from_outside(page: str) -> None:
    assert page.count("<script") == 1
    assert "&lt;script&gt;alert" in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert "url(" not in page


def test_every_picture_has_words_and_every_blank_a_reason(page: str) -> None:
    assert page.count('<div role="img" aria-label="') == page.count('class="panel"') == 4
    assert not re.search(r'role="img" aria-label=""', page)
    blanks = re.findall(r'<td class="\w+ missing"([^>]*)>', page)
    assert blanks
    assert all(re.search(r'title="[^"]+"', attributes) for attributes in blanks)


def test_thresholds_are_readable_and_fall_from_left_to_right(page: str) -> None:
    labels = [page.index(f">{t}</text>") for t in ("1e-1", "1e-2", "1e-3")]
    assert labels == sorted(labels)


def test_specifications_are_what_altair_accepts() -> None:
    mine = [one for one in FINDINGS.sweep if one.task == "planning"]
    for layers in (accuracy_layers(mine), threshold_layers(mine[1:])):
        alt.Chart.from_dict(specification(layers, 10, 200, 100), validate=True)


def test_findings_come_back_as_written_and_damaged_ones_are_refused(tmp_path) -> None:
    path = tmp_path / "findings.json"
    write_paper_findings(path, FINDINGS)
    assert read_paper_findings(path) == FINDINGS
    write_paper_report(path, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == render_paper(FINDINGS)
    path.write_text(path.read_text()[:-50])
    with pytest.raises(BadFile, match="no findings file"):
        read_paper_findings(path)
    with pytest.raises(BadFile, match="missing"):
        read_paper_findings(tmp_path / "none.json")


def test_the_ratio_is_planning_over_reasoning() -> None:
    assert FINDINGS.configuration("published").ratio(FINDINGS.largest) == 2.0


def test_counts_that_are_the_nominal_rank_have_no_ratio() -> None:
    both = numbers(0.6, 8.0).model_dump()
    saturated = FINDINGS.override(
        configurations=[one.override(planning=both, reasoning=both).model_dump() for one in FINDINGS.configurations]
    )
    assert saturated.configurations[0].ratio(saturated.largest) is None
    assert "both are the nominal rank, 8" in render_paper(saturated)
    said = " ".join(answer(saturated.configurations, saturated.sweep, saturated.tokens))
    assert "is 8 on both tasks in every setting" in said
    assert "1.00" not in said


def test_settings_in_which_nothing_was_learnt_say_so_first() -> None:
    still = numbers(0.3, 5.0).override(gain=interval(0.001).model_dump()).model_dump()
    nothing = [one.override(planning=still, reasoning=still) for one in FINDINGS.configurations]
    said = answer(nothing, FINDINGS.sweep, FINDINGS.tokens)
    assert said[0].startswith("No adapter is surely better than its base, in any setting")
    assert "surely better" not in answer(FINDINGS.configurations, FINDINGS.sweep, FINDINGS.tokens)[0]
