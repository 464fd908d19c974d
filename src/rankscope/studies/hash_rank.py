"""hash_rank: the claim of arXiv 2412.00029 that reasoning needs 2 to 3 times less rank than planning, put to the test.

Twins of HashHop (planning) and HashChain (reasoning) over the same maps, from one base, in `matched` mode: three
placements at the middle level of difficulty, three more levels with all maps adapted, and controls whose outcome is
known. `direct` mode asks for the answer alone, from a larger base. Claims and their rules: hash_rank_claims.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from rankscope.rank.records import CONTROLS, Control
from rankscope.studies import first_look
from rankscope.studies.other_rates import LONGER_MODE, ONE_RATE_MODE, SWAPPED_MODE
from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.rates import read_rates
from rankscope.train.cell import ArmSpec, Budget, DenseSpec, FullSpec, LoraSpec

PLACEMENTS = {"c_proj": ("*.mlp.c_proj",), "all maps": ("*",), "attention": ("*.attn.*",)}
"""By name; the first is the paper's own."""
TWINS = {"HashHop": "hashhop", "HashChain": "hashchain"}
RANKS = (1, 2, 4, 8, 16, 32, 64)
SEEDS, PILOT_SEEDS, TUNING_SEEDS = (1, 2, 3, 4, 5), (31, 32), (1000,)
BUDGETED: tuple[Control, ...] = ("energy", "global")
"""Cuts of adapters that are only asked for a functional rank: the same budget at every site, and one for all."""
AGAIN = 100
"""Added to the seeds of the same task measured twice."""
ONE_RATE, ONE_RATE_PLACE, ONE_RATE_RANKS = 8e-3, "attention", (2, 4, 8)
"""One learning rate for all ranks: the rate, where it is tried, and the ranks that are trained at it. Declared before
any of those trainings, by the tuning seed: there this rate moves the needs of the two tasks a doubling apart, and rank
16, which ends their sets, has it anyway in both."""
SWAPPED_PLACES = ("c_proj", "attention")
"""Where the largest adapter of each task is trained once more at the other task's learning rate, half or twice its own:
the places where the two were tuned to different ones. Declared before any of those trainings."""
LONGER, LONGER_PLACE, LONGER_RANKS = 2, "attention", (1, 2, 4)
"""A longer budget: times the usual steps, where it is tried, and the ranks that are trained so long, with dense. There
dense reaches what full fine-tuning does, and after the usual steps 2 and 4 are the ranks nearest to the bar."""


@dataclass(frozen=True)
class Level:
    """A level of difficulty: how far HashHop goes, how many chains there are, and how long."""

    name: str
    knobs: str


LEVELS = (
    Level("1 hop", "lines=6,chains=2,max_length=4,hops=1"),
    Level("2 hops", "lines=8,chains=2,max_length=5,hops=2"),
    Level("3 hops", "lines=10,chains=2,max_length=6,hops=3"),
    Level("3 chains", "lines=12,chains=3,max_length=5,hops=2"),
)
FURTHER = (LEVELS[0], *LEVELS[2:])
MIDDLES = {"matched": LEVELS[1], "direct": Level("2 hops", "lines=10,chains=2,max_length=5,hops=2")}
"""By mode, the level at which placements are compared; direct, which starts on distractors too, has two lines more."""


@dataclass(frozen=True)
class Form:
    """What one form of the study trains."""

    ranks: tuple[int, ...]
    seeds: tuple[int, ...]
    n_test: int
    n_validation: int
    budget: Budget
    tuned_by: tuple[str, ...]
    """Tuning runs that the rates come from; none for a tuning run."""
    placements: tuple[str, ...] = tuple(PLACEMENTS)
    levels: tuple[Level, ...] = ()
    """Levels beside the middle one."""
    level_ranks: tuple[int, ...] = RANKS
    """Ranks that are trained there."""
    beside: tuple[str, ...] = ("one-hop copy", "shuffled labels")
    """Skills of CONTROL_SKILLS that are trained too."""
    mode: str = "matched"
    base: str = "tiny-gpt2"


def _steps(n_steps: int, batch_size: int) -> Budget:
    return Budget(n_items=n_steps * batch_size, batch_size=batch_size)


def _tuning(form: Form) -> Form:
    """The arms of a form at rates to be tried; all controls but one take the rates of what they control."""
    beside = tuple(name for name in form.beside if name == "one-hop copy")
    return replace(form, seeds=TUNING_SEEDS, tuned_by=(), levels=(), beside=beside)


