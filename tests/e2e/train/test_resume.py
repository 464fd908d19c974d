"""A training killed anywhere leaves, after the same command again, the bytes of an uninterrupted one."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_training as tiny

from rankscope.runs.folder import read_done
from rankscope.train.events import Finished
from rankscope.train.local import LocalExecutor
from rankscope.train.training import CHECKPOINT


def train(base: Path, root: Path, arm: str, *arguments: str) -> int:
    """Exit code of one training process that writes a checkpoint after every step."""
    command = [sys.executable, tiny.__file__, str(base), str(root), arm, *arguments]
    return subprocess.run(command, capture_output=True, timeout=120).returncode


@pytest.mark.slow
@pytest.mark.usefixtures("toy_skill")
@pytest.mark.parametrize(
    ("arm", "points"),
    [
        ("dropout", ["step:8", "checkpoint:7", "save:1", "done:1"]),
        ("full", ["checkpoint:12", "save:2"]),
    ],
)
def test_killed_anywhere_and_resumed_gives_the_same_bytes(
    tmp_path: Path, base_folder: Path, arm: str, points: list[str]
) -> None:
    steady = list(LocalExecutor(tmp_path / "steady", device="cpu").train([tiny.copy_cell(base_folder, arm)]))[-1]
    assert isinstance(steady, Finished)
    cut = tmp_path / "cut" / steady.key
    for point in points:
        assert train(base_folder, tmp_path / "cut", arm, "--kill-at", point) == -signal.SIGKILL
        assert not (cut / "done.json").exists()
    assert train(base_folder, tmp_path / "cut", arm) == 0
    assert read_done(cut) == read_done(steady.folder)


@pytest.mark.usefixtures("toy_skill")
def test_a_resumed_training_does_not_start_again(tmp_path: Path, base_folder: Path) -> None:
    cell = tiny.copy_cell(base_folder, "lora")
    executor = LocalExecutor(tmp_path, device="cpu", checkpoint_every_s=0.0)
    events = executor.train([cell])
    assert [next(events).step for _ in range(2)] == [10, 20]
    events.close()
    (folder,) = tmp_path.iterdir()
    assert (folder / CHECKPOINT).exists()
    *resumed, finished = executor.train([cell])
    assert [event.step for event in resumed] == [20, 30]
    steady = list(LocalExecutor(tmp_path / "steady", device="cpu").train([cell]))[-1]
    assert read_done(finished.folder) == read_done(steady.folder)
