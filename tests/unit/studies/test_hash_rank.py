"""hash_rank: each rule on findings made up for it, verdicts that flip, and what its plan compares."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from rankscope.lm.bases import load_base
from rankscope.rank.functional import TruncationCurve, k_grid, smallest_budgets
from rankscope.rank.over_items import drawn_functional_ranks
from rankscope.rank.records import (
    Control,
    CurvePoint,
    FunctionalRank,
    OneRateNeed,
    RequiredRank,
    SkillFindings,
    SpectralSummary,
    TruncationPoint,
)
from rankscope.stats.crossed import item_variance
from rankscope.stats.interval import Interval
from rankscope.stats.power import minimum_detectable_effect
from rankscope.studies import first_look, hash_rank
from rankscope.studies.evidence import Evidence, corrected
from rankscope.studies.hash_rank_answer import difficulty_answer, hash_rank_answer
from rankscope.studies.hash_rank_claims import hash_rank_claims
from rankscope.studies.hash_rank_power import ratio_power
from rankscope.studies.hash_rank_ratios import seed_ratio
from rankscope.studies.other_rates import LONGER_MODE, ON_PURPOSE, ONE_RATE_MODE, SWAPPED_MODE
from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.rates import read_rates
from rankscope.studies.scoring import items_to_test
from rankscope.studies.study_findings import rate_flags
from rankscope.train.cell import Cell, OptimiserSpec

RANKS = (1, 2, 4, 8, 16, 32, 64)
REQUIRED, FUNCTIONAL, COUNT, LOW_RANK, LORA_PLANNING, LORA_REASONING = range(6)


def interval(estimate: float, half: float = 0.01, by_seed: tuple[float, ...] = ()) -> Interval:
    ends = {"low": estimate - half, "high": estimate + half}
    return Interval(estimate=estimate, **ends, method="", n_seeds=5, n_items=9, by_seed=by_seed or (estimate,) * 5)


def required(low: int | None, high: int | None, verdict: str = "estimated") -> RequiredRank:
    """The set from `low` to `high`; ranks below are insufficient, ranks from `high` on sufficient."""
    by_rank = {
        r: "insufficient" if low and r < low else "sufficient" if high and r >= high else "undecided" for r in RANKS
    }
    contrast = {r: interval(0.05 if high and r >= high else -0.05) for r in RANKS}
    fields = {"low": low, "high": high, "by_rank": by_rank, "contrast": contrast}
    return RequiredRank(q=0.9, verdict=verdict, sentence=f"Needs {low} to {high}.", **fields)


def point(arm: str, score: float, rank: int | None = None, gain: float | None = None) -> CurvePoint:
    gained = interval(score if gain is None else gain)
    return CurvePoint(arm=arm, rank=rank, lr=0.01, score=interval(score), gain=gained)


def functional(by_seed: tuple[int, ...]) -> FunctionalRank:
    tried = [TruncationPoint(control="energy", k=k, score=interval(0.5), share_of_gain=None) for k in range(65)]
    noise = [TruncationPoint(control="noise", k=64, score=interval(0.01), share_of_gain=None)]
    return FunctionalRank(
        arm="rank 64", q=0.9, no_gain=False, median=float(np.median(by_seed)), by_seed=by_seed, low=None, high=None,
        curve=(*tried, *noise),
    )  # fmt: skip


def skill(name: str, mode: str = "matched", need=(4, 4), uses=(16, 16, 15, 16, 17), counts=(30.0,) * 5, **more):
    fields = {
        "name": name,
        "task": "t",
        "mode": mode,
        "n_seeds": 5,
        "n_items": 9,
        "budget": "640 steps of 64 items, each seen once",
        "chance": None,
        "chance_forced": None,
        "base_score": 0.0,
        "curve": (point("rank 64", 0.95, 64), point("dense", 0.97), point("full", 0.98)),
        "required": (need if isinstance(need, RequiredRank) else required(*need),),
        "functional": (functional(uses),),
        "spectral": (
            SpectralSummary(
                arm="rank 64", nominal_rank=64, estimators={"N(1e-3)": interval(np.mean(counts), by_seed=counts)}
            ),
        ),
    }
    return SkillFindings(**(fields | more))


def twins(hop: dict, chain: dict, places=("c_proj", "all maps", "attention")) -> list[SkillFindings]:
    both = {"HashHop": hop, "HashChain": chain}
    return [skill(f"{name}, {place}", **more) for place in places for name, more in both.items()]


def null(count: float = 5.0) -> SkillFindings:
    return skill("HashChain, shuffled labels", "null", uses=(0,) * 5, counts=(count,) * 5, required=())


def repeat(**more) -> SkillFindings:
    """HashHop measured once more, as it came out the first time by default."""
    return skill("HashHop again, all maps", "control", **more)


def cards(skills, level: float = 1.0, by_items: float = 0.0):
    """The six cards; sets come out as they are up to a level, and say nothing above it.

    `by_items`: standard deviation over draws of items of the logarithm of planning's functional rank.
    """

    def required_at(one: SkillFindings, asked: float) -> RequiredRank:
        return one.required[0] if asked <= level else required(None, None, "underpowered")

    def gain_at(one: SkillFindings, arm: str, asked: float) -> Interval:
        return next(point.gain for point in one.curve if point.arm == arm)

    def contrast_SN(terms, _score) -> np.ndarray:
        """Seeds as they are told, and items that add nothing."""
        gains = [next(point.gain.by_seed for point in one.curve if point.arm == arm) for one, arm, _ in terms]
        by_seed = sum(weight * np.array(gain) for gain, (*_, weight) in zip(gains, terms, strict=True))
        return np.tile(by_seed[:, None], 9)

    def functional_SD(one: SkillFindings, control: Control, q: float) -> np.ndarray:
        """Seeds as they are told, times what a draw of items does to all of them."""
        drawn_D = np.exp(by_items * np.array([-1.0, 1.0]) * one.name.startswith("HashHop"))
        found = next(found for found in one.functional if found.q == q)
        return np.array(found.global_by_seed if control == "global" else found.by_seed)[:, None] * drawn_D

    evidence = Evidence(tuple(skills), required_at, gain_at, contrast_SN, functional_SD=functional_SD)
    return hash_rank_claims(evidence, "rankscope study hash_rank:full")


SAME_MAPS = ("HashHop, all maps", "HashHop, attention")
HALF = {"need": (2, 2), "uses": (8, 8, 7, 8, 8), "counts": (14.0, 15.0, 15.0, 16.0, 15.0)}
"""HashChain at about half of what HashHop has by default; its set {2} is 4/2 to 3/2 below HashHop's {4}."""
SAME = {"counts": (29.0, 31.0, 30.0, 32.0, 28.0), "uses": (16, 15, 16, 17, 16)}


