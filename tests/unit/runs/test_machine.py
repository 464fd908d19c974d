"""Provenance: facts about the machine, and the state of a checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rankscope.base.machine import git_state, machine_facts


def git(folder: Path, *arguments: str) -> str:
    """Runs git with a made-up author."""
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *author, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit: src/a.py, and an ignored folder `venv`."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for folder in ("src", "venv", "runs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "src" / "a.py").write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text("venv\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    return tmp_path


def test_facts_are_plain_and_import_nothing_heavy() -> None:
    code = (
        "import sys; from rankscope.base.machine import machine_facts; f = machine_facts(); "
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules); print(f['torch'], f['cores'])"
    )
    source = str(Path(sys.modules["rankscope.base.machine"].__file__ or "").parents[2])
    env = os.environ | {"PYTHONPATH": source}
    shown = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True).stdout
    facts = machine_facts()
    assert shown.split() == [facts["torch"], str(facts["cores"])]
    assert isinstance(facts["memory_gib"], float)
    assert facts["memory_gib"] > 0
    assert os.uname().nodename not in facts.values()


def test_a_clean_checkout_and_a_changed_one(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD").strip()
    (checkout / "runs" / "output.txt").write_text("outside of src")
    assert git_state(checkout / "src") == {"commit": commit, "dirty": False}
    (checkout / "src" / "new.py").write_text("")
    assert git_state(checkout / "src") == {"commit": commit, "dirty": True}


def test_an_ignored_folder_no_commit_and_no_repository_are_none(checkout: Path, tmp_path: Path) -> None:
    assert git_state(checkout / "venv") is None
    bare = tmp_path / "runs" / "bare"
    bare.mkdir()
    git(bare, "init", "--quiet")
    assert git_state(bare) is None
    assert git_state(tmp_path.parent) is None


def test_without_git_there_is_no_state(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert git_state(checkout / "src") is None
