"""The claim's verdict rule, branch by branch, and the sentences on top of a report."""

import numpy as np
import pytest

from rankscope.rank.records import (
    CalibrationRow,
    ClaimCard,
    CurvePoint,
    FunctionalRank,
    RequiredRank,
    Resolution,
    SkillFindings,
    StudyFindings,
)
from rankscope.rank.required import RankRatio
from rankscope.stats.interval import Interval
from rankscope.studies.answers import calibration_answer, first_look_answer, held_words
from rankscope.studies.claims import first_look_claims, judge
from rankscope.studies.evidence import Evidence, corrected
from rankscope.studies.first_look import RULE


def interval(estimate: float) -> Interval:
    return Interval(
        estimate=estimate, low=None, high=None, level=0.975, method="", n_seeds=5, n_items=9, by_seed=(estimate,) * 5
    )


def needs(low: int | None, high: int | None, verdict: str = "estimated", ranks: tuple[int, ...] = (1, 2, 4, 8)):
    """Required rank read off at `high`, or off none."""
    return RequiredRank(
        q=0.9,
        verdict=verdict,
        low=low,
        high=high,
        by_rank=dict.fromkeys(ranks, "undecided"),
        contrast={rank: interval(0.01 if high and rank >= high else -0.01) for rank in ranks},
        sentence=f"Needs {low} to {high}.",
    )


def point(arm: str, score: float, rank: int | None = None) -> CurvePoint:
    return CurvePoint(arm=arm, rank=rank, lr=0.01, score=interval(score), gain=interval(score))


def skill(name: str, mode: str, required: tuple[RequiredRank, ...] = (), n_seeds: int = 5, **more) -> SkillFindings:
    fields = {
        "name": name,
        "task": "t",
        "mode": mode,
        "n_seeds": n_seeds,
        "n_items": 9,
        "budget": "300 steps of 32 items, each seen once",
        "chance": None,
        "chance_forced": None,
        "base_score": 0.0,
        "curve": (point("rank 4", 0.6, 4), point("rank 1", 0.25, 1), point("full", 0.987)),
        "required": required,
    }
    return SkillFindings(**(fields | more))


def ratio(low: float | None, high: float | None) -> RankRatio:
    return RankRatio(estimate=None, low=low, high=high, level=0.95)


@pytest.mark.parametrize(
    ("low", "high", "verdict", "because"),
    [
        (1.5, 4.0, "supported", "lies above 1, within the paper's 2-3 times."),
        (1.4, 4.0, "supported", "lies above 1, the paper's size of it undecided."),
        (2.0, None, "supported", "lies above 1, the paper's size of it undecided."),
        (2.0, 8.0, "supported", "lies above 1, the paper's size of it undecided."),
        (0.25, 1.0, "refuted", "lies at or below 1"),
        (None, 0.5, "refuted", "lies at or below 1"),
        (1.0, 2.0, "undecided", "holds 1"),
        (0.5, 2.0, "undecided", "holds 1"),
        (None, None, "undecided", "holds 1"),
    ],
)
def test_the_rule_reads_the_whole_ratio(low, high, verdict, because):
    found = judge(ratio(low, high), 5, needs(4, 4), needs(2, 2))
    assert found[0] == verdict
    assert because in found[1]
    assert "HashHop: Needs 4 to 4. HashChain: Needs 2 to 2." in found[1]


def test_few_seeds_come_first():
    assert judge(ratio(2, 3), 1, needs(4, 4), needs(2, 2))[1].startswith("1 seed; at least 5")
    assert judge(ratio(2, 3), 4, needs(4, 4), needs(2, 2, "no headroom"))[0] == "underpowered"