def test_six_claims_are_declared_and_one_that_holds_everywhere_is_supported():
    found = cards([*twins({}, HALF), null(), repeat()])
    assert len(found) == 6
    assert [card.verdict for card in found] == ["supported"] * 6
    assert found[REQUIRED].estimate == "required rank at q = 0.9, HashHop / HashChain, c_proj: 2 [1.5, 2]"
    assert all(card.p_value is not None and card.p_value < 0.05 for card in found)
    assert {card.verdict for card in corrected(found)} == {"supported"}
    assert {card.n_declared for card in corrected(found)} == {6}


def test_equal_needs_refute_the_ratios():
    found = cards([*twins({}, SAME), null()])
    assert [card.verdict for card in found[:3]] == ["refuted"] * 3
    assert "c_proj 1 [0.75, 1.33]" in found[REQUIRED].because


def test_another_placement_can_veto_and_the_first_that_can_be_told_decides():
    vetoed = [*twins({}, HALF, ("c_proj", "attention")), *twins({}, {}, ("all maps",))]
    card = cards(vetoed)[REQUIRED]
    assert card.verdict == "undecided"
    assert card.power.startswith(
        "More seeds alone would not decide it: c_proj favours the claim, and all maps stands against that. c_proj: "
    )
    flipped = [*twins({}, {}, ("c_proj",)), *twins({}, HALF, ("all maps", "attention"))]
    assert cards(flipped)[REQUIRED].verdict == "undecided"
    limited = {"need": required(8, None, "placement-limited")}
    moved = cards([*twins(limited, limited, ("c_proj",)), *twins({}, HALF, ("all maps", "attention")), repeat()])
    assert moved[REQUIRED].verdict == "supported"
    assert moved[REQUIRED].because.startswith("First placement that can be told: all maps.")
    assert "c_proj can not be told (HashHop, c_proj placement-limited" in moved[REQUIRED].because
    nowhere = cards(twins(limited, limited))[REQUIRED]
    assert (nowhere.verdict, nowhere.p_value) == ("undecided", None)
    assert nowhere.power == "More seeds alone would not decide it: no placement can be told."


def test_what_can_not_be_told_still_says_what_its_seeds_could_see():
    """Rank 2 and 4, on either side of the bar, 8 points short of and 2 points above .9 of dense's .97."""
    ranks = (point("rank 2", 0.793, 2), point("rank 4", 0.893, 4), point("rank 64", 0.95, 64))
    curve = (*ranks, point("dense", 0.97), point("full", 0.98))
    stuck = {"need": required(4, 4, "not converged"), "curve": curve}
    power = cards(twins(stuck, stuck))[REQUIRED].power
    for place in ("c_proj", "all maps", "attention"):
        for task in hash_rank.TWINS:
            assert f"{task}, {place}, rank 2: " in power
    assert power.count(" (saw -8)") == power.count(" (saw 2)") == 6
    assert "What 5 seeds can see, in points from 90% of dense's gain: HashHop, c_proj, rank 2: " in power
    count = cards(twins({"counts": (64.0,) * 5}, {"counts": (64.0,) * 5}))[COUNT].power
    assert "a count that equals the nominal rank in every seed leaves no contrast to see" in count
    uses = cards(twins({}, {"uses": (12, 12, 10, 12, 14)}))[LOW_RANK].power
    assert uses.endswith("What 5 seeds can see, in directions: functional rank less 8: 2.4 (saw 4).")


def test_half_of_the_other_conditions_must_favour():
    wide = {"need": (2, 4)}
    placements = twins({}, HALF, ("c_proj",))
    one_of_two = [*placements, *twins({}, HALF, ("all maps",)), *twins({}, wide, ("attention",))]
    assert cards([*one_of_two, repeat()])[REQUIRED].verdict == "supported"
    none_of_two = [*placements, *twins({}, wide, ("all maps", "attention"))]
    card = cards([*none_of_two, repeat()])[REQUIRED]
    assert card.verdict == "undecided"
    assert card.power.startswith("c_proj favours the claim, but half of the other conditions would have to. all maps: ")
    assert " attention: " in card.power


def test_a_budget_shared_among_sites_is_told_beside_the_claim_and_decides_nothing():
    def shared(by_seed: tuple[float, ...]) -> FunctionalRank:
        used = functional((16,) * 5)
        points = [point.override(control="global") for point in used.curve if point.control == "energy"]
        return used.override(global_by_seed=by_seed, curve=(*used.curve, *points))

    hop, chain = ({"functional": (shared((float(k),) * 5),)} for k in (40, 10))
    skills = [*twins(hop, chain, ("c_proj",)), *twins({}, {}, ("all maps", "attention")), null(), repeat()]
    plain = cards([*twins({}, {}), null(), repeat()])[FUNCTIONAL]
    told = cards(skills)[FUNCTIONAL]
    assert told.verdict == plain.verdict == "refuted"
    begins = "With one budget shared among the sites by singular value, which decides nothing: c_proj 4 [3.72, 4.66]"
    assert begins in told.because
    assert "all maps" not in told.because.partition(begins)[2], "it was not cut that way"
    assert "shared among" not in plain.because + cards(skills)[COUNT].because


