"""Mistakes of the user's: exit code 2 and one sentence; no traceback."""

import pytest
import torch

from rankscope.cli import doctor

BAD = {
    "no adapter": (("rank", "nowhere"), "No adapter folder nowhere"),
    "no run folder": (("report", "nowhere"), "No run folder nowhere"),
    "unknown task": (("task", "check", "hashop"), "Near matches: hashhop"),
    "unknown knob": (("task", "check", "hashhop:line=3"), "lines"),
    "no map to check": (("task", "check", "planted:k=2"), "knows the shortcuts of HashHop and HashChain alone"),
    "unknown split": (("task", "export", "hashhop", "--out", "x.jsonl", "--split", "dev"), "train, validation or test"),
    "unknown study": (("study", "first_lok:quick"), "Near matches: first_look"),
    "unknown form": (("study", "first_look:quik"), "Near matches: quick"),
    "no recipe": (("base", "build", "tiny-gtp2"), "Near matches: tiny-gpt2"),
    "unknown base": (("base", "show", "./nowhere"), "No base './nowhere'"),
    "unknown kind": (("train", "--task", "hashhop", "--base", "b", "--out", "o", "--kind", "vera"), "lora, rslora"),
    "negative rate": (("train", "--task", "hashhop", "--base", "b", "--out", "o", "--lr", "-1"), "lr: Input should be"),
    "unknown case": (("bench", "gpt3"), "There is no case 'gpt3'"),
    "unknown device": (("train", "--task", "hashhop", "--base", "b", "--out", "o", "--device", "tpu"), "--device must"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(rankscope, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    arguments, expected = BAD[case]
    ran = rankscope(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert expected in ran.err
    assert ran.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("train",), ("rank",), ("rank", "a", "--jsn"), ("nosuch",), ("task", "check")])
def test_wrong_usage_exits_with_2(rankscope, arguments):
    ran = rankscope(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Error" in ran.err
    assert "Traceback" not in ran.err


def test_a_rank_above_the_smallest_site_is_refused(rankscope, tiny_model_folder, tmp_path):
    base = tiny_model_folder("gpt2")
    ran = rankscope("train", "--task", "hashhop", "--base", base, "--rank", "17", "--out", tmp_path / "out")
    assert ran.code == 2
    assert "at most 16" in ran.err
    assert not (tmp_path / "out").exists()


def interrupt(*_, **__):
    raise KeyboardInterrupt


ON_TASK = ("--base", "b", "--task", "hashhop")
STOPPED = {
    "doctor": (("doctor",), "rankscope.cli.doctor.found", False),
    "rank": (("rank", "a", *ON_TASK), "rankscope.adapters.read.read_adapter", False),
    "truncate": (
        ("truncate", "a", "--to", "1", *ON_TASK, "--out", "o"),
        "rankscope.adapters.read.read_adapter",
        False,
    ),
    "steer": (("steer", "a", *ON_TASK, "--direction", "d"), "rankscope.adapters.read.read_adapter", False),
    "ablate": (("ablate", "a", *ON_TASK), "rankscope.adapters.read.read_adapter", False),
    "look": (("look", "a", *ON_TASK, "--out", "o"), "rankscope.adapters.read.read_adapter", True),
    "capture": (("capture", "a", *ON_TASK, "--out", "o"), "rankscope.adapters.read.read_adapter", True),
    "train": (("train", *ON_TASK, "--out", "o"), "rankscope.lm.bases.load_base", True),
    "base build": (("base", "build", "tiny-gpt2", "--out", "o"), "rankscope.train.base_recipe.build_base", True),
    "base list": (("base", "list"), "rankscope.lm.bases.shipped_bases", False),
    "study": (("study", "first_look:smoke", "--out", "o"), "rankscope.studies.catalog.find_study", True),
}


@pytest.mark.parametrize("command", STOPPED)
def test_interrupting_says_whether_the_same_command_goes_on(rankscope, monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    arguments, work, goes_on = STOPPED[command]
    monkeypatch.setattr(work, interrupt)
    ran = rankscope(*arguments)
    assert ran.code == 130
    assert ("Run the same command again to go on from where it stopped." in ran.err) is goes_on
    assert ("This command keeps nothing" in ran.err) is not goes_on


def test_a_bug_of_ours_is_not_hidden(rankscope, monkeypatch):
    def fail() -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(doctor, "found", fail)
    ran = rankscope("doctor")
    assert ran.code == 70
    assert ran.err.startswith("Traceback")
    assert ran.err.endswith("ValueError: a bug\n")


FULL = [
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
    torch.OutOfMemoryError("CUDA out of memory."),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_full_memory_is_one_sentence(rankscope, monkeypatch, error):
    def fill() -> None:
        raise error

    monkeypatch.setattr(doctor, "found", fill)
    ran = rankscope("doctor")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "too little memory" in ran.err


def test_debug_shows_the_traceback(rankscope, monkeypatch):
    monkeypatch.setenv("RANKSCOPE_DEBUG", "1")
    ran = rankscope("rank", "nowhere")
    assert ran.code == 2
    assert ran.err.startswith("Traceback")
    assert "No adapter folder" in ran.err
