"""first_look: how much rank HashHop and HashChain need from one base, on the same maps.

`matched` mode is the comparison: both tasks write the same chains, then the asked path, then the answer, so that only
the question, and what follows from it, differs. `trace` mode is descriptive: each task writes its own trace, so
lengths and contents differ.
"""

from rankscope.studies.plan import ALL_CONTROLS, SkillPlan, StudyPlan, rate_name
from rankscope.studies.rates import read_rates
from rankscope.train.cell import ArmSpec, Budget, DenseSpec, FullSpec, LoraSpec

BASE = "tiny-gpt2"
KNOBS = "chains=2,max_length=5,hops=2"
LINES = {"matched": 8, "trace": 10}
"""Trace mode needs two lines more, since HashHop starts on distractor chains there too."""
BATCH = 32
N_STEPS = 300
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


def _skills(
    ranks: tuple[int, ...], seeds: tuple[int, ...], trace_seeds: tuple[int, ...], n_test: int, n_steps: int
) -> tuple[SkillPlan, ...]:
    budget = Budget(n_items=n_steps * BATCH, batch_size=BATCH)
    largest = max(ranks)
    pairs = (("HashHop", "hashhop"), ("HashChain", "hashchain"))
    matched = tuple(
        SkillPlan(
            name=name,
            mode="matched",
            task=_task(question, "matched"),
            arms=_arms(ranks),
            seeds=seeds,
            budget=budget,
            n_test=n_test,
            leaves_of=_task("hashhop", "matched"),
            functional=(largest,),
            controls=ALL_CONTROLS,
        )
        for name, question in pairs
    )
    null = SkillPlan(
        name="HashChain, shuffled labels",
        mode="null",
        task=_task("hashchain", "matched").replace("hashchain:", "shuffled:of=hashchain,"),
        arms=(LoraSpec(rank=largest),),
        seeds=seeds,
        budget=budget,
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
            seeds=trace_seeds,
            budget=budget,
            n_test=n_test,
            leaves_of=_task("hashhop", "trace"),
            descriptive=True,
        )
        for name, question in pairs
    )
    return (*matched, *trace, null)


FORMS = {
    "full": {"ranks": (1, 2, 4, 8, 16), "seeds": (1, 2, 3, 4, 5), "trace_seeds": (1, 2), "n_test": 500},
    "quick": {"ranks": (1, 4), "seeds": (11,), "trace_seeds": (), "n_test": 300},
    "smoke": {"ranks": (1, 2), "seeds": (21,), "trace_seeds": (21,), "n_test": 40},
    "tune": {"ranks": (1, 2, 4, 8, 16), "seeds": TUNING_SEEDS, "trace_seeds": TUNING_SEEDS, "n_test": 500},
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
    """The study in one of its forms. `tune` lists the cells to tune, at their starting rates."""
    settings = FORMS[form]
    n_steps = 4 if form == "smoke" else N_STEPS
    skills = tuple(skill for skill in _skills(**settings, n_steps=n_steps) if skill.seeds)  # type: ignore[arg-type]
    if form == "tune":
        skills = tuple(skill for skill in skills if skill.mode != "null")
    table = None if form == "tune" else read_rates("first_look")
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
        shows=("calibration", "first_look"),
    )


def _shared_rate(name: str) -> str:
    """The null uses the rate of the skill whose labels it shuffles."""
    return name.replace("null/HashChain, shuffled labels/", "matched/HashChain/")
