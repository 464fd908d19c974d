"""A capture killed with SIGKILL again and again: it goes on to the bytes of one that was never killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_captures import base_of, random_adapter

from rankscope.adapters.write import write_adapter
from rankscope.capture import recorder
from rankscope.capture.store import open_capture
from rankscope.runs.folder import is_finished, verify_finished

PATHS = (Path(recorder.__file__).parents[2], Path(__file__).parents[2])
ENV = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, PATHS)), "OMP_NUM_THREADS": "1"}
CAPTURE = """
import sys, time
from pathlib import Path
from rankscope.adapters.read import read_adapter
from rankscope.capture import recorder
from rankscope.lm.bases import load_base
from tiny_captures import some_items

recorder.MOST_SHARD_TOKENS = 30
base, adapter, out, n_shards = sys.argv[1:]
left = int(n_shards)
real = recorder.tokens_of

def waits_to_be_killed(*given):
    global left
    if not left:
        print("ready", flush=True)
        time.sleep(600)
    left -= 1
    return real(*given)

recorder.tokens_of = waits_to_be_killed
recorder.record(load_base(base), read_adapter(Path(adapter)), some_items(12), None, Path(out))
"""


@pytest.mark.slow
def test_a_capture_killed_again_and_again_ends_like_one_never_killed(tmp_path: Path) -> None:
    base = base_of("gpt2", tmp_path / "base")
    write_adapter(tmp_path / "adapter", random_adapter(base.model, 2), base.name)
    command = [sys.executable, "-c", CAPTURE, str(tmp_path / "base"), str(tmp_path / "adapter")]
    killed, plain = tmp_path / "killed", tmp_path / "plain"
    for n_shards in (1, 2):
        again = [*command, str(killed), str(n_shards)]
        with subprocess.Popen(again, env=ENV, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not is_finished(killed)
    assert len(list((killed / "shards").glob("0*"))) == 3
    for folder in (killed, plain):
        subprocess.run([*command, str(folder), "99"], env=ENV, check=True)
        verify_finished(folder)
    files = [json.loads((folder / "done.json").read_text())["files"] for folder in (killed, plain)]
    shards = [{name: fact for name, fact in one.items() if name.startswith("shards")} for one in files]
    assert shards[0] == shards[1]
    assert open_capture(killed).n_shards >= 4