def test_the_stricter_share_of_the_gain_is_told_beside_the_claim_and_decides_nothing():
    """40 over 10 for 95 %, read off the curve that stands with 90 %: above 39 over 10, at most 40 over 9."""

    def both(by_seed: tuple[int, ...]) -> tuple[FunctionalRank, ...]:
        return functional((16,) * 5), functional(by_seed).override(q=0.95, curve=())

    hop, chain = ({"functional": both((k,) * 5)} for k in (40, 10))
    skills = [*twins(hop, chain, ("c_proj",)), *twins({}, {}, ("all maps", "attention")), null(), repeat()]
    plain, told = (cards(one)[FUNCTIONAL] for one in ([*twins({}, {}), null(), repeat()], skills))
    assert told.verdict == plain.verdict == "refuted"
    begins = "For 95 % of the gain, which decides nothing: c_proj 4 [3.72, 4.66]"
    assert begins in told.because
    assert "all maps" not in told.because.partition(begins)[2], "it was not read for that share"
    assert "For 95 %" not in plain.because + cards(skills)[COUNT].because


def test_levels_with_one_rank_say_nothing_of_required_rank():
    one_rank = {"need": required(None, 64, "censored below").override(by_rank={64: "sufficient"})}
    levels = twins(one_rank, one_rank, ("1 hop", "3 hops", "3 chains"))
    found = cards([*twins({}, HALF), *levels, repeat()])
    assert found[REQUIRED].verdict == "supported", "they would count as others that do not favour"
    assert "3 chains can not be told (fewer than two ranks are there to compare)" in found[REQUIRED].because
    assert "3 chains 1 [" in found[FUNCTIONAL].because


def test_a_level_that_does_not_qualify_is_left_out_and_said():
    easy = twins({"base_score": 0.5}, {**SAME, "base_score": 0.5}, ("1 hop",))
    apart = twins({"curve": (point("rank 64", 0.95, 64), point("full", 0.94))}, SAME, ("3 hops",))
    hard = twins({"curve": (point("rank 64", 0.5, 64), point("full", 0.5))}, SAME, ("3 chains",))
    skills = [*twins({}, HALF), *easy, *apart, *hard, null(), repeat()]
    card = cards(skills)[REQUIRED]
    assert card.verdict == "supported", "levels that fail can not veto"
    assert "1 hop can not be told (base above 40%" in card.because
    assert "3 hops can not be told (twins more than 3 points apart" in card.because
    assert "3 chains can not be told (full below 90%" in card.because
    said = hash_rank_answer(tuple(skills), (), ())
    assert sum(sentence.startswith("The level") for sentence in said) == 3
    at_level = [*twins({}, HALF), *twins({}, {}, ("3 hops",)), repeat()]
    assert cards(at_level)[REQUIRED].verdict == "undecided", "one that qualifies can"


def test_a_place_that_does_not_qualify_says_nothing_of_low_rank_or_of_gains():
    guessed = {"base_score": 0.3, "curve": (point("rank 64", 0.5, 64), point("full", 0.5))}
    found = cards([*twins(guessed, guessed | {"uses": (8,) * 5}), null(), repeat()])
    assert [(card.verdict, card.p_value) for card in found[LOW_RANK:]] == [("undecided", None)] * 3
    assert all("full below 90%" in card.because for card in found[LOW_RANK:])


def test_the_same_task_twice_must_hold_one():
    again = repeat(need=(1, 1), uses=(2,) * 5, counts=(10.0,) * 5)
    found = cards([*twins({}, HALF), again, null()])
    assert [card.verdict for card in found[:3]] == ["undecided"] * 3
    assert all("the same task measured twice" in card.because for card in found[:3])
    assert [card.p_value for card in found[:3]] == [None] * 3
    steady = cards([*twins({}, HALF), repeat(), null()])
    assert [card.verdict for card in steady[:3]] == ["supported"] * 3
    never = cards([*twins({}, HALF), null()])
    assert [(card.verdict, card.p_value) for card in never[:3]] == [("undecided", None)] * 3
    assert all("would be supported, but the same task was not measured twice" in card.because for card in never[:3])
    assert cards([*twins({}, SAME), null()])[REQUIRED].verdict == "refuted", "only support rests on the repeat"
    coarse = repeat(need=(2, 8))
    unresolved = cards([*twins({}, HALF), coarse, null()])[REQUIRED]
    assert (unresolved.verdict, unresolved.p_value) == ("undecided", None)
    assert "the same task measured twice could differ by 1.5 as well" in unresolved.because
    assert unresolved.power.startswith("More seeds alone would not decide it: the same task measured twice")
    same = cards([*twins({}, {}), coarse, null()])[REQUIRED]
    assert same.verdict == "refuted", "a repeat that is too coarse to support is none to refute with sets that agree"


def test_a_count_that_does_not_see_the_task_decides_nothing():
    blind = cards([*twins({}, HALF), null(count=16.0)])[COUNT]
    assert (blind.verdict, blind.p_value) == ("undecided", None)
    assert "15 on HashChain, 16 on shuffled labels" in blind.because
    full = {"counts": (64.0,) * 5}
    assert "equals the nominal rank" in cards([*twins(full, full), null()])[COUNT].because


def test_equal_functional_ranks_in_all_seeds_are_no_certainty():
    card = cards(twins({"uses": (16,) * 5}, {"uses": (12,) * 5}))[FUNCTIONAL]
    assert card.verdict == "undecided"
    rounding = np.log(16 / 15 * 12 / 11) / 12**0.5
    assert f"sees a contrast of {minimum_detectable_effect(rounding, 5):.2g} " in card.power
    assert f"it saw {np.log(1.5 / (16 / 11)):.2g}" in card.power, "the upper end is what must come below 1.5"


