"""What a user can get wrong: one clear sentence on stderr, exit code 2, no traceback, and nothing lost."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.cli.main import main
from rankscope.runs.folder import RunFolder
from rankscope.studies.catalog import find_study

ROOT_ONLY = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can mount a small disk")


@pytest.fixture
def refused(monkeypatch, capsys):
    """Runs a command that must be refused, and gives its sentence."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rankscope", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        assert (stop.value.code, printed.out) == (2, "")
        assert "Traceback" not in printed.err
        return printed.err

    return run


def one_sentence(text):
    """The single line of a refusal that is not about usage."""
    assert text.count("\n") == 1, text
    assert text.endswith(".\n")
    return text


def snapshot(folder):
    """Every file below a folder with its bytes; locks come and go."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def training(a_base, folder, **changed):
    """Arguments of a training of 4 steps."""
    options = {"task": "hashchain:mode=direct", "base": a_base, "out": folder, "rank": 2, "items": 32, "batch": 8}
    return ["train", *(str(part) for name, value in (options | changed).items() for part in (f"--{name}", value))]


OPTIONS = {
    "no items": ({"items": "0"}, "--items"),
    "more items than memory holds": ({"items": "9" * 19}, "--items"),
    "no rank": ({"rank": "0"}, "--rank"),
    "rank no number": ({"rank": "four"}, "--rank"),
    "infinite rate": ({"lr": "inf"}, "--lr"),
    "rate not finite": ({"lr": "nan"}, "--lr"),
    "rate no number": ({"lr": "fast"}, "--lr"),
    "negative seed": ({"seed": "-1"}, "--seed"),
    "seed beyond the score table": ({"seed": "9" * 25}, "--seed"),
    "empty batch": ({"batch": "0"}, "--batch"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_an_option_out_of_range_is_named(refused, tmp_path, case):
    changed, named = OPTIONS[case]
    assert f"Invalid value for '{named}'" in refused(*training("tiny-gpt2", tmp_path / "out", **changed))
    assert list(tmp_path.iterdir()) == []


SETTINGS = {
    "negative rate": ({"lr": "-1"}, "lr: Input should be greater than 0"),
    "unknown task": ({"task": "hashop"}, "Near matches: hashhop"),
    "unknown base": ({"base": "tiny-gtp2"}, "Near matches: tiny-gpt2"),
    "unknown site": ({"sites": "*.mlp.down"}, "No linear map of the base matches '*.mlp.down'. Near matches"),
    "rank above the site": ({"rank": "9" * 25}, "at most 16"),
    "device that is no device": ({"device": "tpu"}, "--device must be auto, cpu, cuda or mps"),
    "file of items is missing": ({"task": "nowhere.jsonl"}, "There is no file nowhere.jsonl"),
    "more symbols than there are": ({"task": "hashhop:lines=99999999999"}, "there are only"),
    "fewer items than a batch": ({"items": "4"}, "--items 4 fills no batch of 8"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_can_not_be_is_one_sentence(refused, tiny_model_folder, tmp_path, case):
    changed, words = SETTINGS[case]
    arguments = training(tiny_model_folder("gpt2"), tmp_path / "out", **changed)
    assert words in one_sentence(refused(*arguments).splitlines(keepends=True)[-1])
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("first_lok", "Near matches: first_look"),
        ("", "Near matches: calibration"),
        ("first_look:quik", "Near matches: quick"),
        ("first_look:smoke:smoke", "has no form 'smoke:smoke'"),
    ],
)
def test_an_unknown_study_or_form_is_one_sentence(refused, tmp_path, name, words):
    assert words in one_sentence(refused("study", name, "--out", tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


# Adapters


@pytest.fixture(scope="module")
def whole_adapter(tmp_path_factory):
    """Folder of an adapter that `rankscope rank` reads."""
    folder = tmp_path_factory.mktemp("adapter")
    factors = Factors(torch.ones(2, 6), torch.ones(4, 2), 2.0)
    write_adapter(folder, AdapterWeights({f"h.{layer}.mlp.c_proj": factors for layer in range(2)}), base_name="base")
    return folder


def cut(path, n_bytes=100):
    """Takes the end off a file."""
    path.write_bytes(path.read_bytes()[:-n_bytes])


def edit(path, **changes):
    """Changes keys of a JSON object on disk."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTERS = {
    "config cut": (lambda f: cut(f / CONFIG), "is not valid JSON"),
    "config not text": (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe\x00"), "is not valid JSON"),
    "config a number too long": (lambda f: (f / CONFIG).write_text('{"r": ' + "9" * 5000 + "}"), "is not valid JSON"),
    "config too deep": (lambda f: (f / CONFIG).write_text("[" * 100_000), "is not valid JSON"),
    "config a list": (lambda f: (f / CONFIG).write_text("[]"), "should hold a JSON object"),
    "config gone": (lambda f: (f / CONFIG).unlink(), "has no adapter_config.json"),
    "rank of another file": (lambda f: edit(f / CONFIG, r=3), "do not belong together"),
    "another kind": (lambda f: edit(f / CONFIG, peft_type="IA3"), "only LoRA and rsLoRA"),
    "DoRA": (lambda f: edit(f / CONFIG, use_dora=True), "DoRA rescales"),
    "weights cut": (lambda f: cut(f / WEIGHTS), "is not a whole safetensors file"),
    "weights empty": (lambda f: (f / WEIGHTS).write_bytes(b""), "is not a whole safetensors file"),
    "weights with a header of 2^60 bytes": (
        lambda f: (f / WEIGHTS).write_bytes((2**60).to_bytes(8, "little") + b"{}"),
        "is not a whole safetensors file",
    ),
    "weights gone": (lambda f: (f / WEIGHTS).unlink(), "has no adapter_model.safetensors"),
    "pickle only": (lambda f: (f / WEIGHTS).rename(f / "adapter_model.bin"), "a pickle file, which can run code"),
}


