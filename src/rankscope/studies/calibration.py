"""calibration: skills whose rank is known, put through the very procedure that judges real skills.

Each repeat is a teacher of its own: the base plus a planted update of rank k. All arms imitate it on plain maps; the
score is -KL(teacher || student), so the exact gain of a perfect student is known. Besides: shuffled labels, where there
is no rank to find; answers exchanged by permutations of rising rank; and trainings that differ in what should leave a
rank estimate alone (nominal rank, learning rate, steps, noise).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from rankscope.rank.estimator_scores import AS_TUNED, LESS_NOISE, MORE_NOISE, NOISE
from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.rates import RateTable, read_rates, rounded
from rankscope.train.cell import ArmSpec, Budget, DenseSpec, FullSpec, LoraSpec

BASE = "tiny-gpt2"
SITE, SITE_BEFORE = "transformer.h.3.mlp.c_proj", "transformer.h.2.mlp.c_proj"
MAP = "lines=6,chains=2,max_length=4,distractors=1"
BATCH, N_STEPS = 32, 120
SEEDS = (1, 2, 3, 4, 5)
TUNING_SEEDS = (1000,)
TUNING_TEACHER = 100
"""Teachers that rates are tuned on, and no result comes from."""
TUNED_RANKS = (2, 8)
"""Planted ranks of those teachers: each planted rank takes the rates of the larger one at or below it, or the first."""
TUNINGS = ("calibration:tune", "calibration:tune_more_noise", "calibration:tune_less_noise")
"""Tuning runs that all rates come from; the first has what the study began with, the others a condition each."""


@dataclass(frozen=True)
class Condition:
    """How an update is planted and learnt, apart from its rank."""

    name: str
    sites: tuple[str, ...] = (SITE,)
    decay: float | None = None
    """Ratio of each direction's strength to the one before; None for equal strengths."""
    samples: int | None = None
    """Tokens of the teacher that a training target is drawn as; None for its whole distribution."""
    n_steps: int = N_STEPS

    def task(self, k: int, teacher: int) -> str:
        """Task name of one teacher."""
        knobs = [f"k={k}", f"seed={teacher}", f"placement={'+'.join(self.sites)}"]
        knobs += [f"decay={self.decay:g}"] if self.decay else []
        knobs += [f"samples={self.samples}"] if self.samples else []
        return f"planted:{','.join(knobs)},{MAP}"

    @property
    def budget(self) -> Budget:
        """Every item is seen once."""
        return Budget(n_items=BATCH * self.n_steps, batch_size=BATCH)

    def arms(self, ranks: tuple[int, ...], dense: bool = True) -> tuple[ArmSpec, ...]:
        """Adapters of these ranks at the planted sites, and dense."""
        adapters: tuple[ArmSpec, ...] = tuple(LoraSpec(rank=rank, placement=self.sites) for rank in ranks)
        return (*adapters, *((DenseSpec(placement=self.sites),) if dense else ()))


PLAIN = Condition("one site")
FALLING = Condition("falling strengths", decay=0.7)
TWO_SITES = Condition("two sites", sites=(SITE_BEFORE, SITE))
NOISY = Condition(NOISE, samples=64)
NOISIER = Condition(MORE_NOISE, samples=16)
MILDER = Condition(LESS_NOISE, samples=128)
NUISANCE_OF_SAMPLES = {None: AS_TUNED, NOISY.samples: NOISE, NOISIER.samples: MORE_NOISE, MILDER.samples: LESS_NOISE}
"""Tokens that a training target is drawn as -> what that is called among what should leave an estimate alone."""
TUNED_AS = {PLAIN: PLAIN, FALLING: PLAIN, TWO_SITES: TWO_SITES, NOISY: NOISY, NOISIER: NOISIER, MILDER: MILDER}
"""Conditions whose rates another one takes: strengths leave sites, budget and noise as they are."""


@dataclass(frozen=True)
class Form:
    """What one form of the study trains."""

    repeats: tuple[tuple[Condition, dict[int, int]], ...]
    """Condition -> planted rank -> repeats."""
    ranks: tuple[int, ...]
    seeds: tuple[int, ...] = SEEDS
    nuisance: tuple[tuple[int, int], ...] = ()
    """(planted rank, teacher) of the trainings that differ in what should not matter."""
    relabelled: tuple[int, ...] = ()
    """Symbols moved by the permutations."""
    simulated: int = 0
    """Simulated curves per family, and nulls per test."""
    n_steps: int | None = None
    """Steps in place of N_STEPS; other budgets are cut in proportion."""