def test_what_items_do_to_a_functional_ratio_is_in_its_interval_and_no_seed_narrows_it():
    skills = [*twins({}, HALF), null(), repeat()]
    narrow, wide = cards(skills)[FUNCTIONAL], cards(skills, by_items=0.3)[FUNCTIONAL]
    assert (narrow.verdict, wide.verdict) == ("supported", "undecided")
    assert "c_proj 2.05 [1.79" in narrow.because
    assert "c_proj 2.05 [1.06, 4.26]" in wide.because
    assert "more seeds alone would not decide it" in wide.power


def test_the_item_part_of_a_mean_over_seeds_by_hand():
    """Draws that all seeds share count whole, draws of each seed's own not at all."""
    shared_SD = np.tile([[-1.0, 1.0]], (4, 1))
    assert item_variance(shared_SD) == 1.0
    own_SD = np.array(list(itertools.product([-1.0, 1.0], repeat=4))).T
    assert item_variance(own_SD) == pytest.approx(0.0, abs=1e-12)


def test_seeds_do_not_narrow_what_budgets_leave_open():
    """Of budgets 10 12 14 16 a rank of 16 lies above 14 and one of 12 above 10: the ratio is in 14/12 to 1.6."""
    wide = ratio_power(np.full(50, 14 / 12), np.full(50, 16 / 10))
    assert wide.startswith("More seeds alone would not decide it: with any number of them the interval would be [1.17")
    inside = ratio_power(np.full(5, 2.0), np.full(5, 3.9))
    assert "measured from log 4" in inside
    assert "more seed" in inside
    assert "lies above 4" in ratio_power(np.full(5, 5.0), np.full(5, 5.0))
    assert ratio_power(np.zeros(5), np.full(5, 1.0)).startswith("On the logarithm of the ratio, measured from log 1.5")


def test_an_adapter_without_a_gain_has_no_functional_ratio():
    card = cards(twins({"uses": (8, 8, 0, 8, 8)}, HALF))[FUNCTIONAL]
    assert "an adapter without a gain" in card.because
    assert card.verdict == "undecided"


def test_a_form_that_lacks_placements_tells_what_it_found_and_decides_nothing():
    found = cards([*twins({}, HALF, ("all maps",)), null(), repeat()])
    assert [(card.verdict, card.p_value) for card in found] == [("undecided", None)] * 6
    assert all(card.because.startswith("By what was trained it would be supported.") for card in found)
    assert "does not train c_proj and attention. Without all three placements" in found[REQUIRED].because
    assert found[REQUIRED].estimate.endswith("all maps: 2 [1.5, 2]")
    open_too = cards([*twins({"uses": (16,) * 5}, {"uses": (12,) * 5}, ("all maps",)), null()])[FUNCTIONAL]
    assert open_too.power.startswith("More seeds alone would not decide it: placements are missing.")


def test_an_arm_that_diverged_in_every_seed_is_named_and_decides_nothing():
    alive = [*twins({}, HALF), null(), repeat()]
    no_full = (point("rank 64", 0.95, 64), point("dense", 0.97))
    found = cards([one.override(curve=no_full) if one.name == "HashHop, c_proj" else one for one in alive])
    assert (
        "c_proj can not be told (full fine-tuning of HashHop, c_proj diverged in every seed" in found[REQUIRED].because
    )
    assert [(card.verdict, card.p_value) for card in found[LORA_PLANNING:]] == [("undecided", None)] * 2
    no_64 = {"curve": (point("rank 32", 0.95, 32), point("dense", 0.97), point("full", 0.98))}
    of_32 = skill("HashChain, c_proj", **(HALF | no_64)).spectral[0].override(arm="rank 32", nominal_rank=32)
    of_32s = {"spectral": (of_32,), "functional": (functional((8,) * 5).override(arm="rank 32"),)}
    lost = [one.override(**no_64, **of_32s) if one.name == "HashChain, c_proj" else one for one in alive]
    found = cards(lost)
    told = "c_proj can not be told (the largest adapters left are rank 32 and rank 64)"
    assert all(told in card.because for card in found[FUNCTIONAL : COUNT + 1])
    assert found[LORA_REASONING].estimate == "gain of rank 64, c_proj: rank 64 diverged in every seed"
    assert (found[LORA_REASONING].verdict, found[LORA_PLANNING].verdict) == ("undecided", "supported")
    no_dense = [one.override(required=()) if one.name == "HashHop, c_proj" else one for one in alive]
    assert "Dense training diverged in every seed on c_proj. Without all three" in cards(no_dense)[REQUIRED].because


def test_few_seeds_and_untuned_rates_forbid_verdicts():
    few = cards([one.override(n_seeds=4) for one in twins({}, HALF)])
    assert [card.verdict for card in few] == ["underpowered"] * 6
    assert [card.p_value for card in few] == [None] * 6
    flag = {"flags": ("confounded: rates not tuned",)}
    confounded = cards(twins(flag, {**HALF, **flag}))
    assert [card.verdict for card in confounded[: LOW_RANK + 1]] == ["undecided"] * 4
    assert [card.p_value for card in confounded[: LOW_RANK + 1]] == [None] * 4


def test_low_rank_spaces():
    assert cards(twins({}, {"need": (16, 16)}))[LOW_RANK].verdict == "refuted"
    assert cards(twins({}, {"need": (8, 16)}))[LOW_RANK].verdict == "undecided"
    above = cards(twins({}, {"uses": (8, 8, 8, 8, 12)}))[LOW_RANK]
    assert above.verdict == "undecided"
    assert "functional rank lies above 8 in 1 of 5 seeds" in above.power
    card = cards(twins({}, {"uses": (8,) * 5}))[LOW_RANK]
    assert card.verdict == "supported"
    assert card.because.startswith("HashHop in the same place: Needs 4 to 4.")


def test_lora_over_the_base():
    def at(gain: float, half: float = 0.01):
        seen = point("rank 64", 0.95, 64).override(gain=interval(gain, half).model_dump())
        return {"curve": (seen, point("full", 0.98))}

    found = cards(twins(at(0.005), at(0.03, 0.02)))
    assert [card.verdict for card in found[LORA_PLANNING:]] == ["refuted", "undecided"]
    assert found[LORA_PLANNING].estimate == "gain of rank 64, c_proj: 0.5 points [-0.5, 1.5]"
    assert found[LORA_REASONING].power.startswith("Measured from 2 points: with 5 seeds")