def _part(placements: tuple[str, ...], tuned_by: tuple[str, ...], beside: tuple[str, ...] = ()) -> Form:
    """Some placements of the full form at the middle level, and what is trained beside them."""
    return Form(RANKS, SEEDS, 500, 1000, LONG, tuned_by, placements=placements, beside=beside)


LONG, SHORT, DIRECT = _steps(640, 64), _steps(240, 32), _steps(3000, 64)
BY_LARGEST = "the same task's largest adapter twice"
BY_ONE_RATE, BY_SWAPPED, BY_LONGER = "one rate for all ranks", "each task at the other's rate", "twice the steps"
TUNED_ALONE = {
    "tune_c_proj": _part(("c_proj",), ()),
    "tune_all_maps": _part(("all maps",), ()),
    "tune_attention": _part(("attention",), ()),
    "tune_one_hop": _part((), (), beside=("one-hop copy",)),
}
"""Tuning runs that the forms of one budget share: a placement each, and the control that has rates of its own."""
BY_C_PROJ, BY_ALL_MAPS, BY_ATTENTION, BY_ONE_HOP = (f"hash_rank:{name}" for name in TUNED_ALONE)
BY_PLACEMENT = (BY_C_PROJ, BY_ALL_MAPS, BY_ATTENTION)
EVERYTHING = replace(
    _part(tuple(PLACEMENTS), (*BY_PLACEMENT, BY_ONE_HOP)),
    levels=FURTHER,
    beside=("one-hop copy", "same task twice", BY_LARGEST, "shuffled labels", BY_ONE_RATE, BY_SWAPPED, BY_LONGER),
)
STUDIED = {
    "full": EVERYTHING,
    "core": replace(EVERYTHING, level_ranks=RANKS[-1:]),
    "placements": _part(tuple(PLACEMENTS), BY_PLACEMENT, beside=("shuffled labels",)),
    "all_maps": _part(("all maps",), (BY_ALL_MAPS,), beside=("shuffled labels",)),
    "direct": Form(
        RANKS, SEEDS, 500, 1000, DIRECT, ("hash_rank:tune_direct",),
        placements=("all maps",), beside=(), mode="direct", base="small-gpt2",
    ),
    "quick": Form((1, 8, 64), (11,), 300, 300, SHORT, ("hash_rank:tune_quick",)),
}  # fmt: skip
"""Down to `all_maps` each holds the trainings and the skills of the one below it, so that its records serve the one
above (but for the further levels of `core`, which `full` trains at more ranks)."""
DIRECT_PILOT = Form(
    (), PILOT_SEEDS, 1000, 300, DIRECT, ("hash_rank:tune_direct_pilot",), mode="direct", base="small-gpt2"
)
"""Whether direct mode is learnt at all, before anyone pays for `direct`."""
FORMS = {
    **STUDIED,
    "smoke": replace(
        EVERYTHING,
        ranks=(2,),
        seeds=(21,),
        n_test=40,
        n_validation=40,
        budget=_steps(4, 32),
        tuned_by=("hash_rank:tune_quick",),
        levels=FURTHER[:1],
        level_ranks=(2,),
    ),
    "difficulty": Form((), PILOT_SEEDS, 1000, 300, LONG, (BY_ALL_MAPS,)),
    "direct_pilot": DIRECT_PILOT,
    **{name: _tuning(form) for name, form in TUNED_ALONE.items()},
    "tune_direct": _tuning(STUDIED["direct"]),
    "tune_direct_pilot": replace(_tuning(DIRECT_PILOT), n_validation=1000),
    "tune_quick": _tuning(STUDIED["quick"]),
}
START_RATES = first_look.START_RATES | {"rank 32": 6e-3, "rank 64": 4e-3}
"""Where tuning starts, as in first_look, whose matched trainings are the same; and what an untuned study uses. Direct
mode takes a quarter."""


def _task(question: str, mode: str, level: Level) -> str:
    asked = "asked=path," if mode == "matched" else ""
    return f"{question}:mode={mode},{asked}{level.knobs}"


def _arms(ranks: tuple[int, ...], placement: str) -> tuple[ArmSpec, ...]:
    sites = PLACEMENTS[placement]
    return (*(LoraSpec(rank=rank, placement=sites) for rank in ranks), DenseSpec(placement=sites), FullSpec())


