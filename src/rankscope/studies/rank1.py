"""rank1: how much of a full fine-tune a rank-1 adapter recovers on reasoning traces, by skill and by placement.

The miniature of arXiv 2511.06739. Training sees traces with wrong steps and their corrections; a wrong step can not be
foreseen, so scores are of items without one. Controls are trained on what holds no reasoning, and scored like the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.rates import read_rates
from rankscope.train.cell import ArmSpec, Budget, DenseSpec, FullSpec, LoraSpec

BASE = "tiny-qwen2"
TASK = "reasoning"
SKILLS = ("hop", "chain", "add", "sort", "star")
ALL_MAPS = "all maps"
PLACEMENTS = {
    ALL_MAPS: ("*",),
    "MLP": ("*.mlp.*",),
    "attention": ("*.self_attn.*",),
    "layers 0-1": ("model.layers.0.*", "model.layers.1.*"),
    "layers 2-3": ("model.layers.2.*", "model.layers.3.*"),
}
SHUFFLED, OWN = "shuffled traces", ", own items"
CONTROLS = {
    SHUFFLED: "reasoning:trace=shuffled",
    "non-reasoning data": "reasoning:skill=copy",
}
"""Name -> what the control is trained on."""
MIX = "mix"
SEEDS, TUNING_SEEDS = (1, 2, 3, 4, 5), (1000,)


@dataclass(frozen=True)
class Form:
    """What one form of the study trains."""

    ranks: tuple[int, ...]
    """On all maps; the smallest elsewhere too."""
    seeds: tuple[int, ...]
    n_test: int
    """Items of each skill alone; of the mix five times as many."""
    n_validation: int
    budget: Budget
    tuned_by: tuple[str, ...]
    """Tuning runs that the rates come from; none for a tuning run."""
    placements: tuple[str, ...] = tuple(PLACEMENTS)
    dense: bool = True
    """Whether all maps are trained at full rank too."""
    controls_in_full: bool = True
    """Whether controls are fully fine-tuned too."""


def _steps(n_steps: int, batch_size: int) -> Budget:
    return Budget(n_items=n_steps * batch_size, batch_size=batch_size)


LONG, SHORT = _steps(800, 64), _steps(200, 32)
CORE_PLACES = (ALL_MAPS, "MLP", "attention")
FORMS = {
    "full": Form((1, 4, 16), SEEDS, 200, 500, LONG, ("rank1:tune",)),
    "core": Form((1,), SEEDS, 200, 500, LONG, ("rank1:tune_core",), CORE_PLACES, dense=False, controls_in_full=False),
    "quick": Form((1, 16), (11,), 60, 200, SHORT, ("rank1:tune",), CORE_PLACES),
    "smoke": Form((1, 2), (21,), 20, 40, _steps(4, 16), ("rank1:tune",), (ALL_MAPS, "MLP")),
    "tune": Form((1, 4, 16), TUNING_SEEDS, 100, 500, LONG, ()),
    "tune_core": Form((1,), TUNING_SEEDS, 100, 500, LONG, (), CORE_PLACES, dense=False),
}
"""`core` is the part of `full` that the claims need, with rates of its own tuning."""
START_RATES = {"rank 1": 1.6e-2, "rank 4": 1e-2, "rank 16": 8e-3, "dense": 2e-3, "full": 2e-3}
"""Where tuning starts, and what an untuned study uses."""


def _skill(form: Form, name: str, place: str, scored: str, arms: tuple[ArmSpec, ...], task: str = TASK) -> SkillPlan:
    whole, n_test = (name, place) == (MIX, ALL_MAPS), form.n_test * (len(SKILLS) if name == MIX else 1)
    return SkillPlan(
        name=f"{name}, {place}",
        mode="reasoning",
        task=task,
        scored_as=scored,
        arms=arms,
        seeds=form.seeds,
        budget=form.budget,
        n_test=n_test,
        n_validation=form.n_validation,
        functional=(max(form.ranks),) if whole and max(form.ranks) > 1 else (),
        read=(1,) if whole and form.tuned_by else (),
        n_read=min(200, n_test),
    )


def _scored(name: str) -> str:
    return "reasoning:wrong=0" if name == MIX else f"reasoning:skill={name},wrong=0"


def _arms(form: Form, place: str) -> tuple[ArmSpec, ...]:
    sites = PLACEMENTS[place]
    ranks = form.ranks if place == ALL_MAPS else (min(form.ranks),)
    dense = (DenseSpec(placement=sites),) if place == ALL_MAPS and form.dense else ()
    return (*(LoraSpec(rank=rank, placement=sites) for rank in ranks), *dense, FullSpec())


def _skills(form: Form) -> tuple[SkillPlan, ...]:
    mixed = [_skill(form, MIX, place, _scored(MIX), _arms(form, place)) for place in form.placements]
    if not form.tuned_by:
        return tuple(mixed)
    alone = [_skill(form, name, ALL_MAPS, _scored(name), _arms(form, ALL_MAPS)) for name in SKILLS]
    return (*mixed, *alone, *(control for name in CONTROLS for control in _controls(form, name)))


def _controls(form: Form, name: str) -> Iterator[SkillPlan]:
    """One training at the mix's rates, scored like the rest, and on items of its own kind: did it learn anything?"""
    arms = (LoraSpec(rank=min(form.ranks)), *((FullSpec(),) if form.controls_in_full else ()))
    task = CONTROLS[name]
    for place, scored in ((name, _scored(MIX)), (f"{name}{OWN}", f"{task},wrong=0")):
        skill = _skill(form, MIX, place, scored, arms, task)
        yield skill.override(mode="control", tuned_as=TASK, descriptive=place != SHUFFLED)


def plan(form: str) -> StudyPlan:
    """The study in one of its forms. The tuning form lists the cells to tune, at their starting rates."""
    chosen = FORMS[form]
    skills = _skills(chosen)
    table = read_rates(chosen.tuned_by)
    tuned = table.rates if table else {}
    return StudyPlan(
        study=f"rank1:{form}",
        title="How much of full fine-tuning does a rank-1 adapter recover on reasoning?",
        base=BASE,
        skills=skills,
        rates={
            rate_name(skill, arm): tuned.get(f"{_tuned_key(skill)}/{arm.label}", START_RATES.get(arm.label, 1.2e-2))
            for skill in skills
            for arm in skill.arms
        },
        tuned_by=chosen.tuned_by,
        shows=("rank1",),
    )


def _tuned_key(skill: SkillPlan) -> str:
    """The tuned skill whose rates this one takes: the mix in the same place; controls take all maps'."""
    place = skill.name.partition(", ")[2]
    return f"reasoning/{MIX}, {place if place in PLACEMENTS else ALL_MAPS}"
