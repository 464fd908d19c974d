"""Runs hash_paper: bases, adapters, measurements, findings, page. Stopped anywhere, the same call goes on."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rankscope.base.errors import BadInput
from rankscope.lm.bases import load_base
from rankscope.rank.paper_records import HashPaperFindings, write_paper_findings
from rankscope.runs.folder import RunFolder, verify_finished
from rankscope.studies.hash_paper import HashPaperPlan
from rankscope.studies.hash_paper_bases import make_bases
from rankscope.studies.hash_paper_findings import (
    Evidence,
    configuration_rows,
    group_points,
    sweep_points,
    token_facts,
)
from rankscope.studies.hash_paper_measure import Adapter, measure
from rankscope.studies.hash_paper_published import published_numbers
from rankscope.studies.hash_paper_words import answer, limits, setting
from rankscope.studies.page import PAPER_FINDINGS, REPORT, write_page
from rankscope.studies.progress import Meter, meter, minutes, say
from rankscope.studies.provenance import run_facts
from rankscope.studies.stages import Sitting
from rankscope.train.cell import Cell
from rankscope.train.events import Diverged, Event, Finished, Progress
from rankscope.train.training import TIMING

_WORTH_SAYING_S = 60.0
_WORTH_MEASURING_STEPS = 100
"""Below so many steps it takes longer to find out how long they take."""


def run_hash_paper(plan: HashPaperPlan, folder: Path, workers: int, device: str) -> Path:
    """Runs the study in a folder and returns it, with `records/hash_paper.json` and `report.html` in it.

    A finished folder is verified and left as it is. Raises what training and run folders raise, BadInput when a
    training diverges.
    """
    with RunFolder.open(folder, plan.model_dump(mode="json"), kind="hash_paper") as run:
        if run.finished:
            verify_finished(folder)
            say(f"{plan.study} is finished already; nothing to do.")
            return folder
        started, sitting = time.monotonic(), Sitting(folder, device, workers)
        bases = make_bases(plan, folder, lambda cells: _train(cells, sitting, "training bases"))
        adapters = _train_adapters(plan, bases, sitting)
        tables = measure(plan, adapters, bases, folder, device)
        facts = run_facts(device, "fp32", time.monotonic() - started, training=_training_time(folder))
        findings = conclude(Evidence(plan, adapters, tables), bases, facts)
        write_paper_findings(folder / PAPER_FINDINGS, findings)
        write_page(folder, folder / REPORT)
        run.finish()
    return folder


def _train_adapters(plan: HashPaperPlan, bases: dict[str, Path], sitting: Sitting) -> list[Adapter]:
    listed = {
        plan.adapter_cell(kind, switches, rank, seed, str(bases[plan.base_of(kind, switches)])): (
            switches,
            kind,
            rank,
            seed,
        )
        for switches, kind, rank, seed in plan.wanted()
    }
    found = []
    for event in _train(list(listed), sitting, "training adapters"):
        if isinstance(event, Diverged):
            raise BadInput(
                f"The adapter in {event.folder} diverged at step {event.step}; the paper's protocol has no remedy."
            )
        if isinstance(event, Finished):
            found.append(Adapter(*listed[event.cell], key=event.key, folder=event.folder))
    return found


def _train(cells: Sequence[Cell], sitting: Sitting, label: str) -> Iterator[Event]:
    """The executor's events, with a meter over all steps and, before anything long, a word of what it will take."""
    left = [cell for cell in cells if not sitting.executor.has_finished(cell)]
    n_steps = sum(cell.budget.n_steps for cell in left)
    if n_steps >= _WORTH_MEASURING_STEPS:
        work = sitting.executor.plan(left)
        seconds = sitting.executor.estimate_seconds(work)
        if seconds > _WORTH_SAYING_S:
            say(f"{label}: {work.describe()} About {minutes(seconds)}.")
    with meter(label, n_steps) as bar:
        steps: dict[str, int] = {}
        for event in sitting.executor.train(cells):
            _advance(bar, event, steps)
            yield event


def _advance(bar: Meter, event: Event, steps: dict[str, int]) -> None:
    if isinstance(event, Progress):
        bar.advance(event.step - steps.get(event.key, 0))
        steps[event.key] = event.step


def _training_time(folder: Path) -> str:
    """Time that all trainings took together, of one process each."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in (folder / "cells").glob(f"*/{TIMING}"))
    return f"{minutes(sum(timing['time_s'] for timing in found))} of one process"


def conclude(evidence: Evidence, bases: dict[str, Path], provenance: dict[str, str]) -> HashPaperFindings:
    """Everything that the tables say."""
    plan = evidence.plan
    rows, sweep = configuration_rows(evidence), sweep_points(evidence)
    tokens = token_facts(evidence, load_base(str(bases["raw"])).tokenizer)
    command = f"rankscope study {plan.study}{f',base={plan.base}' if plan.base else ''}"
    return HashPaperFindings(
        study=plan.study,
        title=plan.title,
        base=plan.base or "small GPT-2",
        answer=answer(rows, sweep, tokens),
        setting=setting(plan),
        configurations=rows,
        sweep=sweep,
        groups=group_points(evidence),
        tokens=tokens,
        published=published_numbers(rows, sweep, tokens),
        limits=limits(plan),
        reproduce={"this study": command, "this page from its records": "rankscope report RUN_FOLDER"},
        provenance=provenance,
    )