def _twins(form: Form, place: str, level: Level, placement: str) -> tuple[SkillPlan, ...]:
    """Both tasks at one level and placement, in everything else alike; rates are those of the middle level."""
    return tuple(
        SkillPlan(
            name=f"{name}, {place}",
            mode=form.mode,
            task=_task(question, form.mode, level),
            tuned_as=_task(question, form.mode, MIDDLES[form.mode]),
            arms=_arms(form.ranks, placement),
            seeds=form.seeds,
            budget=form.budget,
            n_test=form.n_test,
            n_validation=form.n_validation,
            leaves_of=_task("hashhop", form.mode, level),
            functional=(max(form.ranks),),
            controls=CONTROLS,
            generate=False,
        )
        for name, question in TWINS.items()
    )


def _again(form: Form) -> tuple[SkillPlan, ...]:
    """HashHop on all maps once more, with other seeds: what differs between the two is not the task."""
    (first, _) = _twins(form, "all maps", MIDDLES[form.mode], "all maps")
    return (first.override(name="HashHop again, all maps", mode="control", seeds=_other_seeds(form)),)


def _largest_again(form: Form) -> tuple[SkillPlan, ...]:
    """The largest adapter of HashHop once more, with other seeds, at the placements where the whole is not repeated."""
    elsewhere = [place for place in PLACEMENTS if place != "all maps"]
    return tuple(
        twin.override(
            name=f"HashHop again, {place}",
            mode="control",
            seeds=_other_seeds(form),
            arms=[_largest(form, place).model_dump()],
            controls=BUDGETED,
            descriptive=True,
        )
        for place in elsewhere
        for twin in _twins(form, place, MIDDLES[form.mode], place)[:1]
    )


def _other_seeds(form: Form) -> tuple[int, ...]:
    return tuple(seed + AGAIN for seed in form.seeds)


def _largest(form: Form, place: str) -> LoraSpec:
    return LoraSpec(rank=max(form.ranks), placement=PLACEMENTS[place])


def _at_one_rate(form: Form) -> tuple[SkillPlan, ...]:
    """Both tasks in one place, at one learning rate for all ranks; dense is that of the twins, at its own best."""
    ranks = tuple(rank for rank in ONE_RATE_RANKS if rank in form.ranks)
    arms = [arm.model_dump() for arm in _arms(ranks, ONE_RATE_PLACE) if isinstance(arm, LoraSpec)]
    return tuple(
        twin.override(mode=ONE_RATE_MODE, varies=BY_ONE_RATE, arms=arms, functional=(), descriptive=True)
        for twin in _twins(form, ONE_RATE_PLACE, MIDDLES[form.mode], ONE_RATE_PLACE)
    )


def _swapped(form: Form) -> tuple[SkillPlan, ...]:
    """The largest adapters of both tasks in some places, each at the rate tuned for the other task."""
    return tuple(
        twin.override(
            mode=SWAPPED_MODE,
            varies=BY_SWAPPED,
            arms=[_largest(form, place).model_dump()],
            controls=BUDGETED,
            descriptive=True,
        )
        for place in SWAPPED_PLACES
        for twin in _twins(form, place, MIDDLES[form.mode], place)
    )


def _longer(form: Form) -> tuple[SkillPlan, ...]:
    """Both tasks in one place for more steps, at the rates tuned for the usual ones, with a dense of their own."""
    ranks = tuple(rank for rank in LONGER_RANKS if rank in form.ranks)
    arms = [arm.model_dump() for arm in _arms(ranks, LONGER_PLACE) if not isinstance(arm, FullSpec)]
    budget = form.budget.override(n_items=LONGER * form.budget.n_items).model_dump()
    return tuple(
        twin.override(mode=LONGER_MODE, varies=BY_LONGER, arms=arms, budget=budget, functional=(), descriptive=True)
        for twin in _twins(form, LONGER_PLACE, MIDDLES[form.mode], LONGER_PLACE)
    )


def _one_hop(form: Form) -> tuple[SkillPlan, ...]:
    """Looking up one node, which the base already does in its own layout: only the question is new."""
    copy = SkillPlan(
        name="one-hop copy",
        mode="control",
        task="hashhop:mode=direct,lines=10,chains=2,max_length=5,hops=1",
        arms=_arms(tuple(rank for rank in form.ranks if rank <= 8), "all maps"),
        seeds=form.seeds,
        budget=form.budget,
        n_test=form.n_test,
        n_validation=form.n_validation,
        generate=False,
        descriptive=True,
    )
    return (copy,)


