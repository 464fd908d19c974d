"""What was asked of the procedure and came out, on rows made by hand."""

import json

import pytest
from calibration_makers import required, skill

from rankscope.rank.records import CalibrationRow, NullTest, Resolution, SimulatedSets, StudyFindings, read_findings
from rankscope.stats.proportion import clopper_pearson
from rankscope.studies.calibration_criteria import criteria, overlaps, rate_verdict, relabel_rows
from rankscope.studies.calibration_findings import SUMMARY
from rankscope.studies.page import FINDINGS, RESULTS


def found_with(**more) -> StudyFindings:
    fields = {"study": "", "title": "", "answer": (), "base": "", "base_hash": "", "skills": ()}
    return StudyFindings(**(fields | more))


def row(**more) -> CalibrationRow:
    fields = {"truth": "", "planted_k": 4, "sites": ("a",), "noise": "none", "n_repeats": 200, "n_judged": 200}
    fields |= {"covered": 190, "covered_by_cut": 190, "coverage_low": None, "coverage_high": None}
    fields |= {"median_doublings": 1.0, "functional_rank": "", "n_functional": 10, "functional_within_one": 10}
    return CalibrationRow(**(fields | more))


def verdicts(*rows: CalibrationRow, **more) -> list[tuple[str, str]]:
    return [(one.asked, one.verdict) for one in criteria(found_with(calibration=rows, **more))]


def test_a_rate_is_met_where_its_interval_holds_what_was_promised() -> None:
    assert rate_verdict((0.94, 0.96), 0.95) == "met"
    assert rate_verdict((0.96, 1.0), 0.95) == "exceeded"
    assert rate_verdict((0.68, 0.85), 0.95) == "unmet"


@pytest.mark.parametrize(
    ("n_hit", "n", "verdict"),
    [
        (0, 1, "not shown"),
        (1, 1, "not shown"),
        (17, 20, "not shown"),
        (95, 100, "not shown"),
        (190, 200, "met"),
        (126, 127, "exceeded"),
        (15, 20, "unmet"),
        (91, 127, "unmet"),
    ],
)
def test_a_few_repeats_show_no_rate_though_their_interval_holds_it(n_hit: int, n: int, verdict: str) -> None:
    """0 of 1 has 0 to .975, 95 of 100 has .887 to .984, 190 of 200 has .910 to .976; asked are .95, above .90."""
    assert rate_verdict(clopper_pearson(n_hit, n), 0.95) == verdict


def test_a_rate_that_too_few_repeats_show_says_so() -> None:
    rows = (row(n_repeats=20, n_judged=20, covered=17, covered_by_cut=17),)
    first, by_cut = criteria(found_with(calibration=rows))[:2]
    assert (first.verdict, by_cut.verdict) == ("not shown", "not shown")
    assert first.remark.endswith("(decision 15). Too few to tell: an interval allows errors in 10% or more.")


def test_the_kept_criteria_follow_from_the_kept_findings() -> None:
    kept = read_findings(RESULTS / "calibration" / FINDINGS)
    assert criteria(kept) == kept.criteria
    said = json.loads((RESULTS / "calibration" / SUMMARY).read_text(encoding="utf-8"))
    assert [one.model_dump(mode="json") for one in criteria(kept)] == said["criteria"]


def test_both_truths_widths_and_functional_ranks() -> None:
    """200 of 200 has a lower end of .025^(1/200) = .982; 160 of 200 an upper one far below .95."""
    good = verdicts(row())
    assert [verdict for _, verdict in good] == ["met", "met", "met", "met", "unmet", "unmet"]
    bad = verdicts(row(covered=200, covered_by_cut=160, median_doublings=1.5, functional_within_one=9))
    assert [verdict for _, verdict in bad] == ["exceeded", "unmet", "unmet", "unmet", "unmet", "unmet"]
    assert verdicts() == []


def test_what_was_tried_needs_two_levels_of_noise_and_the_same_ranks_at_several_sites() -> None:
    tried = [row(planted_k=16), row(sites=("a", "b")), row(noise="64 tokens drawn")]
    assert [verdict for _, verdict in verdicts(*tried)[-2:]] == ["unmet", "unmet"]
    more = [*tried, row(noise="8 tokens drawn"), row(planted_k=16, sites=("a", "b"))]
    assert [verdict for _, verdict in verdicts(*more)[-2:]] == ["met", "met"]


def simulated(covered: int, ends: tuple[float, float], width: float) -> SimulatedSets:
    return SimulatedSets(
        family="f", n_seeds=5, n_items=9, n_curves=100, covered=covered, coverage_low=ends[0], coverage_high=ends[1],
        median_doublings=width,
    )  # fmt: skip


