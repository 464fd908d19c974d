"""`rankscope required` on a file of one's own: tuned, trained, told, continued with a further seed, refused."""

import json
import shlex
import shutil
from pathlib import Path

import polars as pl
import pytest

from rankscope.base.errors import BadInput
from rankscope.base.vocabulary import SYMBOLS
from rankscope.lm.bases import load_base
from rankscope.rank.records import read_findings, write_findings
from rankscope.runs.folder import verify_finished
from rankscope.studies import required, required_run
from rankscope.studies.rates import RateScore, RateTable
from rankscope.studies.required import Question, required_plan, start_rate
from rankscope.studies.required_run import measure_required_rank
from rankscope.tasks.jsonl import split_of
from rankscope.train.cell import DenseSpec, FullSpec, LoraSpec


@pytest.fixture(scope="module")
def base(tiny_model_folder):
    return tiny_model_folder("gpt2")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A skill that a tiny base learns at once: whatever the prompt, the answer is the same of four candidates.

    A line that is trained on has no candidates, which says nothing of the lines that are scored.
    """
    path = tmp_path_factory.mktemp("items") / "always.jsonl"
    rows = [
        {
            "prompt": f"{SYMBOLS[n % 40]} {SYMBOLS[(7 * n + n // 40) % 40]} answer",
            "answer": SYMBOLS[3],
            "candidates": list(SYMBOLS[:4]),
        }
        for n in range(700)
    ]
    del next(row for row in rows if split_of(row["prompt"]) == "train")["candidates"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def options(base, file):
    small = ("--ranks", "2,1", "--items", 64, "--batch", 8, "--epochs", 2, "--workers", 1, "--precision", "fp32")
    return ("--base", base, "--task", file, *small)


@pytest.fixture(scope="module")
def measured(base, file, tmp_path_factory):
    """The run folder of one seed, and the findings."""
    run = tmp_path_factory.mktemp("required") / "run"
    asked = Question(task=str(file), base=str(base), ranks=(1, 2), n_items=64, n_epochs=2, batch_size=8)
    assert measure_required_rank(asked, run, n_seeds=1, workers=1, device="cpu", precision="fp32") == run
    return run, read_findings(run / "records" / "findings.json")


def test_a_skill_of_ones_own_is_measured_at_tuned_rates_on_its_own_items(measured, file):
    run, found = measured
    verify_finished(run)
    (skill,) = found.skills
    table = json.loads((run / "tuning" / "records" / "rates.json").read_text())
    assert {f"own/always/{point.arm}": point.lr for point in skill.curve} == table["rates"]
    assert all(len(tried) >= 3 for tried in table["scores"].values())
    assert not any("confounded" in flag for flag in skill.flags)
    n_test = sum(split_of(json.loads(line)["prompt"]) == "test" for line in file.read_text().splitlines())
    assert (skill.n_items, skill.n_seeds, found.claims) == (n_test, 1, ())
    assert skill.budget == "16 steps of 8 items, each seen 2 times"
    assert skill.chance == pytest.approx(1 / 4), "the answer is all that is written, so that guessing counts"
    assert [(need.q, need.verdict) for need in skill.required] == [(0.9, "underpowered"), (0.95, "underpowered")]
    assert skill.point("dense").gain.estimate == pytest.approx(3 / 4)
    assert skill.required[0].by_rank == {1: "undecided", 2: "undecided"}, "one seed has no interval"
    assert [one.arm for one in skill.functional] == ["rank 2", "rank 2"]
    page = (run / "report.html").read_text()
    assert "How much rank does always need on" in page
    assert 'id="claims"' not in page
    cells = pl.read_parquet(run / "records" / "cells.parquet")
    assert set(cells["seed"]) == {1}
    assert table["tuning_seeds"] == [1000]


def test_the_same_question_again_costs_nothing(measured, options, rankscope):
    run, first = measured
    again = rankscope("required", *options, "--seeds", 1, "--out", run, "--json")
    assert f"{run} tells of these seeds already; nothing to do.\n" in again.err
    assert json.loads(again.out) == first.model_dump(mode="json")
    shown = " ".join(rankscope("required", *options, "--seeds", 1, "--out", run).out.split())
    for told in (*first.answer, "report.html", "Budget: 16 steps of 8 items"):
        assert " ".join(told.split()) in shown


@pytest.mark.slow
def test_a_further_seed_costs_only_its_own_trainings(measured, options, rankscope):
    run, first = measured
    before = {path: path.stat().st_mtime_ns for path in run.rglob("done.json") if path.parent != run}
    more = rankscope("required", *options, "--seeds", 2, "--out", run)
    assert more.code == 0, more.err
    after = {path: path.stat().st_mtime_ns for path in run.rglob("done.json") if path.parent != run}
    assert len(after) == len(before) + 4
    assert before.items() <= after.items()
    (skill,) = read_findings(run / "records" / "findings.json").skills
    assert skill.n_seeds == 2
    assert all(set(point.cells) > set(old.cells) for point, old in zip(skill.curve, first.skills[0].curve, strict=True))
    verify_finished(run)


def test_seeds_count_as_told_by_what_the_records_hold_and_not_by_what_was_trained(measured, tmp_path):
    """Where a run of more seeds was interrupted between training and scoring, and fewer were asked for since."""
    run, found = measured
    shutil.copytree(run / "records", tmp_path / "records")
    told = {*pl.read_parquet(run / "records" / "cells.parquet")["seed"]}
    assert required_run._told(tmp_path) == told
    assert 1 in told
    write_findings(tmp_path / "records" / "findings.json", found.override(partial="1 of 5 seeds"))
    assert required_run._told(tmp_path) == set()


def test_a_file_that_changed_is_another_question(measured, options, file, rankscope):
    run, _ = measured
    lines = file.read_text()
    rows = [json.loads(line) for line in lines.splitlines()]
    next(row for row in rows if split_of(row["prompt"]) == "test")["answer"] = SYMBOLS[2]
    try:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = rankscope("required", *options, "--seeds", 1, "--out", run)
    finally:
        file.write_text(lines)
    assert (done.code, done.out) == (2, "")
    assert "other settings: `content.test items`" in " ".join(done.err.split())


def test_an_arm_that_diverges_at_every_rate_is_left_out_and_named_but_not_dense(base, file):
    question = Question(task=str(file), base=str(base), ranks=(1, 2))
    found = {f"own/always/{arm.label}": 0.01 for arm in question.arms}

    def table(*dead):
        rates = {name: rate for name, rate in found.items() if name.rpartition("/")[2] not in dead}
        scores = {name: {"0.01": RateScore(primary=None, nats=None)} for name in found}
        return RateTable(study="required:tuning", base=str(base), settings={}, rates=rates, scores=scores)

    made = required_plan(question, load_base(str(base)), (1,), table("rank 2", "full"))
    assert [arm.label for arm in made.skills[0].arms] == ["rank 1", "dense"]
    assert made.skills[0].functional == (1,)
    with pytest.raises(BadInput, match="dense diverged at every learning rate tried"):
        required_plan(question, load_base(str(base)), (1,), table("dense"))
    with pytest.raises(BadInput, match="rank 1 and rank 2 diverged at every"):
        required_plan(question, load_base(str(base)), (1,), table("rank 1", "rank 2"))


def test_traces_with_steps_that_nobody_could_foresee_are_not_scored():
    assert required.scored_as("reasoning") == "reasoning:wrong=0"
    assert required.scored_as("reasoning:skill=add") == "reasoning:skill=add,wrong=0"
    assert required.scored_as("reasoning:wrong=0.2") == "reasoning:wrong=0.2"
    assert required.scored_as("hashhop:mode=trace") == "hashhop:mode=trace"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (("--ranks", "1,0"), "--ranks takes whole numbers above 0"),
        (("--ranks", "1,99"), "Rank 99 exceeds what"),
        (("--items", 4), "4 training items fill no batch of 8"),
        (("--items", 600), "has 541 train items of 700"),
        (("--seeds", 0), "--seeds"),
        (("--task", "planted:k=1,lines=8,chains=2"), "imitates a teacher of known rank"),
        (("--sites", "*.nowhere"), "No linear map of the base matches"),
    ],
)
def test_a_question_that_can_not_be_asked_is_refused_before_anything_is_written(
    changed, words, options, rankscope, tmp_path
):
    done = rankscope("required", *options, *changed, "--out", tmp_path / "run")
    assert done.code == 2
    assert words in " ".join(done.err.split())
    assert not (tmp_path / "run").exists()


def test_another_question_in_the_same_folder_is_refused(measured, options, rankscope):
    run, _ = measured
    before = sorted(run.rglob("*"))
    done = rankscope("required", *options, "--ranks", "1", "--out", run)
    assert (done.code, "ranks" in done.err) == (2, True)
    assert sorted(run.rglob("*")) == before


def test_the_command_on_the_page_asks_the_same_question(base, file, rankscope, monkeypatch, tmp_path):
    asked = Question(task=str(file), base=str(base), ranks=(1, 4), placement=("*.mlp.*", "*.c_attn"), batch_size=8)
    came = []

    def told(*arguments):
        came.append(arguments)
        raise BadInput("That is all.")

    monkeypatch.setattr(required_run, "measure_required_rank", told)
    command = shlex.split(asked.command(3).replace("FOLDER", str(tmp_path)))
    assert command[0] == "rankscope"
    assert rankscope(*command[1:]).err == "That is all.\n"
    ((question, folder, n_seeds, *_),) = came
    assert question == asked.override(n_items=asked.budget.n_items)
    assert (folder, n_seeds) == (Path(tmp_path), 3)


def test_tuning_starts_lower_on_wider_bases_and_for_whole_maps():
    arms = (LoraSpec(rank=4), DenseSpec(), FullSpec())
    assert [start_rate(arm, 128) for arm in arms] == [1e-2, 2e-3, 2e-3]
    assert [start_rate(arm, 768) for arm in arms] == [0.00167, 0.000333, 0.000333]