def _shuffled(form: Form) -> tuple[SkillPlan, ...]:
    """HashChain whose completions name exchanged nodes: the spectrum and rank of an update that learnt the format."""
    chain = _task("hashchain", form.mode, MIDDLES[form.mode])
    largest = max(form.ranks)
    null = SkillPlan(
        name="HashChain, shuffled labels",
        mode="null",
        task=chain.replace("hashchain:", "shuffled:of=hashchain,"),
        tuned_as=chain,
        arms=(LoraSpec(rank=largest),),
        seeds=form.seeds,
        budget=form.budget,
        n_test=form.n_test,
        n_validation=form.n_validation,
        functional=(largest,),
        controls=BUDGETED,
        generate=False,
        descriptive=True,
    )
    return (null,)


def _pilot(form: Form) -> tuple[SkillPlan, ...]:
    """Base and full at every level of a mode, on validation items, by which levels are chosen."""
    return tuple(
        SkillPlan(
            name=f"{name}, {level.name}",
            mode="difficulty",
            task=_task(question, form.mode, level),
            tuned_as=_task(question, form.mode, MIDDLES[form.mode]),
            arms=(FullSpec(),),
            seeds=form.seeds,
            budget=form.budget,
            n_test=form.n_test,
            n_validation=form.n_validation,
            scored_on="validation",
            leaves_of=_task("hashhop", form.mode, level),
            generate=False,
            descriptive=True,
        )
        for level in (LEVELS if form.mode == "matched" else (MIDDLES[form.mode],))
        for name, question in TWINS.items()
    )


CONTROL_SKILLS: dict[str, Callable[[Form], tuple[SkillPlan, ...]]] = {
    "one-hop copy": _one_hop,
    "same task twice": _again,
    BY_LARGEST: _largest_again,
    "shuffled labels": _shuffled,
    BY_ONE_RATE: _at_one_rate,
    BY_SWAPPED: _swapped,
    BY_LONGER: _longer,
}


def _skills(form: Form) -> tuple[SkillPlan, ...]:
    if not form.ranks:
        return _pilot(form)
    middle = MIDDLES[form.mode]
    compared = [one for placement in form.placements for one in _twins(form, placement, middle, placement)]
    there = replace(form, ranks=form.level_ranks)
    levels = [one for level in form.levels for one in _twins(there, level.name, level, "all maps")]
    beside = [one for name in form.beside for one in CONTROL_SKILLS[name](form)]
    return (*compared, *levels, *beside)


def plan(form: str) -> StudyPlan:
    """The study in one of its forms. The tuning forms list the cells to tune, at their starting rates."""
    chosen = FORMS[form]
    skills = _skills(chosen)
    table = read_rates(chosen.tuned_by)
    tuned = table.rates if table else {}
    start = 0.25 if chosen.mode == "direct" else 1.0

    def rate(skill: SkillPlan, arm: ArmSpec) -> float:
        if skill.mode == ONE_RATE_MODE:
            return ONE_RATE
        return tuned.get(f"{_tuned_key(skill)}/{arm.label}", start * START_RATES[arm.label])

    return StudyPlan(
        study=f"hash_rank:{form}",
        title="Does reasoning need less LoRA rank than planning?",
        base=chosen.base,
        skills=skills,
        rates={rate_name(skill, arm): rate(skill, arm) for skill in skills for arm in skill.arms},
        tuned_by=chosen.tuned_by,
        shows=("calibration", "hash_rank"),
    )


def _tuned_key(skill: SkillPlan) -> str:
    """The tuned skill whose rates this one takes: further levels, the pilot, the repeat and the null take all maps'.

    The pilot of direct mode, which is the first to train there, has a tuning of its own.
    """
    if skill.name == "one-hop copy" or (skill.mode == "difficulty" and "mode=direct" in skill.task):
        return skill.key
    name, _, place = skill.name.partition(", ")
    if skill.mode == SWAPPED_MODE:
        name = next(other for other in TWINS if other != name)
    mode = skill.mode if skill.mode == "direct" else "matched"
    return f"{mode}/{name.removesuffix(' again')}, {place if place in PLACEMENTS else 'all maps'}"
