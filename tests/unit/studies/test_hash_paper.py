"""The plan of hash_paper: what a switch changes, what is trained, and which base a name asks for."""

import pytest

from rankscope.base.errors import BadInput
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
