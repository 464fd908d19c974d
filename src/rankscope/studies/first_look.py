"""first_look: how much rank HashHop and HashChain need from one base, on the same maps.

`matched` mode is the comparison: both tasks write the same chains, then the asked path, then the answer, so that only
the question, and what follows from it, differs. `trace` mode is descriptive: each task writes its own trace, so
lengths and contents differ.
"""

from dataclasses import dataclass

from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.rates import read_rates
from rankscope.train.cell import ArmSpec, Budget, DenseSpec, FullSpec, LoraSpec

BASE = "tiny-gpt2"
KNOBS = "chains=2,max_length=5,hops=2"
LINES = {"matched": 8, "trace": 10}
"""Trace mode needs two lines more, since HashHop starts on distractor chains there too."""
TUNING_SEEDS = (1000,)
"""Never used for results."""
CLAIM = "reasoning needs less rank than planning"
RULE = (
    "Required rank at q = 0.9 in matched mode, each task's 95 % set. Supported when the whole ratio HashHop over "
    "HashChain lies above 1; the paper's `2-3 times` when it lies within 1.5 to 4; refuted when it lies at or below 1; "
    "underpowered below five seeds; undecided otherwise."
)


def _task(question: str, mode: str) -> str:
    asked = "asked=path," if mode == "matched" else ""
    return f"{question}:mode={mode},{asked}lines={LINES[mode]},{KNOBS}"


def _arms(ranks: tuple[int, ...], dense: bool = True) -> tuple[ArmSpec, ...]:
    adapters: tuple[ArmSpec, ...] = tuple(LoraSpec(rank=rank) for rank in ranks)
    return (*adapters, *((DenseSpec(),) if dense else ()), FullSpec())


@dataclass(frozen=True)
class Form:
    """What one form of the study trains."""

    ranks: tuple[int, ...]
    seeds: tuple[int, ...]
    trace_seeds: tuple[int, ...]
    n_test: int
    n_validation: int
    matched: Budget
    """Budget of the matched skills and the null."""
    tuned_by: tuple[str, ...]
    """Tuning runs that the rates come from; none for a tuning run."""


def _skills(form: Form) -> tuple[SkillPlan, ...]:
    ranks, n_test = form.ranks, form.n_test
    largest = max(ranks)
    pairs = (("HashHop", "hashhop"), ("HashChain", "hashchain"))
    matched = tuple(
        SkillPlan(
            name=name,
            mode="matched",
            task=_task(question, "matched"),
            arms=_arms(ranks),
            seeds=form.seeds,
            budget=form.matched,
            n_test=n_test,
            n_validation=form.n_validation,
            leaves_of=_task("hashhop", "matched"),
            functional=(largest,),
        )
        for name, question in pairs
    )
    null = SkillPlan(
        name="HashChain, shuffled labels",
        mode="null",
        task=_task("hashchain", "matched").replace("hashchain:", "shuffled:of=hashchain,"),
        arms=(LoraSpec(rank=largest),),
        seeds=form.seeds,
        budget=form.matched,
        n_test=n_test,
        functional=(largest,),
        controls=("energy", "global"),
        descriptive=True,
        tuned_as=_task("hashchain", "matched"),
    )
    trace = tuple(
        SkillPlan(
            name=name,
            mode="trace",
            task=_task(question, "trace"),
            arms=_arms(tuple(sorted({min(ranks), sorted(ranks)[len(ranks) // 2], largest})), dense=False),
            seeds=form.trace_seeds,
            budget=_steps(min(TRACE_STEPS, form.matched.n_steps), 32),
            n_test=n_test,
            leaves_of=_task("hashhop", "trace"),
            descriptive=True,
        )
        for name, question in pairs
    )
    return (*matched, *trace, null)


def _steps(n_steps: int, batch_size: int) -> Budget:
    return Budget(n_items=n_steps * batch_size, batch_size=batch_size)


LONG, SHORT = _steps(640, 64), _steps(300, 32)
"""Budgets of matched skills: the full form's, and the quick one's, at whose end dense training still improves."""
TRACE_STEPS = 300
"""Steps of 32 items: the traces are learnt sooner."""
RANKS = (1, 2, 4, 8, 16)
FORMS = {
    "full": Form(RANKS, (1, 2, 3, 4, 5), (1, 2), 500, 1000, LONG, ("first_look:tune",)),
    "quick": Form((1, 4), (11,), (), 300, 300, SHORT, ("first_look:tune_quick",)),
    "smoke": Form((1, 2), (21,), (21,), 40, 40, _steps(4, 32), ("first_look:tune_quick",)),
    "tune": Form(RANKS, TUNING_SEEDS, TUNING_SEEDS, 500, 1000, LONG, ()),
    "tune_quick": Form(RANKS, TUNING_SEEDS, (), 500, 300, SHORT, ()),
}

START_RATES = {
    "rank 1": 1.6e-2,
    "rank 2": 1.2e-2,
    "rank 4": 1e-2,
    "rank 8": 8e-3,
    "rank 16": 8e-3,
    "dense": 2e-3,
    "full": 2e-3,
}
"""Where tuning starts, and what an untuned study uses."""


def plan(form: str) -> StudyPlan:
    """The study in one of its forms. The tuning forms list the cells to tune, at their starting rates."""
    chosen = FORMS[form]
    skills = tuple(skill for skill in _skills(chosen) if skill.seeds)
    if not chosen.tuned_by:
        skills = tuple(skill for skill in skills if skill.mode != "null")
    table = read_rates(chosen.tuned_by)
    tuned = table.rates if table else {}
    return StudyPlan(
        study=f"first_look:{form}",
        title="First look: how much rank do planning and reasoning need?",
        base=BASE,
        skills=skills,
        rates={
            name: tuned.get(_shared_rate(name), START_RATES.get(arm.label, 8e-3))
            for skill in skills
            for arm in skill.arms
            for name in (rate_name(skill, arm),)
        },
        tuned_by=chosen.tuned_by,
        shows=("calibration", "first_look"),
    )


def _shared_rate(name: str) -> str:
    """The null uses the rate of the skill whose labels it shuffles."""
    return name.replace("null/HashChain, shuffled labels/", "matched/HashChain/")
