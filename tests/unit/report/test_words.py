import pytest

from rankscope.report import words
from rankscope.report.formats import MODE_ORDER
from rankscope.report.page import render
from rankscope.studies.other_rates import ON_PURPOSE


@pytest.fixture(scope="module")
def quick(made_up):
    return made_up.example()


@pytest.fixture(scope="module")
def full(made_up):
    return made_up.example(8, hostile=False)


def pair(findings, mode):
    return [skill for skill in findings.skills if skill.mode == mode][:2]


def test_the_reading_of_modes_follows_the_sets(full):
    *_, last = words.comparison_paragraphs(full)
    assert "matched traces favour HashChain, unmatched ones HashHop" in last


def test_the_reading_turns_when_the_findings_turn(full):
    hop, chain = pair(full, "matched")
    others = [skill for skill in full.skills if skill.mode != "matched"]
    swapped = [hop.override(name="HashChain"), chain.override(name="HashHop")]
    *_, last = words.comparison_paragraphs(full.override(skills=(*swapped, *others)))
    assert "both designs favour HashHop" in last


def test_overlapping_sets_and_scores_leave_the_order_open(full):
    hop, _ = pair(full, "matched")
    twin = hop.override(name="HashChain")
    assert words.easier(hop, twin) == (None, [])
    assert "leaves the order open" in words.lean_sentence(hop, twin)


def test_overlapping_sets_fall_back_on_ranks_whose_intervals_separate(full):
    hop, chain = pair(full, "matched")
    loose = [r.override(low=None, high=None) for r in hop.required]
    name, ranks = words.easier(hop.override(required=loose), chain)
    assert name == "HashChain"
    assert 8 in ranks
    assert 32 not in ranks


def test_scores_in_sentences_carry_their_intervals(full):
    first, *_ = words.comparison_paragraphs(full)
    assert "rank 16: HashHop 57.0 % [51.0, 63.0], HashChain 88.0 % [83.4, 92.6]" in first


def test_one_mode_alone_says_nothing_of_agreement(full):
    only = full.override(skills=pair(full, "matched"))
    assert len(words.comparison_paragraphs(only)) == 1
    assert words.comparison_paragraphs(full.override(skills=full.skills[-2:])) == ()


def test_few_seeds_are_admitted(quick, full):
    assert "does not decide" in words.honesty_line(quick)
    assert "At least 8 seeds" in words.honesty_line(full)
    assert "description only" in words.lean_sentence(*pair(quick, "matched"))


def test_key_tiles_leave_out_null_and_planted(full):
    tiles = words.key_tiles(full)
    assert [tile.label for tile in tiles][:2] == ["HashHop · matched", "HashChain · matched"]
    assert len(tiles) == 4
    assert tiles[1].value == "[8, 16]"
    assert tiles[1].lines[0] == "functional rank 2 [2, 4] (rank 32)"


def test_a_skill_without_a_required_rank_shows_what_was_recovered(full):
    skill = full.skills[0]
    recovered = tuple(one for one in skill.recovery if one.ratio)
    least = min(recovered, key=lambda one: int(one.arm.removeprefix("rank ")))
    tile = words.key_tile(skill.override(required=()))
    ends = f"[{100 * least.ratio.low:.1f}, {100 * least.ratio.high:.1f}]"
    assert (tile.value, tile.unit) == (f"{100 * least.ratio.estimate:.1f}", f"% recovered by {least.arm} {ends}")
    assert words.key_tile(skill.override(mode="reasoning")).unit == tile.unit
    refused = least.override(ratio=None, refused="full gains nothing")
    tile = words.key_tile(skill.override(required=(), recovery=(refused,)))
    assert (tile.value, tile.badge, tile.title) == ("–", "refused", "full gains nothing")


def test_what_is_trained_otherwise_on_purpose_stands_beside_what_is_tested():
    assert set(ON_PURPOSE) <= set(words.BESIDE) & set(words.MODE_NOTES) & set(MODE_ORDER)


