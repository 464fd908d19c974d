"""The required rank of any skill on any base: learning rates tuned, ranks trained over seeds, one run folder.

Two studies in a row, both data like all others: the tuning, in a folder of its own inside the run folder, and the study
that takes its rates from there. More seeds may be asked for later: they are added to those that are there.
"""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from rankscope.base.errors import BadInput
from rankscope.lm.bases import load_base
from rankscope.rank.records import ClaimCard, SkillFindings, StudyFindings, read_findings
from rankscope.report.formats import listing
from rankscope.runs.folder import RunFolder, is_finished, verify_finished
from rankscope.runs.tables import read_table
from rankscope.studies.answers import held_words
from rankscope.studies.by_seed import frozen_precision, run_by_seed
from rankscope.studies.evidence import Evidence
from rankscope.studies.page import FINDINGS
from rankscope.studies.plan import StudyPlan
from rankscope.studies.progress import say
from rankscope.studies.rates import RateTable, read_rate_table
from rankscope.studies.required import STUDY, TUNING, TUNING_SEEDS, Question, checked, dead_arms, required_plan
from rankscope.studies.stages import CELLS, Sitting, tell_cost
from rankscope.studies.study_findings import Account
from rankscope.studies.tuning import AT_EACH, GRID, RATES_FILE, run_tuning
from rankscope.train.precision import AUTO

MOST_ROUNDS = 6
"""The first grid, and up to five extensions by a factor of 2: the start may be far off on a base unlike those here."""


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
    hashes = checked(question, base)
    start = required_plan(question, base, TUNING_SEEDS, None)
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
        plan = required_plan(question, base, tuple(seeds), table).override(precision=start.precision)
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
    dead = dead_arms(question, table)
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
