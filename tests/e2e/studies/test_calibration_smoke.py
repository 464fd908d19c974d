"""calibration:smoke whole: from training to the page, and its tables again from the records that are kept."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rankscope.rank.calibration_records import read_estimates, read_oracle, recomputed
from rankscope.rank.estimator_scores import NOISE
from rankscope.rank.records import SkillFindings, read_findings
from rankscope.rank.required import required_rank
from rankscope.runs.folder import verify_finished
from rankscope.studies import calibration
from rankscope.studies.calibration_findings import SUMMARY, write_summary
from rankscope.studies.kept import kept_skills
from rankscope.studies.page import FINDINGS, REPORT
from rankscope.studies.run import run_study
from rankscope.studies.stages import RECORDS

pytestmark = pytest.mark.slow

N_ADAPTERS = 12
"""Two repeats at three ranks, and one teacher learnt in six ways at one rank; one seed each."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_study("calibration:smoke", tmp_path_factory.mktemp("smoke") / "run", workers=1, device="cpu")


def test_the_summary_counts_what_the_plan_trains(finished: Path) -> None:
    verify_finished(finished)
    said, found = json.loads((finished / SUMMARY).read_text()), read_findings(finished / FINDINGS)
    assert {skill.key for skill in found.skills} == {skill.key for skill in calibration.plan("smoke").skills}
    assert set(said) == {
        "study", "provenance", "criteria", "rows", "all", "shuffled", "relabel", "simulated", "nulls", "estimators",
    }  # fmt: skip
    assert [(row["planted_k"], row["noise"], row["repeats"]) for row in said["rows"]] == [
        (2, "none", 1),
        (1, "64 tokens drawn", 1),
    ]
    every = said["all"]
    assert every["repeats"] == 2
    assert every["judged"] == sum(row["judged"] for row in said["rows"])
    assert every["covered_by_cut"] == sum(row["covered_by_cut"] for row in said["rows"])
    assert said["shuffled"] == ["0 (1 of 1)"]
    assert [(row["rank"], row["q"]) for row in said["relabel"]] == [(1, 0.9), (1, 0.95)]
    assert {row["n_curves"] for row in said["simulated"]} == {4}
    assert {row["n_cells"] for row in said["estimators"] if row["target"] == "planted"} == {N_ADAPTERS - 1}, (
        "an adapter of rank 1 can not have the rank of a teacher of 2"
    )
    page = (finished / REPORT).read_text()
    assert "What was asked of the procedure" in page
    assert "Sets holding what the cut update needs" in page


def test_the_tables_follow_from_the_records_alone(finished: Path, tmp_path: Path) -> None:
    """The records copied as they are kept in the repository, and nothing else of the run folder."""
    kept = tmp_path / RECORDS
    kept.mkdir()
    for path in (finished / RECORDS).iterdir():
        (kept / path.name).write_bytes(path.read_bytes())
    found = read_findings(kept / "findings.json")
    rows, estimators = recomputed(kept, found.skills)
    assert (rows, estimators) == (found.calibration, found.estimators)
    write_summary(tmp_path, found.override(calibration=rows, estimators=estimators))
    assert (tmp_path / SUMMARY).read_text() == (finished / SUMMARY).read_text()


def test_the_records_hold_every_teacher_and_every_adapter(finished: Path) -> None:
    oracle, cells = read_oracle(finished / RECORDS), read_estimates(finished / RECORDS)
    assert [(one.k, len(one.cut_gains)) for one in oracle.teachers] == [(2, 3), (1, 2), (2, 3)]
    for one in oracle.teachers:
        assert one.exact_gain == max(one.cut_gains.values()) > 0
        assert all(0 < gain <= one.exact_gain + 1e-6 for gain in one.best_gains.values())
    assert oracle.repeats[0].noise == "none"
    assert 1 in oracle.teachers[0].best_gains, "two directions are needed when cut, so rank 1 was sought"
    assert len(cells) == N_ADAPTERS
    assert {cell.nuisance for cell in cells} == set(calibration.NUISANCES)
    assert {cell.teacher for cell in cells if cell.nuisance == NOISE} == {one.teacher for one in oracle.teachers[1:]}, (
        "the noisy repeat's teacher, and the one that is learnt in six ways"
    )


def test_the_sets_follow_from_the_scores_that_are_kept(finished: Path) -> None:
    found = read_findings(finished / FINDINGS)
    planted = [skill for skill in found.skills if skill.mode == "planted" and skill.required]
    assert len(planted) == 2
    for skill in planted:
        again = required_of(finished / RECORDS, skill)
        assert (again.low, again.high) == (skill.required[0].low, skill.required[0].high)
        for rank, contrast in again.contrast.items():
            assert contrast.estimate == pytest.approx(skill.required[0].contrast[rank].estimate, abs=2e-4)


def test_a_calibration_grown_from_its_own_records_comes_out_the_same(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = run_study("calibration:smoke", tmp_path / "run", workers=1, device="cpu", taken_from=[finished])
    assert not list((again / "cells").glob("*")), "nothing is trained"
    assert not (again / "oracle").exists(), "no best update is sought again"
    was, now = read_findings(finished / FINDINGS), read_findings(again / FINDINGS)
    assert set(now.taken) == {skill.key for skill in now.skills}
    assert now.estimators == was.estimators
    assert now.calibration == was.calibration
    assert now.criteria == was.criteria
    for name in ("oracle.json", "estimates.parquet"):
        assert (again / RECORDS / name).read_bytes() == (finished / RECORDS / name).read_bytes()
    without = tmp_path / "without"
    shutil.copytree(finished / RECORDS, without / RECORDS)
    (without / RECORDS / "oracle.json").unlink()
    left = kept_skills(calibration.plan("smoke"), tmp_path / "other", [without])
    assert {key.partition("/")[0] for key in left} == {"relabel", "null"}
    told = " ".join(capsys.readouterr().err.split())
    assert "Not taken, planted/rank 2, one site, teacher 1: what oracle.json and estimates.parquet say" in told


def required_of(records: Path, skill: SkillFindings):
    """The required rank from `cells.parquet` and `scores.parquet`, whose nats are rounded to 1e-4."""
    cells = pl.read_parquet(records / "cells.parquet").filter(pl.col("skill") == skill.name)
    scores = pl.read_parquet(records / "scores.parquet").filter(pl.col("skill") == skill.key)
    by_cell = {key: frame.sort("item")["nats"].to_numpy().astype(float) for (key,), frame in scores.group_by("cell")}
    by_arm = {
        arm: np.stack([by_cell[key] for key in frame.sort("seed")["cell"]])
        for (arm,), frame in cells.sort("rank").group_by("arm", maintain_order=True)
    }
    ranks = {int(arm.split()[1]): scores_SN for arm, scores_SN in by_arm.items() if arm.startswith("rank")}
    return required_rank(ranks, by_arm["dense"], None, by_cell["base"], 0.9)
