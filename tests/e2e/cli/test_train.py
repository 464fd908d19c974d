"""`rankscope train` from the command line to a PEFT adapter that the other commands read."""

import json
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def trained(tiny_model_folder, tmp_path_factory):
    """Arguments of a training of 4 steps on a tiny random base, and what it printed the first time."""
    folder = tmp_path_factory.mktemp("cells")
    arguments = ["train", "--task", "hashchain:mode=direct", "--base", str(tiny_model_folder("gpt2"))]
    arguments += ["--out", str(folder), "--rank", "2", "--items", "32", "--batch", "8", "--sites", "*.mlp.*", "--json"]
    return arguments, run(*arguments)


def run(*arguments):
    code = "from rankscope.cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def test_a_training_prints_scores_beside_base_and_chance(trained):
    _, done = trained
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["cell"]["budget"] == {"n_items": 32, "batch_size": 8, "n_epochs": 1}
    assert 0 < facts["chance_forced_choice"] < 1
    for score in facts["scores"].values():
        for arm in ("trained", "base"):
            assert 0 <= score[arm]["low"] <= score[arm]["share"] <= score[arm]["high"] <= 1
    assert "step 4 of 4" in done.stderr


def test_its_adapter_is_read_by_rank(trained):
    _, done = trained
    found = json.loads(run("rank", json.loads(done.stdout)["weights"], "--json").stdout)
    assert found["nominal_ranks"] == [2]
    assert all(".mlp." in site for site in found["sites"])


def test_the_same_command_finds_the_cell_done_and_scores_it_alike(trained):
    arguments, done = trained
    again = run(*arguments)
    first, second = json.loads(done.stdout), json.loads(again.stdout)
    assert (first.pop("was_cached"), second.pop("was_cached")) == (False, True)
    assert first == second
    assert "Already trained" in again.stderr
