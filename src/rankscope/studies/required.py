"""The required rank of any skill on any base: learning rates tuned, ranks trained over seeds, one run folder.

Two studies in a row, both data like all others: the tuning, in a folder of its own inside the run folder, and the study
that takes its rates from there. More seeds may be asked for later: they are added to those that are there.
"""

import shlex
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.lm.bases import Base, load_base
from rankscope.lm.sites import check_rank
from rankscope.rank.records import ClaimCard, SkillFindings, StudyFindings
from rankscope.runs.folder import RunFolder, verify_finished
from rankscope.studies.answers import held_words
from rankscope.studies.by_seed import frozen_precision, run_by_seed
from rankscope.studies.evidence import Evidence
from rankscope.studies.held_out import held_out_items, n_available
from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.progress import say
from rankscope.studies.rates import RateTable, read_table, rounded
from rankscope.studies.stages import Sitting, tell_cost
from rankscope.studies.study_findings import Account
from rankscope.studies.tuning import AT_EACH, GRID, RATES_FILE, run_tuning
from rankscope.tasks.catalog import load_task
from rankscope.tasks.jsonl import JsonlTask
from rankscope.tasks.planted import PlantedTask
from rankscope.train.cell import ArmSpec, Budget, DenseSpec, FullSpec, LoraSpec
from rankscope.train.precision import AUTO

STUDY, MODE, TUNING = "required", "own", "tuning"
TUNING_SEEDS = (1000,)
"""Never used for results."""
N_TEST, N_VALIDATION = 500, 500
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
            raise BadInput(f"{n} training items fill no batch of {self.batch_size}. Ask for more, or smaller batches.")
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
    is first opened.
    Raises BadInput where a rank exceeds what a site can hold, the task has too few items or imitates a teacher, or
    the folder holds the answer to another question; RunLocked when another process is in the folder.
    """
    base = load_base(question.base)
    question = question.override(n_items=question.budget.n_items)
    _check(question, base)
    start = _plan(question, base, TUNING_SEEDS, None)
    start = start.override(precision=frozen_precision(start, folder, precision, device))
    frozen = question.model_dump(mode="json") | {"study": STUDY, "precision": start.precision}
    with RunFolder.open(folder, frozen, kind="study") as run:
        sitting = Sitting(folder, device, workers)
        if not (folder / TUNING).exists():
            n_rounds, how = len(GRID) + n_seeds, f"{AT_EACH}, then with {n_seeds} seeds"
            tell_cost([cell for *_, cell in start.cells()], sitting, n_rounds, how)
        table = _tuned(start, Sitting(folder / TUNING, device, workers))
        plan = _plan(question, base, tuple(range(1, n_seeds + 1)), table).override(precision=start.precision)
        if run.finished:
            verify_finished(folder)
            if all(sitting.executor.has_finished(cell) for *_, cell in plan.cells()):
                say(f"{folder} has these seeds already; nothing to do.")
                return folder
            run.reopen()
        account = Account(_no_claims, required_answer, table, question.command(n_seeds))
        run_by_seed(plan, account, {}, sitting)
        run.finish()
    return folder


def _check(question: Question, base: Base) -> None:
    """Raises before anything is trained or written where the question can't be asked."""
    if isinstance(load_task(question.task), PlantedTask):
        raise BadInput(
            f"{question.task} imitates a teacher of known rank; `rankscope study calibration` asks of those."
        )
    check_rank(base.model, max(question.ranks), question.placement)
    for split, n in (("test", N_TEST), ("validation", N_VALIDATION), ("train", question.budget.n_items)):
        held_out_items(question.task, base, n, split, fewest=n if split == "train" else 2)


def _plan(question: Question, base: Base, seeds: tuple[int, ...], table: RateTable | None) -> StudyPlan:
    """The tuning at its starting rates, or with its table the study itself."""
    skill = SkillPlan(
        name=question.name,
        mode=MODE,
        task=question.task,
        arms=question.arms,
        seeds=seeds,
        budget=question.budget,
        n_test=n_available(question.task, "test", N_TEST),
        n_validation=n_available(question.task, "validation", N_VALIDATION),
        functional=(max(question.ranks),),
    )
    width = int(base.model.config.get_text_config().hidden_size)
    return StudyPlan(
        study=STUDY if table else f"{STUDY}:{TUNING}",
        title=f"How much rank does {question.name} need on {Path(base.name).name}?",
        base=question.base,
        skills=(skill,),
        rates={
            rate_name(skill, arm): _tuned_rate(table, skill, arm) if table else start_rate(arm, width)
            for arm in skill.arms
        },
        shows=("calibration",),
    )


def start_rate(arm: ArmSpec, width: int) -> float:
    """Where the tuning of an arm starts on a base of that width."""
    return rounded((ADAPTER_RATE if isinstance(arm, LoraSpec) else WHOLE_RATE) * WIDTH / width)


def _tuned_rate(table: RateTable, skill: SkillPlan, arm: ArmSpec) -> float:
    name = rate_name(skill, arm)
    if name not in table.rates:
        tried = ", ".join(table.scores[name])
        raise BadInput(f"{arm.label} diverged at every learning rate tried ({tried}), so nothing can be told of it.")
    return table.rates[name]


def _tuned(plan: StudyPlan, sitting: Sitting) -> RateTable:
    """The table of tuned rates, from the tuning's folder; trained first where it is not there."""
    with RunFolder.open(sitting.folder, plan.model_dump(mode="json"), kind="study") as run:
        if not run.finished:
            run_tuning(plan, sitting, MOST_ROUNDS)
            run.finish()
    return read_table(sitting.folder / RATES_FILE)


def _no_claims(_evidence: Evidence, _command: str) -> tuple[ClaimCard, ...]:
    return ()


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
    told = (
        f"Its {one.arm} adapters use {one.median:g} directions per site to keep {one.q:.0%} of their gain (functional "
        f"rank, median of {seeds}): that describes them, and is not the rank to train with."
    )
    return (told,)