@pytest.mark.parametrize("blocked", ["no headroom", "placement-limited", "not converged", "underpowered"])
@pytest.mark.parametrize("planning_is_blocked", [True, False])
def test_a_rank_that_could_not_be_told_decides_nothing(blocked, planning_is_blocked):
    pair = (needs(4, 4, blocked), needs(2, 2)) if planning_is_blocked else (needs(4, 4), needs(2, 2, blocked))
    verdict, because = judge(ratio(2, 2), 5, *pair)
    assert verdict == "undecided"
    assert "could not be told" in because


@pytest.mark.parametrize("told", ["estimated", "censored below", "not reached"])
def test_one_sided_sets_still_decide(told):
    assert judge(ratio(2, None), 5, needs(9, None, told), needs(2, 2))[0] == "supported"


def less_rank_card(skills: tuple[SkillFindings, ...], command: str, level: float = 1.0) -> ClaimCard | None:
    """The card, or None; sets come out as they are up to a level, and say nothing above it."""

    def required_at(one: SkillFindings, asked: float) -> RequiredRank:
        return one.required[0] if asked <= level else needs(None, None, "underpowered")

    def contrast_SN(terms, _score) -> np.ndarray:
        """Two points short in the mean, by seed 1 to 3; items add nothing."""
        ((_, arm, weight), (_, dense, share)) = terms
        assert (arm[:5], weight, dense, share) == ("rank ", 1.0, "dense", -0.9)
        return np.tile(np.array([-0.03, -0.02, -0.01, -0.02, -0.02])[:, None], 9)

    cards = first_look_claims(Evidence(skills, required_at, lambda *_: interval(0.5), contrast_SN), command)
    return cards[0] if cards else None


def test_the_card_puts_planning_over_reasoning():
    skills = (skill("HashChain", "matched", (needs(2, 2),)), skill("HashHop", "matched", (needs(4, 4),)))
    card = less_rank_card(skills, "rankscope study x")
    assert (card.verdict, card.rule, card.command) == ("supported", RULE, "rankscope study x")
    assert card.estimate == "required rank HashHop / HashChain: 2, interval 1.5 to 2 (level 95%)"
    assert any("98.7%" in limit for limit in card.limits)
    assert card.limits[-1].startswith("Required rank is an upper bound")
    swapped = (skill("HashChain", "matched", (needs(4, None),)), skill("HashHop", "matched", (needs(None, 2),)))
    card = less_rank_card(swapped, "")
    assert card.verdict == "refuted"
    assert card.estimate == "required rank HashHop / HashChain: interval no lower bound to 0.667 (level 95%)"


def test_rates_that_were_not_tuned_forbid_a_verdict():
    flag = "confounded: rates not tuned"
    skills = (
        skill("HashChain", "matched", (needs(2, 2),), flags=(flag,)),
        skill("HashHop", "matched", (needs(8, 8),)),
    )
    card = less_rank_card(skills, "")
    assert card.verdict == "undecided"
    assert card.because.startswith("It would be supported, but the learning rates of HashChain are confounded.")
    assert card.limits[-1] == f"HashChain: {flag}"


def test_a_failing_rank_that_still_improves_forbids_a_verdict():
    failing = needs(8, 8).override(by_rank={1: "insufficient", 4: "insufficient", 8: "sufficient"})
    rising = point("rank 4", 0.6, 4).override(not_converged_seeds=3)
    skills = (
        skill("HashChain", "matched", (needs(2, 2),)),
        skill("HashHop", "matched", (failing,), curve=(rising, point("full", 0.98))),
    )
    card = less_rank_card(skills, "")
    assert (card.verdict, "largest rank that fails was still improving" in card.because) == ("undecided", True)


def test_the_seeds_of_the_weaker_skill_count():
    skills = (skill("HashChain", "matched", (needs(2, 2),), 4), skill("HashHop", "matched", (needs(4, 4),)))
    assert less_rank_card(skills, "").verdict == "underpowered"