def test_one_kind_of_curve_that_fails_is_a_criterion_unmet() -> None:
    exact, wide = simulated(95, (0.91, 0.97), 0.0), simulated(100, (0.96, 1.0), 2.0)
    assert [verdict for _, verdict in verdicts(simulated=(exact, exact))] == ["met", "met"]
    assert [verdict for _, verdict in verdicts(simulated=(exact, wide))] == ["exceeded", "unmet"]
    assert verdicts(simulated=(wide, exact, simulated(4, (0.4, 1.0), 0)))[0][1] == "not shown"
    assert verdicts(simulated=(wide, simulated(50, (0.4, 0.6), 0)))[0][1] == "unmet"
    nulls = [NullTest(test="t", n_nulls=100, rejected=5, low=0.02, high=high) for high in (0.09, 0.1, 0.04)]
    assert [verdicts(nulls=(null,))[0][1] for null in nulls] == ["met", "not shown", "exceeded"]
    assert verdicts(nulls=(NullTest(test="t", n_nulls=100, rejected=20, low=0.1, high=0.3),))[0][1] == "unmet"


def relabelled(*ends: tuple[int, int]):
    """Skills whose permutations move 2, 8 and 32 symbols: rank of P - I 1, 4 and 16."""
    return tuple(
        skill(
            f"{moved}", mode="relabel", required=(required(*set_),),
            task=f"relabel:moved={moved},lines=6,chains=2,max_length=4,distractors=1",
        )
        for moved, set_ in zip((2, 8, 32), ends, strict=True)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ends", "shared", "verdict"),
    [
        (((1, 1), (2, 2), (4, 4)), [], "met"),
        (((2, 2), (4, 4), (4, 8)), [(4, 16)], "not shown"),
        (((1, 2), (2, 4), (None, None)), [(1, 4), (4, 16)], "not shown"),
        (((2, 2), (4, 4), (2, 2)), [], "unmet"),
    ],
)
def test_a_rise_is_shown_by_sets_that_share_no_rank(ends, shared, verdict) -> None:
    skills = relabelled(*ends)
    assert [one["rank"] for one in relabel_rows(skills)] == [1, 4, 16]
    assert overlaps(relabel_rows(skills)) == shared
    assert [found for _, found in verdicts(skills=skills)] == [verdict]


def test_the_stricter_share_stands_beside_sets_that_overlap() -> None:
    fields = {"study": "", "title": "", "answer": (), "base": "", "base_hash": ""}
    skills = [
        one.override(required=(*one.required, required(*ends).override(q=0.95)))
        for one, ends in zip(relabelled((2, 2), (4, 4), (4, 8)), ((2, 2), (4, 4), (8, 8)), strict=True)
    ]
    seen = Resolution(n_seeds=5, seen=0.008, detectable=0.046, more_seeds=None)
    *others, last = skills
    undecided = last.required[0].override(resolution={4: seen})
    skills = [*others, last.override(required=[undecided.model_dump(), last.required[1].model_dump()])]
    (found,) = criteria(StudyFindings(**fields, skills=skills))
    assert (found.verdict, found.found) == ("not shown", "2 at 1, 4 at 4, between 4 and 8 at 16")
    assert found.remark == (
        "Between 4 and 16 the sets overlap. On rank 4 for 32: with 5 seeds this design sees a contrast of 4.6 points; "
        "it saw 0.8; more seeds alone would not decide it. For 95% of the gain, looked at after this had come out, "
        "they are 2 at 1, 4 at 4, 8 at 16, which share no rank."
    )


def test_shuffled_labels_say_when_they_could_hardly_have_failed() -> None:
    easy = skill("shuffled", mode="null", ranks=(0, 0), chance=1 / 3, score=0.102)
    fair = skill("shuffled", mode="null", ranks=(0, 0), chance=1 / 3, score=0.4)
    fields = {"study": "", "title": "", "answer": (), "base": "", "base_hash": ""}
    (first,) = criteria(StudyFindings(**fields, skills=(easy,)))
    assert (first.verdict, first.found) == ("met", "2 of 2 adapters, of rank 4")
    assert "score 10.2%, a guess among the candidates 33.3%" in first.remark
    assert criteria(StudyFindings(**fields, skills=(fair,)))[0].remark == ""
    found = skill("shuffled", mode="null", ranks=(0, 3))
    assert criteria(StudyFindings(**fields, skills=(found,)))[0].verdict == "unmet"
