"""rank1: its plan, and its verdicts on scores made by hand.

1. Every arm of a form has a rate; trainings are shared by the skills that they are scored on; controls are scored on
   the mix that they never saw.
2. Recovery inside the paper's band is supported, above and below it refuted; parts and traces by a contrast's side.
3. Fewer than five seeds are underpowered; untuned rates and a full fine-tune without a gain forbid a verdict.
"""

import numpy as np
import pytest

from rankscope.lm.bases import load_base
from rankscope.lm.sites import linear_sites
from rankscope.rank.records import ClaimCard, CurvePoint, Recovery, SkillFindings
from rankscope.stats.crossed import crossed_interval
from rankscope.stats.interval import Interval
from rankscope.studies.evidence import PRIMARY, Evidence
from rankscope.studies.plan import rate_name
from rankscope.studies.rank1 import FORMS, TASK, plan
from rankscope.studies.rank1_claims import rank1_answer, rank1_claims
from rankscope.studies.rates import home_of, read_rates
from rankscope.tasks.catalog import load_task

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _the_same_draws_in_every_order() -> None:
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def scores(mean: float, n_seeds: int) -> np.ndarray:
    return (RNG.random((n_seeds, 400)) < mean).astype(float)


def skill(name: str, by_arm: dict[str, float], n_seeds: int, mode: str, flags=()):  # -> findings, its scores
    drawn = {arm: scores(mean, n_seeds) for arm, mean in by_arm.items()}
    points = tuple(
        CurvePoint(
            arm=arm,
            rank=1 if arm == "rank 1" else None,
            lr=0.01,
            score=crossed_interval(s_SN),
            gain=crossed_interval(s_SN),
        )
        for arm, s_SN in drawn.items()
    )
    ratio = Interval(estimate=0.8, low=0.7, high=0.9, method="by hand", n_seeds=n_seeds, n_items=400)
    recovery = (Recovery(arm="rank 1", ratio=ratio, refused=None, contrast=ratio),)
    found = SkillFindings(
        name=name,
        task="reasoning",
        mode=mode,
        n_seeds=n_seeds,
        n_items=400,
        budget="by hand",
        base_score=0.0,
        chance=None,
        chance_forced=None,
        curve=points,
        required=(),
        functional=(),
        spectral=(),
        recovery=recovery,
        flags=flags,
    )
    return found, drawn


def cards(
    rank_1=0.8,
    full=0.98,
    mlp=0.6,
    attention=0.2,
    shuffled=0.05,
    n_seeds=5,
    flags=(),
    changed=lambda one: one,
    roles=None,
) -> dict[str, ClaimCard]:
    mix, drawn = skill("mix, all maps", {"rank 1": rank_1, "full": full}, n_seeds, "reasoning", flags)
    made = [
        (changed(mix), drawn),
        skill("mix, MLP", {"rank 1": mlp, "full": full}, n_seeds, "reasoning"),
        skill("mix, attention", {"rank 1": attention, "full": full}, n_seeds, "reasoning"),
        skill("mix, shuffled traces", {"rank 1": shuffled, "full": shuffled}, n_seeds, "control"),
    ]
    asked = set()
    drawn = {found.key: by_arm for found, by_arm in made}

    def contrast_SN(terms, score):
        asked.add(score)
        return sum(weight * drawn[one.key][arm] for one, arm, weight in terms)

    def gain_at(one, arm, level):
        return crossed_interval(drawn[one.key][arm], level)

    def no_ranks(*_):
        raise AssertionError

    def role_values_SN(one, arm, question, population):
        assert (one.name, arm) == ("mix, all maps", "rank 1")
        return None if roles is None else role_values(roles[question][population], n_seeds)

    evidence = Evidence(tuple(found for found, _ in made), no_ranks, gain_at, contrast_SN, role_values_SN)
    names = ("recovery", "places", "traces", *(("neurons", "fires") if roles else ()))
    found = dict(zip(names, rank1_claims(evidence, "rankscope study rank1"), strict=True))
    assert asked <= {PRIMARY, "answer_correct"}
    return found


