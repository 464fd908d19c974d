"""Which tables a study needs, and how they are found again."""

from pathlib import Path

import pytest

from rankscope.studies.plan import SkillPlan, StudyPlan, rate_name
from rankscope.studies.stages import Trained, read_tables, resolve_workers, score_jobs
from rankscope.train.cell import Budget, DenseSpec, LoraSpec

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
    assert resolve_workers(0, "cpu") >= 1