RANKS = (1, 2, 4, 8, 16, 32)
FORMS = {
    "full": Form(
        repeats=(
            (PLAIN, dict.fromkeys((1, 2, 4, 8, 16), 10)),
            (FALLING, dict.fromkeys((2, 4, 8, 16), 5)),
            (TWO_SITES, dict.fromkeys((1, 2, 4), 5) | dict.fromkeys((8, 16), 4)),
            (NOISY, dict.fromkeys((1, 2, 4, 8), 5) | {16: 3}),
            (NOISIER, dict.fromkeys((1, 2, 4, 8), 3)),
            (MILDER, dict.fromkeys((1, 2, 4, 8, 16), 3)),
        ),
        ranks=RANKS,
        nuisance=tuple((k, 200 + teacher) for k in (2, 4, 8) for teacher in (1, 2)),
        relabelled=(2, 8, 32),
        simulated=2000,
    ),
    "quick": Form(((PLAIN, {1: 6, 2: 7, 4: 7}),), (1, 2, 4, 8)),
    "smoke": Form(
        ((PLAIN, {2: 1}), (NOISY, {1: 1})), (1, 2, 4), (1,), ((2, 201),), relabelled=(2,), simulated=4, n_steps=4
    ),
    "tune": Form(
        tuple((condition, dict.fromkeys(TUNED_RANKS, 1)) for condition in (PLAIN, TWO_SITES, NOISY)),
        RANKS,
        TUNING_SEEDS,
        relabelled=(8,),
    ),
    "tune_more_noise": Form(((NOISIER, dict.fromkeys(TUNED_RANKS, 1)),), RANKS, TUNING_SEEDS),
    "tune_less_noise": Form(((MILDER, dict.fromkeys(TUNED_RANKS, 1)),), RANKS, TUNING_SEEDS),
}
START_RATES = {f"rank {rank}": 3e-2 if rank < 8 else 2e-2 for rank in RANKS} | {"dense": 2e-3}
N_TEST = 200
TRUNCATED = 16
"""Nominal rank of the adapters whose functional rank is taken: the largest of which every k is tried."""


def _planted(condition: Condition, k: int, teacher: int, form: Form) -> SkillPlan:
    tuned_k = max((rank for rank in TUNED_RANKS if rank <= k), default=TUNED_RANKS[0])
    return SkillPlan(
        name=f"rank {k}, {condition.name}, teacher {teacher}",
        mode="planted",
        task=condition.task(k, teacher),
        tuned_as=TUNED_AS[condition].task(tuned_k, TUNING_TEACHER),
        repeats=f"rank {k}, {condition.name}",
        arms=condition.arms(form.ranks),
        seeds=form.seeds,
        budget=condition.budget,
        n_test=N_TEST,
        functional=(TRUNCATED if TRUNCATED in form.ranks else max(form.ranks),),
        controls=("energy",),
        n_truncation=N_TEST,
        generate=False,
    )