def role_values(mean: float, n_seeds: int) -> np.ndarray:
    """Seeds differ by .01, items by .1, as standard deviations."""
    return mean + 0.01 * RNG.standard_normal((n_seeds, 1)) + 0.1 * RNG.standard_normal((n_seeds, 100))


def test_roles_are_judged_over_adapters_and_not_below_five():
    any_role = {"adapter": 0.80, "mlp": 0.74, "random": 0.79}
    for reasoning, fires in (
        ({"adapter": 0.8, "mlp": 0.7, "random": 0.7}, "supported"),
        ({"adapter": 0.8, "mlp": 0.7, "random": 0.9}, "refuted"),
        ({"adapter": 0.8, "mlp": 0.7, "random": 0.8}, "undecided"),
    ):
        roles = {"any role": any_role, "reasoning roles": reasoning}
        found = cards(roles=roles)
        assert (found["neurons"].verdict, found["fires"].verdict) == ("supported", fires)
        assert (found["fires"].power == "") == (fires != "undecided")
        assert {cards(roles=roles, n_seeds=4)[name].verdict for name in ("neurons", "fires")} == {"underpowered"}
        assert cards(roles=roles, flags=("confounded: not tuned",))["neurons"].verdict == "undecided"
    unfinished = cards(roles=roles, changed=with_rank_1(not_converged_seeds=3))["neurons"]
    assert (unfinished.verdict, unfinished.p_value) == ("undecided", None)
    assert "It would be supported, but rank 1 of mix, all maps was still improving" in unfinished.because
    assert unfinished.power.startswith("More seeds alone would not decide it: rank 1")
    below = {"any role": {"adapter": 0.7, "mlp": 0.8, "random": 0.7}, "reasoning roles": reasoning}
    assert cards(roles=below)["neurons"].verdict == "refuted"
    assert cards(roles=below)["neurons"].p_value < 0.05


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_whole(form):
    made = plan(form)
    assert {rate_name(skill, arm) for skill in made.skills for arm in skill.arms} == set(made.rates)
    for one in made.skills:
        load_task(one.task)
        assert one.scored_as is not None
        load_task(one.scored_as)
        assert "wrong=0" in one.scored_as
    trainings = {cell for *_, cell in made.cells()}
    assert len(trainings) < len(list(made.cells()))
    if form == "full":
        assert len(trainings) == 5 * (3 + 1 + 1 + 4 + 2 * 2)


@pytest.mark.parametrize("form", ["full", "core"])
def test_every_arm_is_trained_at_the_rate_that_its_own_tuning_found_best(form):
    """The place is found by its settings here, by its name in the plan."""
    made, base = plan(form), load_base("tiny-qwen2")
    table = read_rates(made.tuned_by)
    homes = {skill.key: home_of(table, base.content_hash, skill) for skill in made.skills if skill.task == TASK}
    assert all(homes.values()), homes
    for one in made.skills:
        home = homes.get(one.key, "reasoning/mix, all maps")
        for arm in one.arms:
            tried = table.scores[f"{home}/{arm.label}"]
            best = max(tried, key=lambda rate: (tried[rate].primary, tried[rate].nats))
            assert made.rates[rate_name(one, arm)] == float(best)


def test_recovery_is_judged_by_the_band():
    assert cards(rank_1=0.8)["recovery"].verdict == "supported"
    assert cards(rank_1=0.5)["recovery"].verdict == "refuted"
    assert cards(rank_1=0.97)["recovery"].verdict == "refuted"
    close = cards(rank_1=0.73 * 0.98)["recovery"]
    assert close.verdict == "undecided"
    assert "seeds this design sees" in close.power


def test_parts_and_traces_are_judged_by_their_side():
    found = cards()
    assert (found["places"].verdict, found["traces"].verdict) == ("supported", "supported")
    other = cards(mlp=0.1, attention=0.5, shuffled=0.7)
    assert (other["places"].verdict, other["traces"].verdict) == ("refuted", "refuted")
    assert all(card.p_value is not None and card.p_value < 0.05 for card in found.values())


def test_what_forbids_a_verdict():
    assert {card.verdict for card in cards(n_seeds=2).values()} == {"underpowered"}
    confounded = cards(flags=("rates are confounded",))["recovery"]
    assert (confounded.verdict, confounded.p_value) == ("undecided", None)
    blocked = "More seeds alone would not decide it: the learning rates of mix, all maps are confounded."
    assert confounded.power.startswith(f"{blocked} What 5 seeds can see, in points: g_1 - 0.73 g_full: ")
    assert "would decide it" not in confounded.power


def with_rank_1(**changes):
    """The skill with another point of rank 1."""
    return lambda one: one.override(
        curve=tuple((p.override(**changes) if p.arm == "rank 1" else p).model_dump() for p in one.curve)
    )


def test_an_arm_that_was_still_improving_forbids_a_verdict():
    assert cards(changed=with_rank_1(not_converged_seeds=2))["recovery"].verdict == "supported"
    found = cards(changed=with_rank_1(not_converged_seeds=3))
    assert [found[name].verdict for name in ("recovery", "places", "traces")] == ["undecided", "supported", "undecided"]
    assert found["recovery"].because.startswith(
        "It would be supported, but rank 1 of mix, all maps was still improving"
    )


def test_a_full_fine_tune_without_a_gain_leaves_nothing_to_recover():
    def refused(one):
        return one.override(
            recovery=tuple(r.override(ratio=None, refused="no gain").model_dump() for r in one.recovery)
        )

    found = cards(changed=refused)
    assert [found[name].verdict for name in ("recovery", "places", "traces")] == ["undecided", "supported", "undecided"]
    assert "recovery of rank 1: not told" in found["recovery"].estimate


def test_an_arm_that_diverged_in_every_seed_is_named_and_decides_nothing():
    def dead(one):
        return one.override(curve=tuple(p.model_dump() for p in one.curve if p.arm != "full"))

    card = cards(changed=dead)["recovery"]
    assert (card.verdict, card.estimate, card.p_value) == ("undecided", "not measured", None)
    assert card.because.startswith("full of mix, all maps diverged in every seed.")


def test_traces_are_judged_by_answers_and_places_by_what_each_trains():
    """Rank 1 on tiny-qwen2, counted from the shapes of its maps."""
    shapes = linear_sites(load_base("tiny-qwen2").model)
    trained = {
        place: sum(sum(shapes[site]) for site in shapes if f".{place}." in site) for place in ("mlp", "self_attn")
    }
    assert trained == {"mlp": 5568, "self_attn": 4096}
    assert "a third more values" in " ".join(cards()["places"].limits)
    assert cards()["traces"].because.startswith("Mix, all maps: right answers of the base")


def test_the_answer_names_recovery_claims_and_controls():
    found, _ = skill("mix, all maps", {"rank 1": 0.8, "full": 0.9}, 5, "reasoning")
    control, _ = skill("mix, shuffled traces", {"rank 1": 0.1}, 5, "control")
    mlp, star = (
        skill(name, {"rank 1": 0.1, "full": 0.9}, 5, "reasoning")[0] for name in ("mix, MLP", "star, all maps")
    )
    told = rank1_answer((found, mlp, star, control), tuple(cards().values()))
    assert told[0].endswith("full fine-tuning is 100 %): rank 1 80% [70%, 90%].")
    assert told[1:3] == ("Rank 1 by placement: MLP 80% [70%, 90%].", "Rank 1 by skill: star 80% [70%, 90%].")
    assert told[-1].startswith("Control, shuffled traces: exact output of the base 0.0%, rank 1 ")
