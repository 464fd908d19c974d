"""How much rank a skill of one's own needs, as a question, and the two plans that it becomes: a tuning, and a study."""

import shlex
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.lm.bases import Base
from rankscope.lm.sites import check_rank
from rankscope.report.formats import listing
from rankscope.studies.held_out import held_out_items, n_available
from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.rates import RateTable, rounded
from rankscope.tasks.catalog import load_items, load_task
from rankscope.tasks.encoded import check_fits
from rankscope.tasks.jsonl import JsonlTask
from rankscope.tasks.planted import PlantedTask
from rankscope.tasks.reasoning import ReasoningTask
from rankscope.train.cell import ArmSpec, Budget, DenseSpec, FullSpec, LoraSpec

STUDY, MODE, TUNING = "required", "own", "tuning"
TUNING_SEEDS = (1000,)
"""Never used for results."""
N_TEST, N_VALIDATION, FEWEST = 500, 500, 30
"""Held-out items that are scored, unless a file has fewer, and how many it must have: a handful that all seeds agree on
would look like certainty."""
N_ITEMS = 32_000
"""Training items, unless a file has fewer."""
WIDTH, ADAPTER_RATE, WHOLE_RATE = 128, 1e-2, 2e-3
"""Where tuning starts: near the rates that were best in `first_look`, whose base has that width; in proportion less
where the base is wider, as Adam's rates go (arXiv 2203.03466)."""


class Question(Config):
    """How much rank a skill needs: what skill, on what base, at which ranks and places, with what budget."""

    task: str
    """Task with its knobs, or FILE.jsonl."""
    base: str
    """Shipped base, model folder, or Hugging Face name."""
    ranks: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 4, 8, 16)
    placement: tuple[str, ...] = ("*",)
    """Globs over the base's linear maps."""
    n_items: PositiveInt | None = None
    """Training items; None for N_ITEMS, or for as many as a file has."""
    n_epochs: PositiveInt = 1
    batch_size: PositiveInt = 64

    @property
    def name(self) -> str:
        """What the skill is called: the task without its knobs, or the file's name without its ending."""
        loaded = load_task(self.task)
        return loaded.path.stem if isinstance(loaded, JsonlTask) else self.task.partition(":")[0]

    @property
    def arms(self) -> tuple[ArmSpec, ...]:
        """An adapter per rank, dense and full."""
        adapters = tuple(LoraSpec(rank=rank, placement=self.placement) for rank in sorted({*self.ranks}))
        return (*adapters, DenseSpec(placement=self.placement), FullSpec())

    @property
    def budget(self) -> Budget:
        """What each training sees. Raises BadInput where the task has fewer items, or they fill no batch."""
        n = self.n_items or n_available(self.task, "train", N_ITEMS)
        if n < self.batch_size:
            raise BadInput(
                f"{n} training items fill no batch of {self.batch_size}. Take more items, or a smaller batch."
            )
        return Budget(n_items=n, batch_size=self.batch_size, n_epochs=self.n_epochs)

    def command(self, n_seeds: int) -> str:
        """The command that asks it."""
        given = {
            "--task": (self.task,),
            "--base": (self.base,),
            "--ranks": (",".join(map(str, self.ranks)),),
            "--sites": self.placement,
            "--seeds": (str(n_seeds),),
            "--items": (str(self.budget.n_items),),
            "--epochs": (str(self.n_epochs),),
            "--batch": (str(self.batch_size),),
        }
        options = (f"{option} {shlex.quote(value)}" for option, values in given.items() for value in values)
        return f"rankscope required {' '.join(options)} --out FOLDER"


def checked(question: Question, base: Base) -> dict[str, str]:
    """Hashes of the base and of the items of every split, which the folder is bound to.

    Raises before anything is trained or written where the question can't be asked.
    """
    if isinstance(load_task(question.task), PlantedTask):
        raise BadInput(
            f"{question.task} imitates a teacher of known rank; `rankscope study calibration` asks of those."
        )
    check_rank(base.model, max(question.ranks), question.placement)
    is_file = isinstance(load_task(question.task), JsonlTask)
    n_train = question.budget.n_items if is_file else question.batch_size
    trained_on = load_items(question.task, "train", n_train, TUNING_SEEDS[0], base.tokenizer)
    check_fits(trained_on, base.n_positions, base.name)
    scored = scored_as(question.task)
    test, validation = (
        held_out_items(scored, base, n, split, FEWEST) for split, n in (("test", N_TEST), ("validation", N_VALIDATION))
    )
    items = {"training items": trained_on, "test items": test, "validation items": validation}
    return {"base": base.content_hash} | {name: found.content_hash for name, found in items.items()}


def scored_as(task: str) -> str:
    """The task that is scored: of traces with wrong steps, which nobody could foresee, the items without any."""
    mixes = isinstance(load_task(task), ReasoningTask) and "wrong=" not in task
    return f"{task}{',' if ':' in task else ':'}wrong=0" if mixes else task


def required_plan(question: Question, base: Base, seeds: tuple[int, ...], table: RateTable | None) -> StudyPlan:
    """The tuning at its starting rates, or with its table the study itself."""
    scored = scored_as(question.task)
    skill = SkillPlan(
        name=question.name,
        mode=MODE,
        task=question.task,
        scored_as=None if scored == question.task else scored,
        arms=question.arms if table is None else _alive(question, table),
        seeds=seeds,
        budget=question.budget,
        n_test=n_available(question.task, "test", N_TEST),
        n_validation=n_available(question.task, "validation", N_VALIDATION),
    )
    skill = skill.override(functional=(max(arm.rank for arm in skill.lora_arms),))
    width = int(getattr(base.model.config.get_text_config(), "hidden_size", WIDTH))
    return StudyPlan(
        study=STUDY if table else f"{STUDY}:{TUNING}",
        title=f"How much rank does {question.name} need on {Path(base.name).resolve().name}?",
        base=question.base,
        skills=(skill,),
        rates={
            name: table.rates[name] if table else start_rate(arm, width)
            for arm in skill.arms
            for name in (rate_name(skill, arm),)
        },
        shows=("calibration",),
    )


def start_rate(arm: ArmSpec, width: int) -> float:
    """Where the tuning of an arm starts on a base of that width."""
    return rounded((ADAPTER_RATE if isinstance(arm, LoraSpec) else WHOLE_RATE) * WIDTH / width)


def dead_arms(question: Question, table: RateTable) -> list[str]:
    """Arms that diverged at every learning rate tried."""
    return [arm.label for arm in question.arms if f"{MODE}/{question.name}/{arm.label}" not in table.rates]


def _alive(question: Question, table: RateTable) -> tuple[ArmSpec, ...]:
    """The arms without the dead ones. Raises BadInput where dense is one of them, or every rank."""
    dead = dead_arms(question, table)
    alive = tuple(arm for arm in question.arms if arm.label not in dead)
    if "dense" in dead or not any(isinstance(arm, LoraSpec) for arm in alive):
        rates = sorted({float(rate) for tried in table.scores.values() for rate in tried})
        raise BadInput(
            f"{listing(dead)} diverged at every learning rate tried (from {rates[0]:g} to {rates[-1]:g}), and a "
            "required rank takes dense and a rank. Look at items and base, or take larger batches or fewer sites."
        )
    return alive