NUISANCES: dict[str, tuple[Condition, float]] = {
    AS_TUNED: (PLAIN, 1.0),
    "a quarter of the rate": (PLAIN, 0.25),
    "twice the rate": (PLAIN, 2.0),
    "half the steps": (replace(PLAIN, n_steps=N_STEPS // 2), 1.0),
    "twice the steps": (replace(PLAIN, n_steps=2 * N_STEPS), 1.0),
    NOISE: (NOISY, 1.0),
}
"""Name -> how a teacher is learnt, and the factor on the tuned rate."""
NUISANCE_RANKS, NUISANCE_SEEDS = (8, 16, 32), (1, 2)


def _nuisances(form: Form) -> Iterator[tuple[SkillPlan, float]]:
    """Skills that differ in what should not matter, each with the factor on its rates."""
    for k, teacher in form.nuisance:
        for name, (condition, factor) in NUISANCES.items():
            plain = _planted(condition if condition in TUNED_AS else PLAIN, k, teacher, form)
            ranks = tuple(rank for rank in NUISANCE_RANKS if rank in form.ranks) or (max(form.ranks),)
            yield (
                plain.override(
                    name=f"rank {k}, teacher {teacher}, {name}",
                    repeats="nuisances",
                    varies=name,
                    arms=[arm.model_dump() for arm in condition.arms(ranks, dense=False)],
                    budget=condition.budget.model_dump(),
                    seeds=[seed for seed in NUISANCE_SEEDS if seed in form.seeds],
                    functional=ranks,
                    descriptive=True,
                ),
                factor,
            )


NULL_KNOBS = "lines=10,chains=2,max_length=5,hops=2"
NULL_RATES = {"rank 4": 8e-3, "full": 1e-3}


def _null(form: Form) -> SkillPlan:
    return SkillPlan(
        name="shuffled labels",
        mode="null",
        task=f"shuffled:mode=direct,{NULL_KNOBS}",
        arms=(LoraSpec(rank=4), FullSpec()),
        seeds=form.seeds,
        budget=Budget(n_items=64 * N_STEPS, batch_size=64),
        n_test=500,
        functional=(4,),
        controls=("energy",),
        n_truncation=500,
        generate=False,
        descriptive=True,
    )


RELABEL_MAP = "lines=6,chains=2,max_length=4,distractors=1"
RELABEL_STEPS, RELABEL_BATCH = 300, 64
TUNED_MOVED = 8


def _relabel(moved: int, form: Form) -> SkillPlan:
    return SkillPlan(
        name=f"{moved} symbols relabelled",
        mode="relabel",
        task=f"relabel:moved={moved},{RELABEL_MAP}",
        tuned_as=f"relabel:moved={TUNED_MOVED},{RELABEL_MAP}",
        arms=PLAIN.arms(form.ranks),
        seeds=form.seeds,
        budget=Budget(n_items=RELABEL_BATCH * RELABEL_STEPS, batch_size=RELABEL_BATCH),
        n_test=500,
        generate=False,
    )


def plan(form: str) -> StudyPlan:
    """The study in one of its forms."""
    chosen = FORMS[form]
    is_tuning = f"calibration:{form}" in TUNINGS
    varied = list(_nuisances(chosen))
    factors = {skill.key: factor for skill, factor in varied}
    skills = [*_tuned_skills(chosen, TUNING_TEACHER if is_tuning else 1), *(skill for skill, _ in varied)]
    skills = [_shortened(skill, chosen) for skill in (*skills, *(() if is_tuning else (_null(chosen),)))]
    table = None if is_tuning else read_rates(TUNINGS)
    return StudyPlan(
        study=f"calibration:{form}",
        title="Calibration: does the procedure find a rank that is known?",
        base=BASE,
        skills=tuple(skills),
        rates={
            rate_name(skill, arm): rounded(_rate(skill, arm, table) * factors.get(skill.key, 1.0))
            for skill in skills
            for arm in skill.arms
        },
        tuned_by=() if is_tuning else TUNINGS,
        simulated=chosen.simulated,
    )


def _tuned_skills(form: Form, first_teacher: int) -> list[SkillPlan]:
    """Planted and relabelled skills, whose arms compete at rates of their own."""
    planted = [
        _planted(condition, k, first_teacher + repeat, form)
        for condition, by_rank in form.repeats
        for k, repeats in by_rank.items()
        for repeat in range(repeats)
    ]
    return [*planted, *(_relabel(moved, form) for moved in form.relabelled)]


def _shortened(skill: SkillPlan, form: Form) -> SkillPlan:
    if form.n_steps is None:
        return skill
    n_steps = max(1, skill.budget.n_steps * form.n_steps // N_STEPS)
    budget = Budget(n_items=n_steps * skill.budget.batch_size, batch_size=skill.budget.batch_size)
    return skill.override(budget=budget.model_dump())


@lru_cache(maxsize=1)
def _homes() -> dict[str, str]:
    """Task -> key of the skill that it was tuned as."""
    tunings = (FORMS[tuning.partition(":")[2]] for tuning in TUNINGS)
    return {skill.task: skill.key for form in tunings for skill in _tuned_skills(form, TUNING_TEACHER)}


def _rate(skill: SkillPlan, arm: ArmSpec, table: RateTable | None) -> float:
    """The rate tuned for the skill that this one was tuned as, or the one that tuning starts from."""
    if skill.mode == "null":
        return NULL_RATES[arm.label]
    home = _homes().get(skill.tuned_as or "")
    tuned = table.rates.get(f"{home}/{arm.label}") if table else None
    return tuned or START_RATES[arm.label]