def test_flags_name_their_skills_once(full):
    assert words.all_flags(full) == (
        "Flagged: confounded: one lr for all ranks (HashHop · trace and HashChain · trace).",
    )


def with_asked_path(skills):
    return [skill.override(task=f"{skill.task},asked=path") for skill in skills]


def test_matched_skills_that_write_their_path_do_not_write_the_same_trace(full):
    matched, trace = pair(full, "matched"), pair(full, "trace")
    same = words.mode_paragraph("matched", *matched)
    assert "only the query and the answer differ" in same
    own = words.mode_paragraph("matched", *with_asked_path(matched))
    assert "only the query and the answer differ" not in own
    assert "each writes its own asked path" in own
    assert "only the query" not in words.mode_note("matched")
    assert "remove that difference" in words.agreement({"matched": matched, "trace": trace})[0]
    (why,) = words.agreement({"matched": with_asked_path(matched), "trace": trace})
    assert "reduce that difference" in why
    assert "remove" not in why


def test_described_skills_do_not_set_the_size_of_the_run(full):
    few = [s.override(n_seeds=2) if s.descriptive else s for s in full.skills]
    line = words.honesty_line(full.override(skills=few))
    assert line.startswith("At least 8 seeds")
    assert "as few as 2 seeds and decide nothing" in line
    only_described = [s for s in few if s.descriptive]
    assert "does not decide" in words.honesty_line(full.override(skills=only_described))
    assert "described" not in words.honesty_line(full)


@pytest.mark.parametrize("verdict", ["underpowered", "no headroom", "placement-limited", "not converged"])
def test_sets_without_a_settled_verdict_do_not_decide(full, verdict):
    hop, chain = pair(full, "matched")
    assert words.easier(hop, chain) == ("HashChain", [])
    unsettled = hop.override(required=[r.override(verdict=verdict) for r in hop.required])
    name, ranks = words.easier(unsettled, chain)
    assert name == "HashChain"
    assert ranks
    assert words.lean_sentence(unsettled, chain).startswith("The sets do not decide, but HashChain")
    flat = unsettled.override(name="HashChain")
    assert words.lean_sentence(unsettled, flat).startswith("The sets do not decide and no rank separates")


def test_agreement_admits_few_trace_seeds(full):
    matched, trace = pair(full, "matched"), pair(full, "trace")
    few = [skill.override(n_seeds=2) for skill in trace]
    assert words.agreement({"matched": matched, "trace": few})[0].endswith("2 seeds this is a description only.")
    assert "description only" not in words.agreement({"matched": matched, "trace": trace})[0]


def test_a_card_says_its_chance_and_only_an_open_one_its_power(quick, full):
    (decided,), (open_,) = words.claim_cards(full), words.claim_cards(quick)
    assert decided.chance == (
        "p = 0.004: the smallest error at which the rule decides; after Holm's correction over 2 claims p = 0.008."
    )
    assert decided.power == ""
    assert open_.chance == "No level of confidence lets the rule decide; among the others it counts as p = 1."
    assert open_.power.startswith("HashHop, rank 4: with 3 seeds")
    alone = full.claims[0].override(n_declared=1)
    assert words.chance_words(alone).endswith("the study declares no other claim.")
    assert words.chance_words(alone.override(p_value=None, p_holm=None, power="")) == "", (
        "findings of an earlier version"
    )


def test_an_undecided_rank_says_what_could_be_seen(quick):
    _, chain = pair(quick, "matched")
    ((rank, found),) = chain.required[0].resolution.items()
    assert words.resolution_sentence(chain, rank, found) == (
        "Rank 8 is undecided: 3 seeds see a contrast of 3.4 points with 80 % power; it was 1.2; about 9 more "
        "seeds would decide it."
    )
    assert "more seeds alone would not decide it" in words.resolution_sentence(
        chain, rank, found.override(more_seeds=None)
    )


def test_a_partial_study_says_so(full):
    assert "Partial: 2 of 5 seeds are finished" in render(full.override(partial="2 of 5 seeds"))
    assert "Partial" not in render(full)
