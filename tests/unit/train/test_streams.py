"""Changing one seed changes its own stream alone, in the functions that the training loop itself calls."""

from pathlib import Path

import pytest
import tiny_training as tiny
import torch

from rankscope.base.seeds import Seeds
from rankscope.lm.bases import load_base
from rankscope.train.arms import adapter_of, build_arm, dropout_stream
from rankscope.train.batches import batch_rows
from rankscope.train.cell import Budget
from rankscope.train.materials import MaterialStore

STREAMS = ("data", "order", "init", "dropout")


def fingerprints(base_folder: Path, seeds: Seeds) -> dict[str, object]:
    """What each random stream of a cell gives."""
    cell = tiny.copy_cell(base_folder, "dropout").override(seeds=seeds.model_dump())
    base = load_base(str(base_folder))
    arm = build_arm(base, cell.arm, cell.seeds.init)
    with dropout_stream(arm, cell.seeds.dropout, 3):
        mask = torch.rand(4)
    return {
        "data": MaterialStore("cpu").of(cell).items.content_hash,
        "order": batch_rows(Budget(n_items=40, batch_size=8), cell.seeds.order, 2).tolist(),
        "init": next(iter(adapter_of(arm).values())).A_RI.flatten().tolist(),
        "dropout": mask.tolist(),
    }


@pytest.mark.usefixtures("toy_skill")
@pytest.mark.parametrize("changed", [*STREAMS, "eval"])
def test_a_seed_moves_its_own_stream_only(base_folder: Path, changed: str) -> None:
    before = fingerprints(base_folder, Seeds())
    after = fingerprints(base_folder, Seeds(**{changed: 1}))
    assert {name for name in STREAMS if before[name] != after[name]} == {changed} - {"eval"}


def test_dropout_leaves_torchs_own_stream_alone(base_folder: Path) -> None:
    arm = build_arm(load_base(str(base_folder)), tiny.ARMS["dropout"], 0)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with dropout_stream(arm, 0, 0):
        torch.rand(100)
    assert torch.equal(torch.rand(3), expected)