def test_a_verdict_that_is_alone_too_weak_for_six_claims_falls():
    weak = cards([*twins({}, HALF), null(), repeat()], level=0.97)
    assert weak[REQUIRED].verdict == "supported"
    assert weak[REQUIRED].p_value == pytest.approx(0.03, rel=0.01)
    fallen = corrected(weak)[REQUIRED]
    assert fallen.verdict == "undecided"
    assert fallen.p_holm == pytest.approx(2 * 0.03, rel=0.01), "low-rank spaces rests on the same sets and is as weak"


def test_a_ratio_paired_by_seed_by_hand():
    seen_S = np.exp(np.log(2.0) + 0.1 * np.array([-1.0, 0.0, 1.0, -1.0, 1.0]))
    found = seed_ratio(seen_S, seen_S, seen_S, 0.95)
    half = 2.776445 * 0.1 / 5**0.5  # sd of -1, 0, 1, -1, 1 is 1
    assert (found.low, found.estimate, found.high) == pytest.approx((2 * np.exp(-half), 2.0, 2 * np.exp(half)))
    rounded = seed_ratio(np.full(5, 7 / 4), np.full(5, 8 / 3), np.full(5, 2.0), 0.95)
    hidden = np.log((8 / 3) / (7 / 4)) / 12**0.5 * 2.776445 / 5**0.5
    assert (rounded.low, rounded.high) == pytest.approx((7 / 4 * np.exp(-hidden), 8 / 3 * np.exp(hidden)))
    with np.errstate(divide="ignore"):
        unbounded = seed_ratio(np.zeros(5), np.full(5, 1.0) / np.zeros(5), np.ones(5), 0.95)
    assert (unbounded.low, unbounded.high) == (None, None)


def test_the_answer_names_placements_claims_and_controls():
    copy = skill("one-hop copy", "control", need=(None, 1))
    skills = (*twins({}, HALF), copy, null(), repeat())
    claims = corrected(cards(skills))
    verdict_of = {card.claim: card.verdict for card in claims}
    *verdicts, pair, _, _, one_hop, again, shuffled, noise = hash_rank_answer(skills, claims, ())
    assert verdicts[0].startswith("Supported: reasoning needs 2-3 times lower required rank than planning; ")
    told = [(part, line.partition(": ")) for line in verdicts for part in line.partition(": ")[2][:-1].split("; ")]
    assert sorted((claim, verdict.lower()) for claim, (verdict, *_) in told) == sorted(verdict_of.items())
    assert pair == "c_proj: HashHop: Needs 4 to 4. HashChain: Needs 2 to 2."
    assert one_hop == "Control, one-hop copy (must need less than either task): Needs None to 1."
    twice = "functional ranks by seed 16, 16, 15, 16, 17 and 16, 16, 15, 16, 17, on all maps."
    assert again == f"Control, the same task twice (must agree): {twice}"
    assert shuffled == "Control, shuffled labels: functional rank 0, as it must."
    assert noise.startswith("Control, random directions of the trained norm: at most 1.0% exact output")
    dear = (*twins({}, HALF), skill("one-hop copy", "control", need=(2, 4)))
    (told,) = (line for line in hash_rank_answer(dear, (), ()) if "one-hop copy" in line)
    assert told.endswith("Needs 2 to 4. It needs no less than HashChain, all maps: a warning.")


@pytest.mark.parametrize(("full", "learnt"), [(0.55, False), (0.58, False), (0.99, True)])
def test_direct_mode_rests_on_matched_where_hashchain_is_not_learnt(full, learnt):
    more = {"mode": "direct", "curve": (point("rank 64", full, 64), point("full", full)), "shortcuts": {"any end": 0.5}}
    skills = tuple(skill(f"{name}, all maps", **more) for name in ("HashHop", "HashChain"))
    said = " ".join(hash_rank_answer(skills, (), ()))
    assert ("claims rest on matched mode" in said) is not learnt


def test_the_pilot_says_which_levels_qualify():
    def level(name: str, bases: tuple[float, float], fulls: tuple[float, float]) -> list[SkillFindings]:
        return [
            skill(f"{task}, {name}", "difficulty", base_score=base, curve=(point("full", full),), required=())
            for task, base, full in zip(("HashHop", "HashChain"), bases, fulls, strict=True)
        ]

    skills = (*level("1 hop", (0.41, 0.0), (1.0, 1.0)), *level("2 hops", (0.01, 0.02), (0.97, 0.99)))
    assert difficulty_answer(skills) == (
        "1 hop: left out, base above 40%: base 41.0% and 0.0%, full 100.0% and 100.0%.",
        "2 hops: qualifies, base 1.0% and 2.0%, full 97.0% and 99.0%.",
    )
    assert hash_rank_answer(skills, (), ()) == difficulty_answer(skills)
    assert cards(skills) == ()


@pytest.mark.parametrize(("full", "said"), [(0.55, 2), (0.97, 1)])
def test_the_pilot_of_direct_mode_says_whether_it_was_learnt(full, said):
    more = {"task": "hashchain:mode=direct", "curve": (point("full", full),), "shortcuts": {"any end": 0.5}}
    answer = difficulty_answer(
        tuple(skill(f"{name}, 2 hops", "difficulty", required=(), **more) for name in ("HashHop", "HashChain"))
    )
    assert len(answer) == said
    assert ("not surely 10 points above its shortcut level" in " ".join(answer)) is (said == 2)


def test_the_pilot_of_direct_mode_takes_rates_from_a_tuning_of_its_own():
    pilot, tuning = hash_rank.plan("direct_pilot"), hash_rank.plan("tune_direct_pilot")
    assert pilot.tuned_by == (tuning.study,)
    assert [skill.tuned_as for skill in pilot.skills] == [skill.task for skill in tuning.skills]
    assert set(pilot.rates) == set(tuning.rates)
    assert {len(skill.seeds) * len(skill.arms) for skill in pilot.skills} == {2}