@pytest.mark.parametrize("case", ADAPTERS)
def test_a_damaged_adapter_is_one_sentence_and_left_alone(refused, whole_adapter, tmp_path, case):
    harm, words = ADAPTERS[case]
    folder = shutil.copytree(whole_adapter, tmp_path / "adapter")
    harm(folder)
    before = snapshot(folder)
    assert words in one_sentence(refused("rank", folder))
    assert snapshot(folder) == before


ON_TASK = ("--base", "BASE", "--task", "planted:k=2,lines=8,chains=2")
RANK_OR_TRUNCATE = {
    "base without a task": (("rank", "A", "--base", "BASE"), "--base needs --task beside it"),
    "task without a base": (("rank", "A", "--task", "hashhop"), "--task needs --base beside it"),
    "items without a task": (("rank", "A", "--items", "20"), "--items is about measuring on a task"),
    "seed without a task": (("rank", "A", "--seed", "0"), "--seed is about measuring on a task"),
    "items for a plain cut": (("truncate", "A", "--to", "1", "--items", "500", "--out", "OUT"), "leave --items out"),
    "several without a task": (("rank", "A", "A"), "2 adapters were given"),
    "one twice": (("rank", "A", "A", *ON_TASK), "An adapter is given twice"),
    "adapter of another base": (("rank", "A", *ON_TASK), "does not fit BASE: The adapter changes 'h.0.mlp.c_proj'"),
    "unknown task": (("rank", "A", "--base", "BASE", "--task", "hashop"), "Near matches: hashhop"),
    "no size": (("truncate", "A", "--out", "OUT"), "Give one of --to K (directions per site) and --keep Q"),
    "two sizes": (("truncate", "A", "--to", "1", "--keep", ".9", *ON_TASK, "--out", "OUT"), "not both"),
    "share above 1": (("truncate", "A", "--keep", "95", *ON_TASK, "--out", "OUT"), "at most 1, not 95"),
    "no share": (("truncate", "A", "--keep", "0", *ON_TASK, "--out", "OUT"), "above 0 and at most 1, not 0"),
    "share not a number": (("truncate", "A", "--keep", "nan", *ON_TASK, "--out", "OUT"), "at most 1, not nan"),
    "share without a task": (("truncate", "A", "--keep", ".9", "--out", "OUT"), "takes --base and --task to measure"),
    "cut for another base": (("truncate", "A", "--to", "1", *ON_TASK, "--out", "OUT"), "does not fit BASE"),
    "folder in use": (("truncate", "A", "--to", "1", "--out", "A"), "holds files already"),
    "adapter missing": (("truncate", "nowhere", "--to", "1", "--out", "OUT"), "No adapter folder nowhere"),
}


@pytest.mark.parametrize("case", RANK_OR_TRUNCATE)
def test_what_rank_and_truncate_refuse_is_one_sentence(refused, whole_adapter, tiny_model_folder, tmp_path, case):
    asked, words = RANK_OR_TRUNCATE[case]
    places = {"A": whole_adapter, "OUT": tmp_path / "out", "BASE": tiny_model_folder("gpt2")}
    before = snapshot(whole_adapter)
    text = one_sentence(refused(*(places.get(part, part) for part in asked)))
    assert words.replace("fit BASE", f"fit {places['BASE']}") in text
    assert snapshot(whole_adapter) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "value"), [("--to", "0"), ("--to", "-1"), ("--to", "many"), ("--items", "1")])
