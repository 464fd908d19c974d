"""The smallest hash_paper, whole: trainings, tables, findings and page, from a process of its own; and once more."""

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from rankscope.evals.paper_scores import is_exact, is_fuzzy_hop, read_answer
from rankscope.lm.bases import load_base
from rankscope.rank.paper_records import HashPaperFindings, read_paper_findings
from rankscope.runs.folder import is_finished, verify_finished
from rankscope.studies import run as run_module
from rankscope.studies.hash_paper import CONFIGURATIONS, TASK_KINDS, plan
from rankscope.studies.hash_paper_measure import Tables
from rankscope.studies.page import PAPER_FINDINGS, rewrite_page
from rankscope.studies.run import run_study

ENV = os.environ | {"PYTHONPATH": str(Path(run_module.__file__).parents[2]), "OMP_NUM_THREADS": "1"}


CALL = "from rankscope.cli.main import main; main()"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the study, as the command leaves it."""
    folder = tmp_path_factory.mktemp("hash_paper") / "run"
    asked = ["study", "hash_paper:smoke", "--out", str(folder), "--workers", "1", "--device", "cpu"]
    ended = subprocess.run([sys.executable, "-c", CALL, *asked], env=ENV, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    assert "report.html" in ended.stdout
    return folder


@pytest.fixture(scope="module")
def findings(finished: Path) -> HashPaperFindings:
    return read_paper_findings(finished / PAPER_FINDINGS)


def test_the_folder_is_whole_and_a_second_call_leaves_it_so(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify_finished(finished)
    before = (finished / "done.json").read_bytes()
    run_study("hash_paper:smoke", finished, workers=1, device="cpu")
    assert "finished already" in capsys.readouterr().err
    assert (finished / "done.json").read_bytes() == before


def test_findings_hold_every_setting_rank_and_group(findings: HashPaperFindings) -> None:
    made = plan("smoke")
    assert [row.key for row in findings.configurations] == [one.key for one in CONFIGURATIONS]
    again = {task: {row.key for row in findings.configurations if getattr(row, task).retrained} for task in TASK_KINDS}
    assert again == {"planning": {"padding", "bases", "clean"}, "reasoning": {"leak", "padding", "bases", "clean"}}
    assert [(point.task, point.rank) for point in findings.sweep] == [
        (task, rank) for task in ("planning", "reasoning") for rank in (0, *made.ranks)
    ]
    for task in ("planning", "reasoning"):
        assert sum(point.n_items for point in findings.groups if point.task == task) <= made.n_test
    assert {point.group for point in findings.groups if point.task == "planning" and not point.trained} == {3}


def test_the_published_row_is_what_the_tables_say(finished: Path, findings: HashPaperFindings) -> None:
    made, tables = plan("smoke"), Tables(finished / "tables")
    published = CONFIGURATIONS[0].switches
    frame = pl.read_parquet(tables.generations("planning", made.task("planning", "test", published)))
    assert frame.height == 2 * made.n_test
    answers = [(row["ban"], read_answer(row["text"], 4), row["gold"]) for row in frame.iter_rows(named=True)]
    fuzzy = [is_fuzzy_hop(answer, gold) for ban, answer, gold in answers if ban]
    exact = [is_exact(answer, gold) for ban, answer, gold in answers if not ban]
    assert findings.configuration("published").planning.base.estimate == sum(fuzzy) / made.n_test
    zero = next(point for point in findings.sweep if (point.task, point.rank) == ("planning", 0))
    assert zero.clean.estimate == sum(exact) / made.n_test


def test_the_bases_are_folders_that_anything_can_load(finished: Path) -> None:
    hashes = {load_base(str(folder)).content_hash for folder in (finished / "bases").iterdir()}
    assert len(hashes) == 6


def test_the_page_is_made_again_from_records_alone(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert rewrite_page(finished) == finished / "report.html"
    assert (finished / "report.html").read_text(encoding="utf-8") == page
    assert is_finished(finished)
    verify_finished(finished)
    assert re.findall(r'<section id="(\w+)"', page) == [
        "answer", "defects", "oracle", "sweep", "groups", "published", "reproduce"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_base_of_ones_own_takes_the_place_of_the_small_one(finished: Path, tmp_path: Path) -> None:
    name = f"hash_paper:smoke,base={finished / 'bases' / 'lookup'}"
    run_study(name, tmp_path / "run", workers=1, device="cpu")
    found = read_paper_findings(tmp_path / "run" / PAPER_FINDINGS)
    assert found.reproduce["this study"] == f"rankscope study {name}"
    assert {path.name for path in (tmp_path / "run" / "bases").iterdir()} == {
        "older-reasoning", "planning", "reasoning", "shared"
    }  # fmt: skip
