"""Which tables a study needs, and how they are found again."""

from pathlib import Path

import pytest
import torch

from rankscope.studies import scoring
from rankscope.studies.by_seed import _is_trained_further
from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.stages import Sitting, Trained, read_tables, resolve_workers, score_jobs
from rankscope.train.cell import Budget, DenseSpec, LoraSpec
from rankscope.train.local import n_cores

SKILL = SkillPlan(
    name="HashChain, so",
    mode="direct",
    task="hashchain",
    arms=(LoraSpec(rank=1), LoraSpec(rank=2), DenseSpec()),
    seeds=(7,),
    budget=Budget(n_items=64, batch_size=32),
    n_test=10,
    functional=(2,),
)
PLAN = StudyPlan(
    study="made_up:full",
    title="",
    base="tiny-gpt2",
    skills=(SKILL,),
    rates={rate_name(SKILL, arm): 0.01 for arm in SKILL.arms},
)


def trained(*diverged: str) -> list[Trained]:
    return [
        Trained(skill, arm, seed, cell, f"key-{arm.label}", Path("cells") / arm.label, arm.label in diverged, "loop")
        for skill, arm, seed, cell in PLAN.cells()
    ]


def test_a_table_per_cell_and_kind_the_long_ones_first():
    jobs = score_jobs(PLAN, trained(), Path("run"), {SKILL.key: "tag"})
    assert [(job.kind, job.cell) for job in jobs] == [
        ("truncation", "key-rank 2"),
        ("test", "key-rank 1"),
        ("convergence", "key-rank 1"),
        ("test", "key-rank 2"),
        ("convergence", "key-rank 2"),
        ("test", "key-dense"),
        ("convergence", "key-dense"),
        ("base", "base"),
    ]
    assert jobs[0].out == Path(f"run/tables/tag/truncation-3-{'+'.join(SKILL.controls)}/key-rank 2.parquet")
    assert jobs[-1].out == Path("run/tables/tag/base/base.parquet")
    assert {job.n_steps for job in jobs if job.cell != "base"} == {2}


def test_a_diverged_cell_is_never_scored():
    jobs = score_jobs(PLAN, trained("rank 2", "dense"), Path("run"), {SKILL.key: "tag"})
    assert {job.cell for job in jobs} == {"base", "key-rank 1"}


def test_a_table_of_another_version_is_refused(tmp_path):
    import polars as pl

    from rankscope.base.errors import BadFile
    from rankscope.runs.tables import write_table

    write_table(tmp_path / "tables" / "tag" / "base" / "base.parquet", pl.DataFrame({"item": [1]}))
    with pytest.raises(BadFile, match="lacks cell"):
        read_tables(SKILL, trained(), tmp_path, "tag")


def test_workers_fill_the_cores_unless_told():
    assert resolve_workers(3, "cpu") == 3
    assert resolve_workers(0, "cpu") == n_cores()


def test_a_run_that_goes_on_does_not_put_its_findings_back_to_an_earlier_seed(tmp_path, monkeypatch):
    """Two of three seeds are trained: what comes next is to score the second, not to write up the first again."""
    made = PLAN.override(skills=[SKILL.override(seeds=(1, 2, 3)).model_dump()])
    done = {cell for *_, cell in made.first_seeds(2).cells()}
    sitting = Sitting(tmp_path)
    monkeypatch.setattr(sitting.executor, "has_finished", done.__contains__)
    assert [_is_trained_further(made, n, sitting) for n in (1, 2, 3)] == [True, False, False]


def test_a_scorer_keeps_the_last_teachers_alone(monkeypatch):
    """Those of hundreds of planted skills would fill the memory."""
    monkeypatch.setattr(scoring, "planted_teacher", lambda base, items: torch.zeros(1))
    scorer = scoring.Scorer("tiny-gpt2", "cpu")
    skills = [SKILL.override(name=f"HashChain, {turn}") for turn in range(scoring.MOST_TEACHERS + 2)]
    first, *_, last = [scorer._items_and_teacher(skill, "test")[1] for skill in skills]
    assert scorer._items_and_teacher(skills[-1], "test")[1] is last
    assert scorer._items_and_teacher(skills[0], "test")[1] is not first
    assert len(scorer._teachers) == scoring.MOST_TEACHERS
