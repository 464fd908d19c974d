"""Plans: what every study's forms hold, and that twins are asked about the same maps."""

import numpy as np
import pytest

from rankscope.base.errors import BadInput, UnknownName
from rankscope.lm.bases import load_base
from rankscope.studies.catalog import STUDIES, find_study
from rankscope.studies.other_rates import ON_PURPOSE
from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.scoring import items_to_test
from rankscope.tasks.catalog import load_task
from rankscope.train.cell import Budget, DenseSpec, FullSpec, LoraSpec

RANK_STUDIES = {name: entry for name, entry in STUDIES.items() if isinstance(entry.plan(entry.forms[0]), StudyPlan)}
"""Those made of skills, arms and rates; hash_paper has a plan of its own (test_hash_paper.py)."""
FORMS = [(name, form) for name, entry in RANK_STUDIES.items() for form in entry.forms]


def skill(name: str, seeds: tuple[int, ...] = (1, 2)) -> SkillPlan:
    return SkillPlan(
        name=name,
        mode="direct",
        task="hashchain",
        arms=(LoraSpec(rank=4), DenseSpec(), LoraSpec(rank=1)),
        seeds=seeds,
        budget=Budget(n_items=64, batch_size=32),
        n_test=10,
    )


def plan(*skills: SkillPlan, rates: dict[str, float] | None = None) -> StudyPlan:
    tuned = {rate_name(one, arm): 0.01 for one in skills for arm in one.arms}
    return StudyPlan(study="made_up:full", title="", base="tiny-gpt2", skills=skills, rates=rates or tuned)


def test_every_arm_needs_a_rate():
    with pytest.raises(BadInput, match=r"no learning rate for direct/a/dense, direct/a/rank 1\. Run its tuning"):
        plan(skill("a"), rates={"direct/a/rank 4": 0.01})


def test_two_skills_of_one_mode_and_name_are_refused():
    with pytest.raises(BadInput, match="share a mode and a name"):
        plan(skill("a"), skill("a"))


def test_cells_come_seed_by_seed_and_a_seed_sets_every_stream():
    made = plan(skill("a", (2, 1)), skill("b", (2,)))
    listed = [(seed, one.name, arm.label) for one, arm, seed, _ in made.cells()]
    arms = ["rank 4", "dense", "rank 1"]
    assert listed == [(seed, name, arm) for seed, name in [(1, "a"), (2, "a"), (2, "b")] for arm in arms]
    assert all(set(cell.seeds.model_dump().values()) == {seed} for *_, seed, cell in made.cells())
    assert [arm.rank for arm in made.skills[0].lora_arms] == [1, 4]


def test_the_first_seeds_of_every_skill_make_a_smaller_study():
    made = plan(skill("a", (3, 1)), skill("b", (103, 101)))
    assert [one.seeds for one in made.first_seeds(1).skills] == [(3,), (103,)]
    assert (made.n_seeds, made.first_seeds(2)) == (2, made)


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_every_form_makes_a_plan_of_tasks_that_exist(name, form):
    made = STUDIES[name].plan(form)
    assert made.study == f"{name}:{form}"
    for one in made.skills:
        load_task(one.task)
        assert one.scored_as is None or load_task(one.scored_as)
        assert one.leaves_of is None or load_task(one.leaves_of).question == "hop"
        assert set(one.functional) <= {arm.rank for arm in one.lora_arms}
    cells = [
        (cell, one.scored_as, one.mode if one.mode in ON_PURPOSE else "")
        for one, *_, cell in made.cells()
        if not isinstance(cell.arm, FullSpec)
    ]
    assert len(set(cells)) == len(cells), (
        "only full fine-tuning, which has no placement, what is scored otherwise, and another rate that is one's own"
    )


def test_tuning_seeds_are_never_those_of_results():
    for name, entry in RANK_STUDIES.items():
        seeds = {form: {seed for one in entry.plan(form).skills for seed in one.seeds} for form in entry.forms}
        tuning = {form for form in entry.forms if not entry.plan(form).tuned_by}
        assert tuning == {form for form in entry.forms if form.startswith("tune")}, name
        used = set().union(*(seeds[form] for form in entry.forms if form not in tuning))
        assert all(not seeds[form] & used for form in tuning), name


@pytest.mark.parametrize("form", ["full", "quick", "smoke"])
def test_both_questions_are_trained_alike(form):
    matched = [one for one in STUDIES["first_look"].plan(form).skills if one.mode == "matched"]
    planning, reasoning = matched
    differ = {field for field in SkillPlan.model_fields if getattr(planning, field) != getattr(reasoning, field)}
    assert differ == {"name", "task"}
    assert planning.task.removeprefix("hashhop") == reasoning.task.removeprefix("hashchain")


@pytest.mark.parametrize("mode", ["matched", "trace"])
def test_twins_are_tested_on_the_same_maps_and_only_at_leaves(mode):
    base = load_base("tiny-gpt2")
    planning, reasoning = (one for one in STUDIES["first_look"].plan("smoke").skills if one.mode == mode)
    hop, chain = items_to_test(base, planning), items_to_test(base, reasoning)
    map_tokens = 1 + 2 * load_task(planning.task).knobs.lines
    assert len(hop) == planning.n_test
    assert hop.item_ids_N.tolist() == chain.item_ids_N.tolist()
    assert np.array_equal(hop.tokens_NT[:, :map_tokens], chain.tokens_NT[:, :map_tokens])
    assert (hop.groups["ends_at_leaf"] == 1).all()
    assert not np.array_equal(hop.tokens_NT, chain.tokens_NT)


def test_items_without_a_twin_are_the_first_of_the_stream():
    base = load_base("tiny-gpt2")
    assert items_to_test(base, skill("a")).item_ids_N.tolist() == list(range(10))


def test_names_and_forms_are_found_or_near_ones_told():
    assert find_study("first_look") == (STUDIES["first_look"], "full")
    assert find_study("calibration:smoke")[1] == "smoke"
    with pytest.raises(UnknownName, match="first_look"):
        find_study("first_lok")
    with pytest.raises(UnknownName, match="quick"):
        find_study("first_look:quik")
