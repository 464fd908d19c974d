"""The required rank of any skill on any base: learning rates tuned, ranks trained over seeds, one run folder.

Two studies in a row, both data like all others: the tuning, in a folder of its own inside the run folder, and the study
that takes its rates from there. More seeds may be asked for later: they are added to those that are there.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field, PositiveInt

from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.lm.bases import Base, load_base
from rankscope.lm.sites import check_rank
from rankscope.rank.records import ClaimCard, SkillFindings, StudyFindings, read_findings
from rankscope.report.formats import listing
from rankscope.runs.folder import RunFolder, is_finished, verify_finished
from rankscope.runs.tables import read_table
from rankscope.studies.answers import held_words
from rankscope.studies.by_seed import frozen_precision, run_by_seed
from rankscope.studies.evidence import Evidence
from rankscope.studies.held_out import held_out_items, n_available
from rankscope.studies.page import FINDINGS
from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.progress import say
from rankscope.studies.rates import RateTable, read_rate_table, rounded
from rankscope.studies.stages import CELLS, Sitting, tell_cost
from rankscope.studies.study_findings import Account
from rankscope.studies.tuning import AT_EACH, GRID, RATES_FILE, run_tuning
from rankscope.tasks.catalog import load_items, load_task
from rankscope.tasks.encoded import check_fits
from rankscope.tasks.jsonl import JsonlTask
from rankscope.tasks.planted import PlantedTask
from rankscope.tasks.reasoning import ReasoningTask
from rankscope.train.cell import ArmSpec, Budget, DenseSpec, FullSpec, LoraSpec
from rankscope.train.precision import AUTO

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
MOST_ROUNDS = 6
"""The first grid, and up to five extensions by a factor of 2: the start may be far off on a base unlike those here."""


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


def measure_required_rank(
    question: Question,
    folder: Path,
    n_seeds: int = 5,
    workers: int = 0,
    device: str = "auto",
    precision: str = AUTO,
) -> Path:
    """Tunes every arm's learning rate, trains every arm with seeds 1 to n_seeds, and returns the run folder.

    `records/findings.json` and `report.html` in it are written after every seed. Stopped anywhere, the same call goes
    on; with more seeds than before it adds those. `workers` 0 fills the cores; `precision` is frozen when the folder
    is first opened, and so are base and items. An arm that diverges at every rate is left out and named.
    Raises BadInput where a rank exceeds what a site can hold, the task has too few items or imitates a teacher, dense
    or every rank diverges, or the folder holds the answer to another question; RunLocked when another process is in it.
    """
    if not 1 <= n_seeds < min(TUNING_SEEDS):
        raise BadInput(f"From 1 to {min(TUNING_SEEDS) - 1} seeds can be asked for, not {n_seeds}.")
    base = load_base(question.base)
    question = question.override(n_items=question.budget.n_items)
    hashes = _checked(question, base)
    start = _plan(question, base, TUNING_SEEDS, None)
    start = start.override(precision=frozen_precision(start, folder, precision, device))
    frozen = question.model_dump(mode="json") | {"study": STUDY, "precision": start.precision, "content": hashes}
    with RunFolder.open(folder, frozen, kind="study") as run:
        seeds = range(1, n_seeds + 1)
        if run.finished:
            verify_finished(folder)
            if _told(folder) >= {*seeds}:
                say(f"{folder} tells of these seeds already; nothing to do.")
                return folder
            run.reopen()
        sitting = Sitting(folder, device, workers)
        if not is_finished(folder / TUNING):
            n_trainings = len(question.arms) * (len(GRID) + n_seeds)
            how = f"{AT_EACH}, then with {n_seeds} seed{'' if n_seeds == 1 else 's'} ({n_trainings} trainings or more)"
            tell_cost([cell for *_, cell in start.cells()], sitting, len(GRID) + n_seeds, how)
        table = _tuned(start, Sitting(folder / TUNING, device, workers))
        plan = _plan(question, base, tuple(seeds), table).override(precision=start.precision)
        left = [cell for *_, cell in plan.cells() if not sitting.executor.has_finished(cell)]
        if left and (folder / CELLS).exists():
            tell_cost(left, sitting)
        run_by_seed(
            plan, Account(_no_claims, _answer_of(question, table), table, question.command(n_seeds)), {}, sitting
        )
        run.finish()
    return folder


def _told(folder: Path) -> set[int]:
    """Seeds that the findings in a folder tell of; none where they are partial."""
    if read_findings(folder / FINDINGS).partial:
        return set()
    return set(read_table(folder / CELLS, {"seed": pl.Int64})["seed"])


def _checked(question: Question, base: Base) -> dict[str, str]:
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


def _plan(question: Question, base: Base, seeds: tuple[int, ...], table: RateTable | None) -> StudyPlan:
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


def _dead(question: Question, table: RateTable) -> list[str]:
    """Arms that diverged at every learning rate tried."""
    return [arm.label for arm in question.arms if f"{MODE}/{question.name}/{arm.label}" not in table.rates]


def _alive(question: Question, table: RateTable) -> tuple[ArmSpec, ...]:
    """The arms without the dead ones. Raises BadInput where dense is one of them, or every rank."""
    dead = _dead(question, table)
    alive = tuple(arm for arm in question.arms if arm.label not in dead)
    if "dense" in dead or not any(isinstance(arm, LoraSpec) for arm in alive):
        rates = sorted({float(rate) for tried in table.scores.values() for rate in tried})
        raise BadInput(
            f"{listing(dead)} diverged at every learning rate tried (from {rates[0]:g} to {rates[-1]:g}), and a "
            "required rank takes dense and a rank. Look at items and base, or take larger batches or fewer sites."
        )
    return alive


def _tuned(plan: StudyPlan, sitting: Sitting) -> RateTable:
    """The table of tuned rates, from the tuning's folder; trained first where it is not there."""
    with RunFolder.open(sitting.folder, plan.model_dump(mode="json"), kind="study") as run:
        if not run.finished:
            run_tuning(plan, sitting, MOST_ROUNDS)
            run.finish()
    return read_rate_table(sitting.folder / RATES_FILE)