def test_further_levels_that_qualify_are_named_with_what_their_adapters_use():
    levels = twins({"uses": (20, 32, 24, 28, 28)}, {"uses": (28, 24, 28, 24, 24)}, ("3 hops", "3 chains"))
    easy = twins({"base_score": 0.5}, {"base_score": 0.5}, ("1 hop",))
    answer = hash_rank_answer((*twins({}, {}), *easy, *levels), (), ())
    assert (
        "Further levels of difficulty, functional rank of HashHop and HashChain (medians): 3 hops 28 and 24, 3 chains "
        "28 and 24."
    ) in answer
    assert not any(line.startswith("Further levels") for line in hash_rank_answer(tuple(twins({}, {})), (), ()))


def test_twins_differ_in_the_question_alone_and_share_their_maps():
    base = load_base("tiny-gpt2")
    for form in ("full", "all_maps", "direct", "quick"):
        made = hash_rank.plan(form)
        compared = [one for one in made.skills if one.mode in ("matched", "direct") and one.name != "one-hop copy"]
        for planning, reasoning in zip(compared[::2], compared[1::2], strict=True):
            differ = {
                field for field in SkillPlan.model_fields if getattr(planning, field) != getattr(reasoning, field)
            }
            assert differ == {"name", "task", "tuned_as"}
            assert planning.task.removeprefix("hashhop") == reasoning.task.removeprefix("hashchain")
            if form != "quick" and (form == "direct" or planning.name not in SAME_MAPS):
                few = [one.override(n_test=20) for one in (planning, reasoning)]
                hop, chain = (items_to_test(base, one) for one in few)
                assert hop.item_ids_N.tolist() == chain.item_ids_N.tolist()
                assert (hop.groups["ends_at_leaf"] == 1).all()


def test_rates_of_another_task_are_flagged():
    base, made = load_base("tiny-gpt2"), hash_rank.plan("all_maps")
    table = read_rates(("hash_rank:tune_all_maps",))
    flags = {one.name: rate_flags(table, base, one, made.rates) for one in made.skills}
    assert flags["HashHop, all maps"] == ()
    (told,) = flags["HashChain, shuffled labels"]
    assert told == f"learning rates are those tuned on {made.skills[1].task}"


def test_every_arm_has_a_tuned_home_of_the_same_budget():
    for form in hash_rank.STUDIED:
        tunings = [hash_rank.plan(tuning.partition(":")[2]) for tuning in hash_rank.FORMS[form].tuned_by]
        tuned = {
            (one.tuned_as or one.task, one.budget, arm) for made in tunings for one in made.skills for arm in one.arms
        }
        for one in hash_rank.plan(form).skills:
            budget = hash_rank.FORMS[form].budget if one.mode == LONGER_MODE else one.budget
            assert {(one.tuned_as or one.task, budget, arm) for arm in one.arms} <= tuned, one.key


def test_at_one_rate_are_trained_the_ranks_that_do_not_all_have_it_already():
    made = hash_rank.plan("core")
    tuned, fixed = (
        {(skill.name, arm.label): made.rates[rate_name(skill, arm)] for skill in made.skills if skill.mode == mode
         for arm in skill.lora_arms if "attention" in skill.name}
        for mode in ("matched", ONE_RATE_MODE)
    )  # fmt: skip
    assert set(fixed.values()) == {hash_rank.ONE_RATE}
    assert fixed.keys() < tuned.keys()
    for task in hash_rank.TWINS:
        there = {arm: rate == hash_rank.ONE_RATE for (name, arm), rate in tuned.items() if name.startswith(task)}
        assert there["rank 16"], "the next rank above those trained, so that a set can end"
        assert not all(there.values())


def test_swapped_are_trained_at_the_rate_of_the_other_task():
    made = hash_rank.plan("core")
    swapped = {skill.name: skill for skill in made.skills if skill.mode == SWAPPED_MODE}
    assert set(swapped) == {f"{name}, {place}" for name in hash_rank.TWINS for place in ("c_proj", "attention")}
    for name, skill in swapped.items():
        task, place = name.split(", ")
        (other,) = (f"{one}, {place}" for one in hash_rank.TWINS if one != task)
        (arm,) = skill.arms
        rate = made.rates[rate_name(skill, arm)]
        assert rate == made.rates[f"matched/{other}/rank 64"] != made.rates[f"matched/{name}/rank 64"]


def test_the_repeats_of_the_largest_adapter_differ_from_the_first_in_their_seeds_alone():
    made = hash_rank.plan("core")
    first = {skill.name: skill for skill in made.skills if skill.mode == "matched"}
    again = [skill for skill in made.skills if skill.name.startswith("HashHop again, ")]
    assert [skill.name.partition(", ")[2] for skill in again] == ["all maps", "c_proj", "attention"]
    for skill in again[1:]:
        usual, (arm,) = first[skill.name.replace(" again", "")], skill.arms
        assert skill.functional == (arm.rank,) == (64,)
        seeds = [plan_cell.seeds for plan_cell in (made.cell(one, arm, one.seeds[0]) for one in (usual, skill))]
        assert [one.data for one in seeds] == [1, 101]
        assert made.cell(skill, arm, 7) == made.cell(usual, arm, 7), "task, placement, rate and budget"
        assert (skill.leaves_of, skill.n_test) == (usual.leaves_of, usual.n_test)


