"""calibration: skills whose rank is known, put through the very procedure that judges real skills.

Each repeat is a teacher of its own: the base plus a planted update of rank k at the last down-projection. All arms
imitate it on plain maps; the score is -KL(teacher || student), so the exact gain of a perfect student is known.
"""

from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.rates import read_rates
from rankscope.train.cell import ArmSpec, Budget, DenseSpec, FullSpec, LoraSpec

BASE = "tiny-gpt2"
SITE = "transformer.h.3.mlp.c_proj"
MAP = "lines=6,chains=2,max_length=4,distractors=1"
RANKS = (1, 2, 4, 8)
SEEDS = (1, 2, 3, 4, 5)
TUNING_SEEDS = (1000,)
TUNING_RANK, TUNING_TEACHER = 2, 100
"""The one teacher that rates are tuned on, and no result comes from."""
FORMS: dict[str, dict[int, int]] = {
    "quick": {1: 6, 2: 7, 4: 7},
    "smoke": {2: 1},
    "tune": {TUNING_RANK: 1},
}
"""Form -> planted rank -> repeats."""
TUNING = "calibration:tune"
BATCH, N_STEPS = 32, 120
NULL_KNOBS = "lines=10,chains=2,max_length=5,hops=2"
START_RATES = {"rank 1": 3e-2, "rank 2": 3e-2, "rank 4": 3e-2, "rank 8": 2e-2, "dense": 2e-3}
NULL_RATE = 8e-3


def _task(k: int, teacher: int) -> str:
    return f"planted:k={k},seed={teacher},placement={SITE},{MAP}"


def _planted(k: int, teacher: int, seeds: tuple[int, ...], n_steps: int) -> SkillPlan:
    arms: tuple[ArmSpec, ...] = (
        *(LoraSpec(rank=rank, placement=(SITE,)) for rank in RANKS),
        DenseSpec(placement=(SITE,)),
    )
    return SkillPlan(
        name=f"rank {k}, teacher {teacher}",
        mode="planted",
        task=_task(k, teacher),
        tuned_as=_task(TUNING_RANK, TUNING_TEACHER),
        arms=arms,
        seeds=seeds,
        budget=Budget(n_items=BATCH * n_steps, batch_size=BATCH),
        n_test=200,
        functional=(max(RANKS),),
        controls=("energy",),
        n_truncation=200,
        generate=False,
    )


def _null(seeds: tuple[int, ...], n_steps: int) -> SkillPlan:
    return SkillPlan(
        name="shuffled labels",
        mode="null",
        task=f"shuffled:mode=direct,{NULL_KNOBS}",
        arms=(LoraSpec(rank=4), FullSpec()),
        seeds=seeds,
        budget=Budget(n_items=64 * n_steps, batch_size=64),
        n_test=500,
        functional=(4,),
        controls=("energy",),
        n_truncation=500,
        generate=False,
        descriptive=True,
    )


def plan(form: str) -> StudyPlan:
    """The study in one of its forms."""
    n_steps = {"smoke": 4}.get(form, N_STEPS)
    seeds = {"smoke": (1,), "tune": TUNING_SEEDS}.get(form, SEEDS)
    first = TUNING_TEACHER if form == "tune" else 1
    skills = [
        _planted(k, first + repeat, seeds, n_steps) for k, repeats in FORMS[form].items() for repeat in range(repeats)
    ]
    if form != "tune":
        skills.append(_null(seeds, n_steps))
    table = None if form == "tune" else read_rates(TUNING)
    tuned = {name.rsplit("/", 1)[1]: rate for name, rate in table.rates.items()} if table else {}
    rates = {}
    for skill in skills:
        for arm in skill.arms:
            start = START_RATES | tuned if skill.mode == "planted" else {"rank 4": NULL_RATE, "full": 1e-3}
            rates[rate_name(skill, arm)] = start[arm.label]
    return StudyPlan(
        study=f"calibration:{form}",
        title="Calibration: does the procedure find a rank that is known?",
        base=BASE,
        skills=tuple(skills),
        rates=rates,
        tuned_by=None if form == "tune" else TUNING,
    )