def _no_claims(_evidence: Evidence, _command: str) -> tuple[ClaimCard, ...]:
    return ()


def _answer_of(question: Question, table: RateTable) -> Callable[[StudyFindings], tuple[str, ...]]:
    """The answer, from what was found, with what had to be left out."""
    dead = _dead(question, table)
    left_out = (f"Left out, having diverged at every learning rate tried: {listing(dead)}.",) if dead else ()
    return lambda found: (*required_answer(found), *left_out)


def required_answer(found: StudyFindings) -> tuple[str, ...]:
    """The required rank for both shares of the gain, what its largest adapter uses, and how far to trust it."""
    (skill,) = found.skills
    sentences = [f"{skill.name}: {required.sentence}" for required in skill.required]
    return (*sentences, *_scores(skill), *_functional(skill), *held_words(found.calibration))


def _scores(skill: SkillFindings) -> tuple[str, ...]:
    """What full fine-tuning and dense reach from where."""
    reached = [f"{arm} {point.score.estimate:.1%}" for arm in ("dense", "full") if (point := skill.point(arm))]
    return (f"Exact output: base {skill.base_score:.1%}, {', '.join(reached)}.",) if reached else ()


def _functional(skill: SkillFindings) -> tuple[str, ...]:
    if not skill.functional:
        return ()
    one, seeds = skill.functional[0], f"{skill.n_seeds} seed{'' if skill.n_seeds == 1 else 's'}"
    if one.no_gain:
        return (f"Its {one.arm} adapters gain nothing, so there is nothing to cut.",)
    directions = f"{one.median:g} direction{'' if one.median == 1 else 's'} per site"
    told = (
        f"Its {one.arm} adapters use {directions} to keep {one.q:.0%} of their gain (functional rank, median of "
        f"{seeds}): that describes them, and is not the rank to train with."
    )
    return (told,)