def test_no_card_without_both_matched_skills():
    hop, chain = skill("HashHop", "matched", (needs(4, 4),)), skill("HashChain", "trace", (needs(2, 2),))
    assert less_rank_card((hop, chain), "") is None
    assert less_rank_card((hop, skill("HashChain", "matched")), "") is None


def test_the_p_value_is_the_smallest_error_at_which_the_rule_decides():
    skills = (skill("HashChain", "matched", (needs(2, 2),)), skill("HashHop", "matched", (needs(4, 4),)))
    assert less_rank_card(skills, "", level=0.98).p_value == pytest.approx(0.02, rel=0.01)
    assert less_rank_card(skills, "").p_value == 1e-6
    weak = less_rank_card(skills, "", level=0.9)
    assert weak.p_value == pytest.approx(0.1, rel=0.01)
    stuck = (skill("HashChain", "matched", (needs(2, 2, "not converged"),)), skills[1])
    card = less_rank_card(stuck, "")
    assert (card.verdict, card.p_value) == ("undecided", None)
    assert card.power.startswith("More seeds alone would not decide it: HashChain is not converged. What 5 seeds")


def test_an_undecided_claim_says_what_its_seeds_could_see():
    seen = Resolution(n_seeds=5, seen=0.008, detectable=0.021, more_seeds=9)
    never = seen.override(more_seeds=None)
    skills = (
        skill("HashChain", "matched", (needs(4, 4).override(resolution={2: seen.model_dump()}),)),
        skill("HashHop", "matched", (needs(4, 4).override(resolution={1: never.model_dump()}),)),
    )
    card = less_rank_card(skills, "")
    assert card.verdict == "undecided"
    assert card.power == (
        "HashHop, rank 1: with 5 seeds this design sees a contrast of 2.1 points; it saw 0.8; more seeds alone would "
        "not decide it. HashChain, rank 2: with 5 seeds this design sees a contrast of 2.1 points; it saw 0.8; about "
        "9 more seeds would decide it."
    )
    stuck = skill("HashHop", "matched", (needs(4, 4, "not converged"),))
    sees = "rank 4: 1.2 (saw -2)"
    assert less_rank_card((skills[0], stuck), "").power == (
        "More seeds alone would not decide it: HashHop is not converged. What 5 seeds can see, in points from 90% of "
        f"dense's gain: HashHop, {sees}; HashChain, {sees}."
    ), "t(4) at .975 and .8 are 2.776 and .941: 3.717 * .00707 / sqrt(5) = .0118"
    decided = less_rank_card((skills[0], skill("HashHop", "matched", (needs(8, 8),))), "")
    assert (decided.verdict, decided.power) == ("supported", "")


def claim(p_value: float | None, verdict: str = "supported") -> ClaimCard:
    return ClaimCard(
        claim="c", source="", rule="", estimate="", verdict=verdict, because="So.", limits=(), command="",
        p_value=p_value,
    )  # fmt: skip


def test_a_verdict_holds_only_if_it_survives_holm():
    strong, weak, open_, untold = corrected((claim(0.01), claim(0.03), claim(0.2, "undecided"), claim(None, "x")))
    assert (strong.verdict, strong.p_holm, strong.n_declared) == ("supported", pytest.approx(0.04), 4)
    assert (weak.verdict, weak.p_holm) == ("undecided", pytest.approx(0.09))
    assert weak.because.startswith(
        "By its rule alone it would be supported (p = 0.03), but the study declares 4 claims"
    )
    assert weak.because.endswith("So.")
    assert weak.power.startswith("Whatever the other claims' values, it would stand with a p of 0.013 of its own.")
    assert "about 2.4 times as much data, seeds and items alike," in weak.power
    assert strong.power == open_.power == ""
    assert (open_.verdict, open_.p_holm, open_.because) == ("undecided", pytest.approx(0.4), "So.")
    assert (untold.verdict, untold.p_holm, untold.n_declared) == ("x", None, 4)
    (alone,) = corrected((claim(0.03, "refuted"),))
    assert (alone.verdict, alone.p_holm) == ("refuted", 0.03)
    assert corrected(()) == ()