def test_a_size_out_of_range_is_named(refused, whole_adapter, tmp_path, option, value):
    given = () if option == "--to" else ("--to", "1")
    text = refused("truncate", whole_adapter, option, value, *given, "--out", tmp_path / "out")
    assert f"Invalid value for '{option}'" in text
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_too_few_items_is_one_sentence(refused, tiny_model_folder, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "a2", "answer": "b2"}\n')
    weights = AdapterWeights({"transformer.h.0.mlp.c_proj": Factors(torch.ones(1, 64), torch.ones(16, 1), 1.0)})
    write_adapter(tmp_path / "adapter", weights, None)
    on_task = ("--base", tiny_model_folder("gpt2"), "--task", file)
    assert "and at least 2 are needed" in one_sentence(refused("rank", tmp_path / "adapter", *on_task))


# Bases

BASES = {
    "weights cut": (lambda f: cut(f / "model.safetensors"), "is not a whole safetensors file"),
    "code of its own": (
        lambda f: edit(f / "config.json", auto_map={"AutoModelForCausalLM": "evil.Evil"}),
        "brings code of its own (auto_map in config.json), which rankscope does not run",
    ),
    "pickle only": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "only as pickle files, which can run code",
    ),
    "config cut": (lambda f: cut(f / "config.json"), "is not valid JSON"),
}


@pytest.mark.parametrize("case", BASES)
def test_a_damaged_or_unsafe_base_is_one_sentence(refused, tiny_model_folder, tmp_path, case):
    harm, words = BASES[case]
    folder = shutil.copytree(tiny_model_folder("gpt2"), tmp_path / "base")
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    harm(folder)
    assert words in one_sentence(refused(*training(folder, tmp_path / "out")))
    assert not (tmp_path / "out").exists()


# Files of items

LINES = {
    "cut": (b'{"prompt": "a", "answer": "b"}\n{"prompt": "a", "ans', "line 2: not JSON"),
    "not UTF-8": ('{"prompt": "é", "answer": "b"}'.encode("latin-1"), "is not a UTF-8 text file"),
    "binary": (b"\0\0\0", "line 1: not JSON"),
    "too deep": (b"[" * 100_000, "line 1: not JSON"),
    "a number too long": (b'{"prompt": "a", "answer": "b", "n": ' + b"9" * 5000 + b"}", "line 1: not JSON"),
    "no answer": (b'{"prompt": "a"}', "expected text under 'answer', came nothing"),
    "answer a number": (b'{"prompt": "a", "answer": 2}', "expected text under 'answer', came 2"),
    "empty": (b"\n\n", "holds no items"),
}


@pytest.mark.parametrize("case", LINES)
def test_a_malformed_file_of_items_is_one_sentence(refused, tmp_path, case):
    content, words = LINES[case]
    file = tmp_path / "mine.jsonl"
    file.write_bytes(content)
    assert words in one_sentence(refused("task", "show", file))


# Run folders


@pytest.fixture
def begun(tmp_path):
    """A run folder of the smoke study, begun and interrupted, and its resolved settings."""
    entry, form = find_study("first_look:smoke")
    resolved = entry.plan(form).model_dump(mode="json")
    with RunFolder.open(tmp_path / "run", resolved, kind="study"):
        (tmp_path / "run" / "tables").mkdir()
        (tmp_path / "run" / "tables" / "work.txt").write_text("hours of work")
    return tmp_path / "run", resolved


def finish(folder, resolved):
    """Marks the run as finished."""
    with RunFolder.open(folder, resolved, kind="study") as run:
        run.finish()


