"""Losses of ten steps on the seeded tiny base, fp32. Tolerance 2e-4 relative: kernels round differently elsewhere.

`make golden-accept` rewrites the file.
"""

import json
import os
from pathlib import Path

import pytest
import tiny_training as tiny

from rankscope.train.events import Finished
from rankscope.train.materials import MaterialStore
from rankscope.train.training import METRICS, TrainingSettings, train_cell

STORED = Path(__file__).with_name("ten_steps.json")


@pytest.mark.usefixtures("toy_skill")
@pytest.mark.parametrize("arm", ["lora", "dropout", "dense", "full"])
def test_losses_are_those_of_the_golden_run(tmp_path: Path, base_folder: Path, arm: str) -> None:
    cell = tiny.copy_cell(base_folder, arm, n_items=40)
    settings = TrainingSettings(log_every=1)
    events = list(train_cell(MaterialStore("cpu").of(cell), tmp_path, settings))
    assert isinstance(events[-1], Finished)
    losses = [json.loads(line)["loss_nats"] for line in (tmp_path / METRICS).read_text().splitlines()]
    golden = json.loads(STORED.read_text()) if STORED.exists() else {}
    if os.environ.get("RANKSCOPE_GOLDEN_ACCEPT") == "1":
        STORED.write_text(json.dumps(golden | {arm: losses}, indent=2, sort_keys=True) + "\n")
        return
    assert losses == pytest.approx(golden[arm], rel=2e-4)