def row(truth: str, covered: int, low: float | None, functional: str = "") -> CalibrationRow:
    return CalibrationRow(
        truth=truth,
        n_repeats=6,
        n_judged=5,
        covered=covered,
        coverage_low=low,
        coverage_high=None,
        median_doublings=None,
        functional_rank=functional,
    )


def null(median: float) -> SkillFindings:
    rank = FunctionalRank(arm="rank 4", q=0.9, no_gain=False, median=median, by_seed=(1,), low=None, high=None)
    return skill("shuffled", "null", functional=(rank,))


def test_the_answer_says_each_finding_once():
    skills = (
        skill("HashHop", "matched", (needs(4, 4), needs(8, 8))),
        skill("HashChain", "matched", (needs(2, 2),)),
        skill("HashHop", "trace"),
        skill("HashChain", "trace", curve=(point("rank 1", 0.05, 1), point("full", 1.0))),
        null(0),
    )
    claim = ClaimCard(
        claim="this needs that", source="", rule="", estimate="", verdict="refuted", because="", limits=(), command=""
    )
    rows = (row("planted rank 1", 5, 0.5), row("planted rank 2", 4, 0.3), row("Shuffled labels (rank 0)", 5, None))
    said = first_look_answer(skills, (claim,), rows)
    assert said[:3] == (
        "HashHop (matched): Needs 4 to 4.",
        "HashChain (matched): Needs 2 to 2.",
        '"This needs that": refuted.',
    )
    assert "HashHop reaches 25% at rank 1, HashChain 5%" in said[3]
    assert said[4].endswith("comes out 0, as it must.")
    held = "Where the rank is known, the same procedure's 95 % sets held it in 9 of 10 repeats"
    assert said[5] == f"{held} (2 of 12 repeats could not be judged)."
    assert len(said) == 6


def test_a_null_with_rank_is_a_warning_and_nothing_found_is_nothing_said():
    assert "comes out 1.5, though" in first_look_answer((null(1.5),), (), ())[0]
    assert first_look_answer((), (), ()) == ()


def test_calibration_says_what_held():
    """Hand-made rows: 9 of 10 judged repeats, an exact interval of .555 to .997."""
    planted = [row("planted rank 1", 5, 0.5), row("planted rank 2", 4, 0.3)]
    rows = [
        one.override(
            planted_k=k, median_doublings=width, n_functional=25, functional_within_one=24, covered_by_cut=by_cut
        )
        for k, width, by_cut, one in ((1, 0.0, 5, planted[0]), (2, 1.0, 0, planted[1]))
    ]
    null_found = row("shuffled labels", 5, None, "0 (5 of 5)")
    found = StudyFindings(
        study="", title="", answer=(), base="", base_hash="", skills=(), calibration=(*rows, null_found)
    )
    by_cut = "Against the planted update cut to its best directions, the truth that was chosen first, they held it in"
    older = found.override(calibration=(rows[0].override(covered_by_cut=None), *rows[1:]))
    assert not any(by_cut in said for said in calibration_answer(older))
    (held,) = held_words(tuple(rows))
    assert "held it in 9 of 10 repeats, in 5 by the truth that was chosen first (2 of 12 repeats could not" in held
    assert "first" not in held_words((rows[0].override(covered_by_cut=None), *rows[1:]))[0]
    assert calibration_answer(found) == (
        (
            "The 95 % sets held the rank that the best update needs in 9 of 10 repeats (55.50% to 99.75%); 2 more "
            "could not be judged. The median set spans 0 to 1 doublings."
        ),
        f"{by_cut} 5 of 10 (18.71% to 81.29%).",
        "Functional rank was the oracle's, or one off, in 48 of 50 adapters; 2 are off by more.",
        "Shuffled labels: functional rank 0 (5 of 5).",
    )
