"""A capture killed with SIGKILL again and again: it goes on to the bytes of one that was never killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tiny_captures import base_of, random_adapter

from rankscope.adapters.write import write_adapter
from rankscope.capture import recorder
from rankscope.capture.store import open_capture
from rankscope.runs.folder import is_finished, verify_finished

PATHS = (Path(recorder.__file__).parents[2], Path(__file__).parents[2])
ENV = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, PATHS)), "OMP_NUM_THREADS": "1"}
CAPTURE = """
import sys
from pathlib import Path
from rankscope.adapters.read import read_adapter
from rankscope.capture import recorder
from rankscope.lm.bases import load_base
from tiny_captures import some_items

recorder.MOST_SHARD_TOKENS = 30
base, adapter, out = sys.argv[1:]
recorder.record(
    load_base(base), read_adapter(Path(adapter)), some_items(12), None, Path(out),
    tell=lambda done, total: print(done, flush=True),
)
"""


def test_a_capture_killed_again_and_again_ends_like_one_never_killed(tmp_path: Path) -> None:
    base = base_of("gpt2", tmp_path / "base")
    write_adapter(tmp_path / "adapter", random_adapter(base.model, 2), base.name)
    command = [sys.executable, "-c", CAPTURE, str(tmp_path / "base"), str(tmp_path / "adapter")]
    killed, plain = tmp_path / "killed", tmp_path / "plain"
    for n_shards in (1, 2):
        with subprocess.Popen([*command, str(killed)], env=ENV, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(n_shards):
                assert process.stdout.readline()
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not is_finished(killed)
    for folder in (killed, plain):
        subprocess.run([*command, str(folder)], env=ENV, check=True, stdout=subprocess.DEVNULL)
        verify_finished(folder)
    files = [json.loads((folder / "done.json").read_text())["files"] for folder in (killed, plain)]
    shards = [{name: fact for name, fact in one.items() if name.startswith("shards")} for one in files]
    assert shards[0] == shards[1]
    assert open_capture(killed).n_shards >= 4
