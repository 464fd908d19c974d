"""What bf16 does to what is learnt: the same trainings of first_look in two precisions, compared on the same items.

Where a machine has no bf16 instructions the probe never chooses bf16, so it is asked for by name; the arithmetic is the
same, only slower.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from rankscope.base.atomic import write_json
from rankscope.base.machine import git_state, machine_facts
from rankscope.evals.score import wide
from rankscope.stats.crossed import crossed_interval
from rankscope.studies.first_look import plan
from rankscope.studies.plan import SkillPlan, StudyPlan
from rankscope.studies.stages import Sitting, read_tables, score_stage, skill_tags, train_stage
from rankscope.train.cell import LoraSpec

HERE = Path(__file__).parent
PRECISIONS = ("fp32", "bf16")


def main() -> None:
    """Trains what is missing below --work, and writes paired differences with their intervals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for the trainings; a later call goes on there")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "precision.json")
    parser.add_argument("--ranks", type=int, nargs="*", default=[4])
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3, 4, 5])
    asked = parser.parse_args()
    short = _short_plan(tuple(asked.ranks), tuple(asked.seeds))
    scores = {name: _scores(short.override(precision=name), asked.work / name) for name in PRECISIONS}
    rows = [
        {
            "skill": skill,
            "arm": arm,
            "fp32": float(scores["fp32"][skill, arm].mean()),
            "bf16": float(found_SN.mean()),
            "difference": crossed_interval(found_SN - scores["fp32"][skill, arm]).model_dump(mode="json"),
        }
        for (skill, arm), found_SN in scores["bf16"].items()
    ]
    write_json(asked.out, {"facts": {**machine_facts(), "git": git_state(HERE)}, "rows": rows})


def _short_plan(ranks: tuple[int, ...], seeds: tuple[int, ...]) -> StudyPlan:
    """The matched skills of the quick form, with these ranks and seeds alone."""
    quick = plan("quick")
    skills = [_only(skill, ranks, seeds) for skill in quick.skills if skill.mode == "matched"]
    return quick.override(skills=[skill.model_dump() for skill in skills])


def _only(skill: SkillPlan, ranks: tuple[int, ...], seeds: tuple[int, ...]) -> SkillPlan:
    arms = [arm.model_dump() for arm in skill.arms if isinstance(arm, LoraSpec) and arm.rank in ranks]
    return skill.override(arms=arms, seeds=seeds, functional=(), generate=False)


def _scores(study: StudyPlan, folder: Path) -> dict[tuple[str, str], np.ndarray]:
    """(skill, arm) -> exact output [seeds, items] of the trained cells."""
    sitting = Sitting(folder)
    trained = train_stage(study, sitting)
    score_stage(study, trained, sitting)
    tags = skill_tags(study)
    found = {}
    for skill in study.skills:
        tables = read_tables(skill, trained, folder, tags[skill.key])
        for arm in skill.arms:
            frames = [tables.test[arm.label, seed] for seed in skill.seeds]
            found[skill.name, arm.label] = wide(pl.concat(frames), "exact_output")[2].astype(float)
    return found


if __name__ == "__main__":
    main()