def test_a_repeat_of_the_largest_adapter_is_told_beside_the_claim_and_decides_nothing():
    """HashHop uses 4 on c_proj the first time and 8 the second: .5, though the rule's repeat on all maps agrees."""
    pairs = twins({"uses": (4,) * 5}, {"uses": (2,) * 5})
    alone = {"required": (), "spectral": (), "curve": (point("rank 64", 0.95, 64),)}
    again = skill("HashHop again, c_proj", "control", uses=(8,) * 5, **alone)
    without, told = (cards([*pairs, repeat(uses=(4,) * 5), *more])[FUNCTIONAL] for more in ((), (again,)))
    assert "elsewhere" not in without.because
    assert " The same task twice elsewhere, which decides nothing: c_proj 0.5 [" in told.because
    assert (told.verdict, told.p_value) == (without.verdict, without.p_value)
    in_fp32 = [one.override(precision="fp32") for one in pairs]
    other = cards([*in_fp32, repeat(uses=(4,) * 5), again.override(precision="bf16")])[FUNCTIONAL]
    assert "c_proj can not be told (HashHop, c_proj and HashHop again, c_proj were trained in" in other.because


def test_longer_is_the_same_training_but_for_its_steps():
    made = hash_rank.plan("core")
    longer = {skill.name: skill for skill in made.skills if skill.mode == LONGER_MODE}
    assert set(longer) == {"HashHop, attention", "HashChain, attention"}
    for name, skill in longer.items():
        (usual,) = (one for one in made.skills if one.key == f"matched/{name}")
        assert set(skill.arms) < set(usual.arms)
        assert (skill.budget.n_steps, skill.budget.batch_size) == (2 * usual.budget.n_steps, usual.budget.batch_size)
        assert (skill.task, skill.seeds, skill.leaves_of) == (usual.task, usual.seeds, usual.leaves_of)
        assert all(made.rates[rate_name(skill, arm)] == made.rates[rate_name(usual, arm)] for arm in skill.arms)


@pytest.mark.parametrize(
    ("verdict", "improving", "told", "turned"),
    [
        ("estimated", 0, "a ratio that is 2 [1.5, 2]", "turns"),
        ("not converged", 0, "a ratio that can not be told (HashHop not converged)", "is not shown to turn"),
        (
            "estimated",
            3,
            "a ratio that can not be told (in HashHop, attention the largest rank that",
            "is not shown to turn",
        ),
    ],
)
def test_what_more_steps_do_stands_beside_the_usual_ones(verdict, improving, told, turned):
    """{4} over {2} after twice the steps, {4} over {4} after the usual ones: 3/2 to 2 in place of 3/4 to 4/3."""
    usual = twins({}, {}, places=("attention",))
    curve = (point("rank 2", 0.8, 2).override(not_converged_seeds=improving), *usual[0].curve)
    longer = [
        skill(f"{name}, attention", "longer", budget="1,280 steps of 64 items, each seen once", need=need, curve=curve)
        for name, need in (("HashHop", required(4, 4, verdict)), ("HashChain", required(2, 2)))
    ]
    (line,) = (line for line in hash_rank_answer((*usual, *longer), (), ()) if line.startswith("Trained for longer"))
    assert line.startswith("Trained for longer, attention, required rank: after 1,280 steps of 64 items HashHop 4 and")
    assert told in line
    assert "after 640 steps of 64 items HashHop 4 and HashChain 4, a ratio that is 1 [0.75, 1.33]" in line
    assert line.endswith(f"It {turned} the conclusion round.")
    other = [one.override(precision="bf16") for one in longer]
    for skills in (usual, (*usual, *other)):
        assert not any("Trained for longer" in line for line in hash_rank_answer(tuple(skills), (), ()))


def test_a_task_at_the_rate_of_the_other_is_compared_with_that_one():
    """HashHop uses 16 and 12 at the two rates, HashChain 8 and 6: 12 over 8 at one rate, 16 over 6 at the other."""

    def at(lr: float) -> dict[str, object]:
        return {"curve": (point("rank 64", 0.95, 64).override(lr=lr), point("dense", 0.97), point("full", 0.98))}

    def other_rate(name: str, lr: float, uses: int) -> SkillFindings:
        alone = {"curve": at(lr)["curve"][:1], "required": (), "spectral": ()}
        return skill(f"{name}, c_proj", SWAPPED_MODE, uses=(uses,) * 5, **alone)

    hop, chain = {"uses": (16,) * 5, **at(0.008)}, {"uses": (8,) * 5, **at(0.004)}
    pair = twins(hop, chain, places=("c_proj",))
    both = [other_rate("HashHop", 0.004, 12), other_rate("HashChain", 0.008, 6)]
    told = cards([*pair, *both])[FUNCTIONAL].because
    assert "With both tasks at one learning rate, which decides nothing: c_proj at 0.004 1.5 [" in told
    assert "; c_proj at 0.008 2.67 [" in told
    assert "at one learning rate" not in cards(pair)[FUNCTIONAL].because
    (line,) = (line for line in hash_rank_answer((*pair, *both), (), ()) if line.startswith("Both tasks at one"))
    assert line == (
        "Both tasks at one learning rate, c_proj, functional ranks by seed: HashHop 12 12 12 12 12 at 0.004, HashChain "
        "8 8 8 8 8 at 0.004; HashHop 16 16 16 16 16 at 0.008, HashChain 6 6 6 6 6 at 0.008; in place of HashHop "
        "16 16 16 16 16 at 0.008, HashChain 8 8 8 8 8 at 0.004."
    )
    stray = other_rate("HashHop", 0.001, 12)
    assert "at one learning rate" not in cards([*pair, stray])[FUNCTIONAL].because


@pytest.mark.parametrize(
    ("hop", "chain", "turned"), [((8, 8), (2, 2), True), ((2, 2), (4, 4), False), ((1, 8), (4, 4), False)]
)
def test_one_rate_turns_the_conclusion_only_where_both_ways_decide(hop, chain, turned):
    """Tuned, both need {4}: 3/4 to 4/3, below 1.5. {8} over {2} is 5/2 to 4, within 1.5 to 4; {2} over {4} is below."""
    skills = tuple(twins({}, {}, places=("attention",)))
    for verdict in ("not converged", "underpowered"):
        stuck = tuple(
            OneRateNeed(skill=one.key, rate=8e-3, need=required(*need, verdict))
            for one, need in zip(skills, (hop, chain), strict=True)
        )
        (told,) = (line for line in hash_rank_answer(skills, (), (), stuck) if line.startswith("One learning rate"))
        assert f"can not be told (HashHop {verdict}, HashChain {verdict})" in told
        assert "It is not shown to turn the conclusion round." in told
    found = tuple(
        OneRateNeed(skill=one.key, rate=8e-3, need=required(*need))
        for one, need in zip(skills, (hop, chain), strict=True)
    )
    (told,) = (line for line in hash_rank_answer(skills, (), (), found) if line.startswith("One learning rate"))
    assert ("It turns the conclusion round." in told) == turned
    assert not any(line.startswith("One learning rate") for line in hash_rank_answer(skills, (), (), found[:1]))


