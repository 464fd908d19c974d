"""docs/look.md as a reader follows it: every block in order, at a smaller size, in a fresh folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rankscope.interpret.look_records import LABELS_FILE, LOOK_FILE, read_look

WALK = (Path(__file__).parents[3] / "docs" / "look.md").read_text(encoding="utf-8")
SMALLER = {
    "--n 6000": "--n 300",
    "range(300)": "range(3)",
    "--items 100": "--items 30",
    "--push 3": "--push 3 --items 4",
}
N_SITES = 28


def smaller(text: str) -> str:
    for size, less in SMALLER.items():
        text = text.replace(size, less)
    return text


def blocks() -> list[tuple[str, str]]:
    return re.findall(r"^```(console|python)\n(.*?)^```$", WALK, flags=re.MULTILINE | re.DOTALL)


def run(folder: Path, *command: str) -> str:
    settings = {"PATH": f"{sys.exec_prefix}/bin:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_blocks_are_those_that_are_made_smaller():
    assert [language for language, _ in blocks()] == ["console", "python", "console", "console", "console"]
    assert all(size in "".join(text for _, text in blocks()) for size in SMALLER)


@pytest.mark.slow
def test_every_block_runs_in_order(tmp_path):
    export, script, look, steer, labelled = (smaller(text) for _, text in blocks())
    run(tmp_path, "bash", "-euc", export)
    (tmp_path / "make.py").write_text(script, encoding="utf-8")
    assert run(tmp_path, "python", "make.py").startswith("0 ")
    told = run(tmp_path, "bash", "-euc", look)
    assert "Exact output:" in told
    assert "wrong step" not in told
    record = read_look(tmp_path / "hop-look" / LOOK_FILE)
    assert len(record.directions) == N_SITES
    assert sum(bool(one.causal) for one in record.directions) == 8
    assert all(one.role is not None and one.ablation is not None for one in record.directions)
    assert record.missing == ()
    assert "switched off" in run(tmp_path, "bash", "-euc", steer)
    labels = {"adapter_hash": record.adapter_hash, "labels": {record.directions[0].slug: "seen"}}
    (tmp_path / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    run(tmp_path, "bash", "-euc", labelled)
    assert "seen" in (tmp_path / "hop-look" / LABELS_FILE).read_text(encoding="utf-8")
