"""README.md as a newcomer follows it: every command in order, in a fresh folder, and the Python block."""

import glob
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line for language, text in BLOCKS if language == "console" for line in text.splitlines() if "rankscope " in line
]
OF_STUDY = [line for line in COMMANDS if line.startswith(("rankscope study ", "rankscope report "))]
QUICK = [line for line in COMMANDS if line not in OF_STUDY]


def run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """What a command leaves in `folder`, with the installed rankscope on the path, no network and one thread."""
    settings = {"PATH": f"{sys.exec_prefix}/bin:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    ours = ("RANKSCOPE_RUNS", "RANKSCOPE_DEBUG", "COLUMNS")
    env = {name: value for name, value in os.environ.items() if name not in ours} | settings
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def run_lines(folder: Path, lines: list[str]) -> None:
    """Runs each line through a shell; all must end with 0 and no traceback."""
    for line in lines:
        done = run(folder, "bash", "-euc", line)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, line


def test_every_kind_of_block_is_known():
    assert {language for language, _ in BLOCKS} == {"console", "python"}
    assert len(QUICK) >= 10
    assert len(OF_STUDY) == 2


def test_the_quick_commands_run_as_written(tmp_path, monkeypatch, rankscope):
    """In this process, which has loaded everything already; twenty of their own would take minutes to do so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANKSCOPE_RUNS", raising=False)
    for line in QUICK:
        name, *arguments = (found for word in shlex.split(line) for found in sorted(glob.glob(word)) or [word])
        done = rankscope(*arguments)
        assert (name, done.code) == ("rankscope", 0), f"{line}\n{done.out}\n{done.err}"
        assert "Traceback" not in done.err, line
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_the_python_block_runs_as_written(tmp_path):
    (block,) = (text for language, text in BLOCKS if language == "python")
    (tmp_path / "block.py").write_text(block, encoding="utf-8")
    done = run(tmp_path, "python", "-W", "error::DeprecationWarning:__main__", "block.py")
    assert done.returncode == 0, done.stderr
    assert "exact output:" in done.stdout
    assert done.stdout.count("stable rank") >= 4


def test_the_command_that_must_fail_does(tmp_path):
    (line,) = re.findall(r"`(rankscope task check [^`]*preset=p1[^`]*)` fails", README)
    done = run(tmp_path, "bash", "-euc", line)
    assert done.returncode == 1, done.stderr
    assert re.search(r"number of lines -> shortest length .* LEAKS", done.stdout)


@pytest.mark.slow
def test_all_commands_run_as_written_in_processes_of_their_own(tmp_path):
    run_lines(tmp_path, QUICK + OF_STUDY)
    for page in ("runs/readme/study/report.html", "runs/readme/page.html"):
        assert (tmp_path / page).stat().st_size > 10_000