RUNS = {
    "manifest cut": (False, lambda f: cut(f / "manifest.json"), "is truncated or not JSON"),
    "manifest empty": (False, lambda f: (f / "manifest.json").write_text(""), "is truncated or not JSON"),
    "manifest gone": (False, lambda f: (f / "manifest.json").unlink(), "is not a run folder"),
    "another version": (False, lambda f: edit(f / "manifest.json", format=99), "of another version of rankscope"),
    "other settings": (False, lambda f: edit(f / "manifest.json", resolved={}), "was started with other settings"),
    "mark cut": (True, lambda f: cut(f / "done.json"), "is truncated or not JSON"),
    "file changed": (True, lambda f: (f / "tables" / "work.txt").write_text("?"), "has changed since its run finished"),
    "file gone": (True, lambda f: (f / "tables" / "work.txt").unlink(), "is missing though its run had finished"),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_damaged_run_folder_is_one_sentence_and_left_alone(refused, begun, case):
    finished, harm, words = RUNS[case]
    folder, resolved = begun
    if finished:
        finish(folder, resolved)
    harm(folder)
    before = snapshot(folder)
    text = one_sentence(refused("study", "first_look:smoke", "--out", folder))
    assert words in text
    after = snapshot(folder)
    assert {name: after.get(name) for name in before} == before


def test_a_run_folder_in_use_is_one_sentence(refused, begun):
    folder, resolved = begun
    with RunFolder.open(folder, resolved, kind="study"):
        text = one_sentence(refused("study", "first_look:smoke", "--out", folder))
    assert f"is in use by process {os.getpid()}" in text


FINDINGS = {
    "missing": (None, "has not reached its findings yet"),
    "cut": ('{"version": 1, "study": "fi', "is not a findings file of version 1"),
    "another version": ('{"version": 2}', "is not a findings file of version 1"),
}


@pytest.mark.parametrize("case", FINDINGS)
def test_a_report_without_findings_is_one_sentence(refused, tmp_path, case):
    content, words = FINDINGS[case]
    (tmp_path / "records").mkdir()
    (tmp_path / "report.html").write_text("the page of before")
    if content is not None:
        (tmp_path / "records" / "findings.json").write_text(content)
    assert words in one_sentence(refused("report", tmp_path))
    assert (tmp_path / "report.html").read_text() == "the page of before"


# Where to write


def commands_that_write(tiny, folder):
    """Each command with an --out, without it."""
    return {
        "train": training(tiny, "OUT")[:5] + training(tiny, "OUT")[7:],
        "export": ["task", "export", "hashhop", "--n", "3"],
        "base": ["base", "build", "tiny-gpt2"],
        "study": ["study", "first_look:smoke"],
        "report": ["report", folder],
        "truncate": ["truncate", folder, "--to", "1"],
    }


@pytest.mark.parametrize("command", ["train", "export", "base", "study", "report", "truncate"])
def test_a_place_below_a_file_is_one_sentence(refused, tiny_model_folder, tmp_path, command):
    (tmp_path / "file").write_text("precious")
    arguments = commands_that_write(tiny_model_folder("gpt2"), tmp_path)[command]
    text = one_sentence(refused(*arguments, "--out", tmp_path / "file" / "x" / "y.html"))
    assert "Errno" not in text
    assert str(tmp_path / "file") in text
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="needs a folder in which nobody can make files")
@pytest.mark.parametrize("command", ["train", "export", "base", "study", "truncate"])
def test_a_place_where_nothing_can_be_made_is_one_sentence(refused, tiny_model_folder, whole_adapter, command):
    arguments = commands_that_write(tiny_model_folder("gpt2"), whole_adapter)[command]
    text = one_sentence(refused(*arguments, "--out", "/proc/self/fdinfo/x/y.html"))
    assert "Errno" not in text
    assert "/proc/self/fdinfo" in text


@pytest.mark.parametrize("command", ["export", "report"])
def test_folders_and_devices_are_not_replaced_by_a_file(refused, tmp_path, command):
    arguments = commands_that_write("tiny-gpt2", tmp_path)[command]
    assert "is a folder" in one_sentence(refused(*arguments, "--out", tmp_path))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "is no ordinary file" in one_sentence(refused(*arguments, "--out", pipe))
    assert pipe.is_fifo()


@contextmanager
def small_disk(folder):
    """A disk of 64 KiB, mounted for the length of the block."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@ROOT_ONLY
@pytest.mark.parametrize("command", ["export", "train", "study", "truncate"])
def test_a_full_disk_is_one_sentence_and_loses_nothing(refused, tiny_model_folder, whole_adapter, tmp_path, command):
    with small_disk(tmp_path / "disk") as disk:
        (disk / "mine").write_bytes(b"x" * 30_000)
        places = {"export": "items.jsonl", "train": "cell", "study": "run", "truncate": "small"}
        out = disk / places[command]
        if command in ("study", "truncate"):
            (disk / "more").write_bytes(b"x" * 30_000)
        arguments = commands_that_write(tiny_model_folder("gpt2"), whole_adapter)[command]
        if command == "export":
            arguments = [*arguments[:-1], "500"]
        text = refused(*arguments, "--out", out).splitlines(keepends=True)[-1]
        assert "No disk space left" in one_sentence(text)
        assert (disk / "mine").read_bytes() == b"x" * 30_000
        assert not any(path.name.endswith(".tmp") for path in disk.rglob("*"))


# The same through the installed command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("study", "first_look:quik"), b"Near matches: quick"),
        (("task", "show", b"na\xefve.jsonl"), b"There is no file"),
        (("rank", "nowhere"), b"No adapter folder nowhere"),
    ],
)
def test_the_installed_command_refuses_alike(tmp_path, arguments, words):
    done = subprocess.run([f"{sys.exec_prefix}/bin/rankscope", *arguments], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []
