"""The plan of hash_paper: what a switch changes, what is trained, which base a name asks for; what its page says."""

import pytest

from rankscope.base.errors import BadInput
from rankscope.rank.paper_records import ConfigurationNumbers, SweepPoint, TaskNumbers, TokenFacts
from rankscope.stats.interval import Interval
from rankscope.studies.catalog import STUDIES, find_plan
from rankscope.studies.hash_paper import (
    CONFIGURATIONS,
    RAW,
    SHARED,
    TASK_KINDS,
    TRAVEL,
    HashPaperPlan,
    Switches,
    plan,
)
from rankscope.studies.hash_paper_words import answer
from rankscope.tasks.catalog import load_task
from rankscope.train.schedule import lr_at

FORMS = STUDIES["hash_paper"].forms
PUBLISHED = Switches()


@pytest.mark.parametrize("form", FORMS)
def test_every_task_of_every_form_exists_and_stages_follow_their_parents(form: str) -> None:
    made = plan(form)
    known = {RAW}
    for stage in made.stages:
        assert stage.parent in known
        load_task(stage.task)
        known.add(stage.name)
    assert {SHARED, *made.based_on.values()} <= known
    for one in CONFIGURATIONS:
        for kind in TASK_KINDS:
            for split in ("train", "test"):
                load_task(made.task(kind, split, one.switches))


def test_every_configuration_but_the_last_flips_one_switch() -> None:
    flipped = [
        {name for name, on in one.switches if not on} for one in CONFIGURATIONS if one.key not in ("published", "clean")
    ]
    assert CONFIGURATIONS[0].switches == PUBLISHED
    assert all(len(names) == 1 for names in flipped)
    assert set().union(*flipped) == set(Switches.model_fields)
    assert not any(on for _, on in CONFIGURATIONS[-1].switches)


def test_reading_the_same_trainings_another_way_trains_nothing() -> None:
    made = plan("quick")
    for name in ("ban", "fuzzy"):
        other = PUBLISHED.override(**{name: False})
        assert all(made.identity(kind, other) == made.identity(kind, PUBLISHED) for kind in TASK_KINDS)
    leak = PUBLISHED.override(leak=False)
    assert made.identity("planning", leak) == made.identity("planning", PUBLISHED)
    assert made.identity("reasoning", leak) != made.identity("reasoning", PUBLISHED)
    assert made.task("reasoning", "test", leak) != made.task("reasoning", "test", PUBLISHED)


def test_each_adapter_is_wanted_once() -> None:
    made = plan("full")
    wanted = list(made.wanted())
    cells = {
        made.adapter_cell(kind, switches, rank, seed, made.base_of(kind, switches))
        for switches, kind, rank, seed in wanted
    }
    assert len(cells) == len(wanted)
    per_seed = len(made.ranks) * 2 + 1 + 2 + 2 + 2  # as published; leak; padding; bases; all five
    assert len(wanted) == per_seed * len(made.seeds)


def test_the_rate_falls_to_zero_and_travels_as_far_as_in_the_paper() -> None:
    made = plan("quick")
    optimiser = made.adapter_cell("planning", PUBLISHED, 8, 1, "somewhere").optimiser
    n_steps = made.budget.n_steps
    rates = [lr_at(step, n_steps, optimiser) for step in range(n_steps)]
    assert rates == sorted(rates, reverse=True)
    assert sum(rates) == pytest.approx(TRAVEL, rel=0.01)
    paper = 3e-5 * sum(1 - step / 37_520 for step in range(37_520))
    assert paper == pytest.approx(TRAVEL, rel=0.01)


def test_a_name_may_ask_for_a_base_of_ones_own() -> None:
    made = find_plan("hash_paper:quick,base=/models/gpt2")
    assert isinstance(made, HashPaperPlan)
    assert made.base == "/models/gpt2"
    assert "lookup" not in {stage.name for stage in made.stages}
    assert {stage.parent for stage in made.stages} == {RAW, "older reasoning"}
    for name in ("hash_paper:quick,bse=x", "hash_paper:quick,base=", "first_look:quick,base=x"):
        with pytest.raises(BadInput, match="no option"):
            find_plan(name)


def row(key: str, gain: float, counts: tuple[float, float]) -> ConfigurationNumbers:
    """A setting in which planning gains 2 points and reasoning as given, give or take 1 point."""

    def about(estimate: float) -> Interval:
        ends = {"low": estimate - 0.01, "high": estimate + 0.01}
        return Interval(estimate=estimate, **ends, method="", n_seeds=2, n_items=9)

    planning, reasoning = (
        TaskNumbers(
            accuracy=about(0.3), base=about(0.3), gain=about(gained), change=None, effective_rank=count,
            by_layer=(count,), functional=(0, 0), retrained=False,
        )
        for gained, count in zip((0.02, gain), counts, strict=True)
    )  # fmt: skip
    return ConfigurationNumbers(key=key, title=f"as {key}", planning=planning, reasoning=reasoning)


def test_gains_are_told_where_they_are_clear_and_ratios_where_the_count_is_not_the_nominal_rank() -> None:
    share = row("any", 0.0, (32, 32)).planning.base
    point = SweepPoint(task="planning", rank=32, as_published=share, clean=share)
    facts = [
        TokenFacts(task=kind, tokens_per_hash=3, splits_differ=0.2, whole_allowed=share, first_three_allowed=share)
        for kind in ("planning", "reasoning")
    ]
    said = answer([row("published", 0.001, (32, 32)), row("clean", 0.05, (32, 16))], [point], facts)
    assert said[0].startswith(
        "Gain of the rank-32 adapters over their base, as published: planning +2.0 points and reasoning +0.1 points "
        "(not clear of 0). Clear of 0: as published, planning +2.0 points; as clean, planning +2.0 points; as clean, "
        "reasoning +5.0 points. Elsewhere"
    )
    (told,) = (line for line in said if "headline effective rank" in line)
    assert "gives a ratio of planning to reasoning in 1 of 2 settings (as clean, 2.00); in the other 1 it is 32" in told
