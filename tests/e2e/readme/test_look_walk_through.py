"""docs/look.md as a reader follows it: every block in order, at a smaller size, in a fresh folder."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rankscope.interpret.look_records import LABELS_FILE, LOOK_FILE, read_look

WALK = (Path(__file__).parents[3] / "docs" / "look.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", WALK, flags=re.MULTILINE | re.DOTALL)
SMALLER = {
    "--n 6000": "--n 300",
    "range(300)": "range(3)",
    "--items 100": "--items 24",
    "--push 3": "--push 3 --items 4",
}
N_SITES = 28


def smaller(text: str) -> str:
    for size, less in SMALLER.items():
        text = text.replace(size, less)
    return text


def test_the_blocks_are_those_that_are_made_smaller():
    assert [language for language, _ in BLOCKS] == ["console", "python", "console", "console", "console"]
    assert all(size in "".join(text for _, text in BLOCKS) for size in SMALLER)
    lines = [line for language, text in BLOCKS if language == "console" for line in text.splitlines()]
    assert len(lines) == 4
    assert all(line.startswith("rankscope ") for line in lines)


@pytest.mark.slow
def test_every_block_runs_in_order(rankscope, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export, script, look, steer, labelled = (smaller(text) for _, text in BLOCKS)

    def run(line: str) -> str:
        ran = rankscope(*shlex.split(line)[1:])
        assert ran.code == 0, f"{line}\n{ran.out}\n{ran.err}"
        return ran.out

    run(export)
    (tmp_path / "make.py").write_text(script, encoding="utf-8")
    made = subprocess.run([sys.executable, "make.py"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("0 ")
    told = run(look)
    assert "Exact output:" in told
    assert "wrong step" not in told
    record = read_look(tmp_path / "hop-look" / LOOK_FILE)
    assert len(record.directions) == N_SITES
    assert sum(bool(one.causal) for one in record.directions) == 8
    assert all(one.role is not None and one.ablation is not None for one in record.directions)
    assert record.missing == ()
    assert "switched off" in run(steer)
    labels = {"adapter_hash": record.adapter_hash, "labels": {record.directions[0].slug: "seen"}}
    (tmp_path / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    run(labelled)
    assert "seen" in (tmp_path / "hop-look" / LABELS_FILE).read_text(encoding="utf-8")