def test_twins_of_other_seeds_or_precisions_are_not_compared():
    fewer = twins({}, HALF)
    fewer[1] = skill("HashChain, c_proj", **HALF | {"uses": (8, 8), "counts": (14.0, 15.0), "n_seeds": 2})
    found = cards([*fewer, null()])
    assert "c_proj can not be told (measured over 5 and 2 seeds)" in found[FUNCTIONAL].because
    assert "c_proj can not be told (measured over 5 and 2 seeds)" in found[COUNT].because
    mixed = twins({}, HALF)
    mixed[0], mixed[1] = mixed[0].override(precision="fp32"), mixed[1].override(precision="bf16")
    for card in cards([*mixed, null()])[:LOW_RANK]:
        assert "HashHop, c_proj and HashChain, c_proj were trained in different precisions" in card.because
    again = skill("HashHop again, all maps", "control").override(precision="bf16")
    first, *others = (one.override(precision="fp32") for one in twins({}, HALF))
    told = cards([first, *others, null(), again])[FUNCTIONAL]
    assert told.verdict == "undecided"
    assert "The same task twice, all maps: can not be told (HashHop, all maps and HashHop again" in told.because


def test_the_middle_level_on_all_maps_is_part_of_the_full_form_and_of_first_look():
    """So that trainings of one go on to the next: they are the same cells wherever rates agree."""

    def cells(study: StudyPlan) -> set[Cell]:
        return {cell.override(optimiser=OptimiserSpec(lr=1e-3).model_dump()) for *_, cell in study.cells()}

    grown = ("all_maps", "placements", "core", "full")
    plans = [hash_rank.plan(form) for form in grown]
    forms = [{cell for *_, cell in plan.cells()} for plan in plans]
    assert all(part < next_one for part, next_one in itertools.pairwise(forms))
    whole = [{*plan.skills} for plan in plans]
    assert all(part < next_one for part, next_one in itertools.pairwise(whole[:-1]))
    beside = {skill for skill in whole[2] if skill.mode in (*ON_PURPOSE, "control", "null")}
    assert len(beside) == 13
    assert whole[1] | beside < whole[-1]
    matched = {
        cell for cell in cells(first_look.plan("full")) if "mode=matched" in cell.task and "shuffled" not in cell.task
    }
    assert matched <= cells(plans[0])


@pytest.mark.parametrize("by_items", [0.0, 1.0])
@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("need", [2.3, 10.7])
def test_the_ratio_of_functional_ranks_holds_the_true_one_at_least_as_often_as_it_promises(
    need: float, spread: float, by_items: float
):
    """Seeds need ranks spread about their task's own, of which only the next budget that is tried is seen.

    Items need budgets of their own, spread about those ranks in the same way in all seeds; the rank is what nine in ten
    of them need, so it moves with the items drawn.
    """
    tried, rng = np.array(k_grid(64), dtype=float), np.random.default_rng(0)
    n_held, n_studies, n_items, widths = 0, 200, 150, []
    for _ in range(n_studies):
        centre_2 = np.exp(rng.uniform(-0.3, 0.3, 2)) * (need * 1.3, need)
        need_2S = centre_2[:, None] * np.exp(spread * rng.standard_normal((2, 5)))
        item_2N = np.exp(by_items * (rng.standard_normal((2, n_items)) - norm.ppf(0.9)))
        need_2SN = need_2S[:, :, None] * (item_2N[:, None] if by_items else 1.0)
        right_2SKN = (tried[:, None] >= need_2SN[:, :, None]).astype(float)
        curves = [TruncationCurve(tuple(tried), right_SKN) for right_SKN in right_2SKN]
        seen_2S = np.array([smallest_budgets(curve, np.zeros(n_items), 0.9) for curve in curves])
        above_2S = tried[np.searchsorted(tried, seen_2S) - 1]
        drawn_2SD = [drawn_functional_ranks(curve, np.zeros(n_items), draws=100) for curve in curves]
        with np.errstate(divide="ignore"):
            low_S, high_S = above_2S[0] / seen_2S[1], seen_2S[0] / above_2S[1]
        item_var = item_variance(np.log(drawn_2SD[0]) - np.log(drawn_2SD[1]))
        found = seed_ratio(low_S, high_S, seen_2S[0] / seen_2S[1], 0.95, item_var)
        n_held += (found.low or 0.0) <= centre_2[0] / centre_2[1] <= (found.high or np.inf)
        untold = (found.low is None, found.high is None)
        assert untold == tuple((above_2S == 0).any(axis=1)), "open below or above only where a need may be next to 0"
        widths.append(np.inf if any(untold) else np.log(found.high / found.low))
    assert n_held >= 0.95 * n_studies
    # Each task's need is told but for a step between the budgets tried; seeds spread it, and rounding to those budgets;
    # items, by the error of a sample's 90 % quantile. Two tasks, five seeds (t is 2.776), both sides of the estimate.
    step = np.log(1.25 if need > 4 else 2.0)
    by_seeds = 2.776 * np.sqrt(2 * (spread**2 + step**2 / 12) / 5)
    over_items = 1.96 * by_items * np.sqrt(2 * 0.9 * 0.1 / n_items) / norm.pdf(norm.ppf(0.9))
    assert np.median(widths) <= 2 * (step + np.hypot(by_seeds, over_items))
