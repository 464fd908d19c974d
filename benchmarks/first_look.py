"""What the trainings of first_look's full form take by our engine and by transformers with PEFT, in one run.

Every distinct training is measured for a few steps, by both in turn, on one thread as in the study; the totals count
how often each stands in the plan.
"""

import argparse
from collections import Counter
from pathlib import Path
from statistics import median

import torch

from rankscope.base.atomic import write_json
from rankscope.base.machine import git_state, machine_facts
from rankscope.studies.first_look import plan
from rankscope.train.cost import job_shape, measure_step_seconds
from rankscope.train.job import Job
from rankscope.train.kinds import AskedKind

HERE = Path(__file__).parent
KINDS: tuple[AskedKind, ...] = ("reference", "auto")


def main() -> None:
    """Writes seconds per step of every training, and how many times faster the whole plan is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "first_look.json")
    parser.add_argument("--form", default="full")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    jobs = [Job((cell,)) for *_, cell in plan(asked.form).cells()]
    steps: Counter[str] = Counter()
    for job in jobs:
        steps[job_shape(job)] += job.cells[0].budget.n_steps
    rows: list[dict[str, str | int | float]] = []
    totals_s = dict.fromkeys(KINDS, 0.0)
    for shape, job in {job_shape(job): job for job in jobs}.items():
        step_s = _step_seconds(job, asked.repeats)
        cell = job.cells[0]
        rows.append({"task": cell.task, "arm": cell.arm.label, "n_steps": steps[shape], **step_s})
        totals_s = {kind: total_s + step_s[kind] * steps[shape] for kind, total_s in totals_s.items()}
    facts = {**machine_facts(), "git": git_state(HERE), "threads": 1}
    ratio = totals_s["reference"] / totals_s["auto"]
    write_json(asked.out, {"facts": facts, "rows": rows, "training_s": totals_s, "ratio": ratio})


def _step_seconds(job: Job, repeats: int) -> dict[str, float]:
    """Kind -> seconds per step, medians over turns."""
    turns = [{kind: measure_step_seconds(job, "cpu", 3, kind) for kind in KINDS} for _ in range(repeats)]
    return {kind: median(turn[kind] for turn in turns) for kind in KINDS}


if __name__ == "__main__":
    main()
