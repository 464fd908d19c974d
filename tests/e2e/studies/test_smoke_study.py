"""The smallest study, whole and cut short: first_look with a few steps per cell, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from rankscope.base.errors import BadFile
from rankscope.rank.records import read_findings
from rankscope.runs.folder import is_finished, read_done, verify_finished
from rankscope.studies import first_look
from rankscope.studies import run as run_module

ENV = os.environ | {"PYTHONPATH": str(Path(run_module.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
STUDY = """
import os, signal, sys
from pathlib import Path
from rankscope.studies.run import run_study

part, left = sys.argv[2], int(sys.argv[3])
real = os.replace

def replace(source, target):
    global left
    if left and part in str(target):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)

os.replace = replace
if __name__ == "__main__":
    run_study("first_look:smoke", Path(sys.argv[1]), workers=1, device="cpu")
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    err: str


def study(folder: Path, killed_when_writing: str = "", time: int = 0) -> Ended:
    """Runs the study in a process; optionally it kills itself just before the n-th file whose path has that part."""
    command = [sys.executable, "-c", STUDY, str(folder), killed_when_writing, str(time)]
    ran = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=600)
    return Ended(ran.returncode, ran.stderr)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an uninterrupted study."""
    folder = tmp_path_factory.mktemp("smoke") / "run"
    ended = study(folder)
    assert ended.code == 0, ended.err
    return folder


def findings_without_times(folder: Path) -> dict:
    found = json.loads((folder / "records" / "findings.json").read_text())
    del found["provenance"]["time"]
    return found


def results(folder: Path) -> dict[str, str]:
    """Hash of every file that a study's numbers stand in: cells' weights and metrics, score tables, records."""
    hashes = {
        f"{cell.name}/{name}": r["sha256"] for cell in folder.glob("cells/*") for name, r in read_done(cell).items()
    }
    tables = {name: record["sha256"] for name, record in read_done(folder).items() if name.endswith(".parquet")}
    return hashes | tables


def test_the_smoke_study_goes_from_training_to_report(finished: Path) -> None:
    verify_finished(finished)
    plan = first_look.plan("smoke")
    cells = pl.read_parquet(finished / "records" / "cells.parquet")
    assert cells["cell"].n_unique() == len(cells) == len(list(plan.cells()))
    scores = pl.read_parquet(finished / "records" / "scores.parquet")
    assert set(scores["cell"]) == {"base", *cells["cell"]}
    found = read_findings(finished / "records" / "findings.json")
    assert [(skill.mode, skill.name) for skill in found.skills] == [(skill.mode, skill.name) for skill in plan.skills]
    assert all(skill.n_items == 40 for skill in found.skills)
    (claim,) = found.claims
    assert claim.verdict == "underpowered", "one seed decides nothing"
    points = [(skill, point) for skill in found.skills for point in skill.curve]
    for skill, point in points:
        mine = scores.filter((pl.col("skill") == f"{skill.mode}/{skill.name}") & pl.col("cell").is_in(point.cells))
        assert point.score.estimate == pytest.approx(mine["exact_output"].mean())
    assert plan.title in (finished / "report.html").read_text()


def test_a_finished_study_is_left_alone_and_one_that_was_touched_is_told(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [path for path in finished.rglob("*") if path.is_file() and not path.name.startswith(".lock")]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert run_module.run_study("first_look:smoke", finished, device="cpu") == finished
    assert "finished already; nothing to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in files} == before
    cells = finished / "records" / "cells.parquet"
    whole = cells.read_bytes()
    try:
        cells.write_bytes(whole[:-1])
        with pytest.raises(BadFile, match=r"cells.parquet has changed since its run finished"):
            run_module.run_study("first_look:smoke", finished, device="cpu")
    finally:
        cells.write_bytes(whole)
        (finished / "error.json").unlink(missing_ok=True)


@pytest.mark.slow
def test_a_study_killed_in_every_stage_ends_with_the_same_results(finished: Path, tmp_path: Path) -> None:
    cut = tmp_path / "run"
    for part, time in [("/cells/", 40), ("/tables/", 12), ("/records/findings.json", 1)]:
        assert study(cut, part, time).code == -signal.SIGKILL
        assert not is_finished(cut)
    ended = study(cut)
    assert ended.code == 0, ended.err
    verify_finished(cut)
    assert results(cut) == results(finished)
    assert findings_without_times(cut) == findings_without_times(finished)
