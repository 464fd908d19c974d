"""Real processes killed with SIGKILL: what they leave is whole, free to open, and continued to the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from rankscope.base.errors import RunLocked
from rankscope.runs import folder as folder_module
from rankscope.runs.folder import RunFolder, is_finished, verify_finished
from rankscope.runs.manifest import read_json_object
from rankscope.runs.metrics import read_metrics
from rankscope.runs.tables import read_table

CONFIG = {"n_steps": 40}
ENV = os.environ | {"PYTHONPATH": str(Path(folder_module.__file__).parents[2])}
TRAINING = """
import sys
from pathlib import Path
import polars as pl
from rankscope.base.atomic import write_json
from rankscope.runs.folder import RunFolder
from rankscope.runs.manifest import read_json_object
from rankscope.runs.metrics import MetricsLog
from rankscope.runs.tables import write_table

path, n_steps = Path(sys.argv[1]), 40
with RunFolder.open(path, {"n_steps": n_steps}, "train") as folder:
    checkpoint = path / "checkpoint.json"
    done = read_json_object(checkpoint)["step"] if checkpoint.exists() else 0
    with MetricsLog(path / "metrics.jsonl", done) as log:
        for step in range(done + 1, n_steps + 1):
            log.write(step, loss_nats=1 / step)
            if step % 3 == 0:
                write_table(path / "scores.parquet", pl.DataFrame({"step": range(step)}))
                write_json(checkpoint, {"step": step})
            print(step, flush=True)
    folder.finish()
"""
HOLDING = """
import sys, time
from pathlib import Path
from rankscope.runs.folder import RunFolder
with RunFolder.open(Path(sys.argv[1]), {"n_steps": 40}, "train"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
DYING = """
import os, signal, sys
from pathlib import Path
from rankscope.runs.folder import RunFolder
left, real = int(sys.argv[2]), os.replace
def replace(*paths):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*paths)
os.replace = replace
with RunFolder.open(Path(sys.argv[1]), {"n_steps": 40}, "train") as folder:
    folder.finish()
"""


def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """A Python process that prints to us."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, text=True)


def kill_after(process: "subprocess.Popen[str]", n_lines: int) -> None:
    """Kills a process right after its n-th line, wherever it is by then."""
    assert process.stdout is not None
    with process:
        for _ in range(n_lines):
            assert process.stdout.readline()
        process.kill()
    assert process.returncode == -signal.SIGKILL


def check_consistent(path: Path) -> None:
    """What must hold of a killed training's folder: nothing is half there, the log covers the checkpoint."""
    assert not is_finished(path)
    step = read_json_object(path / "checkpoint.json")["step"] if (path / "checkpoint.json").exists() else 0
    logged = read_metrics(path / "metrics.jsonl")["step"].to_list()
    assert logged == list(range(1, len(logged) + 1))
    assert len(logged) >= step
    if step:
        assert len(read_table(path / "scores.parquet", {"step": pl.Int64})) >= step


def test_a_training_killed_again_and_again_ends_like_one_never_killed(tmp_path: Path) -> None:
    killed, plain = tmp_path / "killed", tmp_path / "plain"
    for n_lines in (2, 10, 7):
        kill_after(start(TRAINING, killed), n_lines)
        check_consistent(killed)
    for path in (killed, plain):
        assert subprocess.run([sys.executable, "-c", TRAINING, str(path)], env=ENV, check=False).returncode == 0
        verify_finished(path)
        assert not list(path.glob(".*.tmp"))
    for name in ("metrics.jsonl", "scores.parquet", "checkpoint.json"):
        assert (killed / name).read_bytes() == (plain / name).read_bytes()


@pytest.mark.parametrize("nth_rename", [1, 2, 3])
def test_killed_between_writing_and_renaming_leaves_a_folder_that_opens(tmp_path: Path, nth_rename: int) -> None:
    process = start(DYING, tmp_path / "run", nth_rename)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    path = tmp_path / "run"
    assert list(path.glob(".*.tmp"))
    assert (path / "manifest.json").exists() == (nth_rename == 3)
    assert not is_finished(path)
    with RunFolder.open(path, CONFIG, "train") as folder:
        assert not list(path.glob(".*.tmp"))
        folder.finish()
    verify_finished(path)


def test_a_held_folder_is_refused_waited_for_and_free_after_a_kill(tmp_path: Path) -> None:
    holder = start(HOLDING, tmp_path, 60)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    for wait_s in (0.0, 0.15):
        with (
            pytest.raises(RunLocked, match=rf"in use by process {holder.pid}\. Wait"),
            RunFolder.open(tmp_path, CONFIG, "train", wait_s=wait_s),
        ):
            pass
    kill_after(holder, 0)
    with RunFolder.open(tmp_path, CONFIG, "train"):
        assert (tmp_path / ".lock.pid").read_text() == f"{os.getpid()}\n"
    assert not (tmp_path / ".lock.pid").exists()


def test_waiting_gets_the_folder_when_the_first_ends(tmp_path: Path) -> None:
    with start(HOLDING, tmp_path, 0.3) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with RunFolder.open(tmp_path, CONFIG, "train", wait_s=30.0) as folder:
            folder.finish()
    verify_finished(tmp_path)


FILLING = """
import sys
from pathlib import Path
import polars as pl
from rankscope.base.errors import OutOfSpace
from rankscope.runs.folder import RunFolder, verify_finished
from rankscope.runs.metrics import MetricsLog, read_metrics
from rankscope.runs.tables import read_table, write_table

disk = Path(sys.argv[1])
path, table = disk / "run", disk / "run" / "scores.parquet"
with RunFolder.open(path, {}, "train") as folder:
    write_table(table, pl.DataFrame({"a": range(9)}))
    folder.finish()
try:
    with RunFolder.open(path, {}, "train"):
        write_table(table, pl.DataFrame({"a": [str(n**7) for n in range(99999)]}))
except OutOfSpace as error:
    assert "scores.parquet" in str(error)
else:
    raise SystemExit("a table of 1 MB went into 256 KiB")
verify_finished(path)
n_written = 0
try:
    with MetricsLog(disk / "metrics.jsonl", None) as log:
        for step in range(99999):
            log.write(step, loss_nats=1 / (step + 1))
            n_written += 1
except OutOfSpace:
    pass
assert 0 < n_written < 99999
assert (disk / "metrics.jsonl").read_bytes().endswith(b"}\\n")
assert read_metrics(disk / "metrics.jsonl")["step"].to_list() == list(range(n_written))
print("kept", n_written)
"""
MOUNT = 'mount -t tmpfs -o size=256k tmpfs "$1" && exec "$2" -c "$3" "$1"'


def can_mount(folder: Path) -> bool:
    """Whether this system lets us mount a small disk of our own."""
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    return (
        shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )


def test_a_really_full_disk_keeps_every_finished_file(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("needs the right to mount a small disk")
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", str(tmp_path), sys.executable, FILLING]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kept")
