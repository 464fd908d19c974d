"""From trained cell folders to score tables, gains and a functional rank, as a study goes about it."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from hand_items import random_items

from rankscope.adapters.read import read_adapter
from rankscope.evals.score import score_cell, score_variant, wide
from rankscope.lm.bases import Base, load_base
from rankscope.rank.functional import functional_rank, truncation_curve, truncation_curves
from rankscope.tasks.encoded import EncodedItems
from rankscope.train.arms import build_arm, write_arm
from rankscope.train.batches import batch_of
from rankscope.train.cell import ArmSpec, FullSpec, LoraSpec
from rankscope.train.loss import answer_loss

N_STEPS = 100


@pytest.fixture(scope="module")
def items() -> EncodedItems:
    return random_items(5, 8)


@pytest.fixture(scope="module")
def base(tiny_model_folder: Callable[[str], Path]) -> Base:
    return load_base(str(tiny_model_folder("gpt2")))


def train(base: Base, spec: ArmSpec, items: EncodedItems, seed: int, folder: Path) -> Path:
    """Learns the items by heart for a moment, with a snapshot halfway."""
    arm = build_arm(base, spec, seed)
    optimiser = torch.optim.AdamW(arm.parameters.values(), lr=2e-2)
    batch = batch_of(items, torch.arange(len(items)).numpy(), torch.device("cpu"))
    for step in range(N_STEPS):
        if step == N_STEPS // 2:
            write_arm(folder / "early", arm, base.name)
        loss = answer_loss(arm.model, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    write_arm(folder / "adapter", arm, base.name)
    return folder


def test_lora_cells_over_seeds(base: Base, items: EncodedItems, tmp_path: Path) -> None:
    folders = [train(base, LoraSpec(rank=4), items, seed, tmp_path / str(seed)) for seed in range(2)]
    tables = [
        score_cell(base, folder, items, cell=f"c{seed}", seed=seed, step=N_STEPS, generate=True)
        for seed, folder in enumerate(folders)
    ]
    early = score_cell(base, folders[0], items, cell="c0", seed=0, step=N_STEPS // 2, snapshot="early")
    before = score_variant(base.model, items, cell="base", seed=-1, step=0)
    seeds, _, exact_SN = wide(pl.concat(tables), "exact_output")
    reference_N = wide(before, "exact_output")[2][0]
    assert seeds == (0, 1)
    assert (exact_SN.mean(1) > reference_N.mean() + 0.2).all()
    assert before["nats"].mean() < early["nats"].mean() < tables[0]["nats"].mean()
    assert all(table.filter("exact_output")["answer_correct"].all() for table in tables)

    frames = [
        truncation_curves(base.model, read_adapter(folder / "adapter"), items, controls=("energy", "global"))
        for folder in folders
    ]
    curves = {name: truncation_curve(frames, name, "exact_output") for name in ("energy", "global")}
    assert curves["energy"].scores_SKN[:, -1].tolist() == exact_SN.tolist()
    assert curves["energy"].scores_SKN[0, 0].tolist() == reference_N.tolist()
    found = functional_rank("rank 4", curves, reference_N)
    assert not found.no_gain
    assert all(1 <= k <= 4 for k in found.by_seed)
    assert score_variant(base.model, items, cell="base", seed=-1, step=0).equals(before)


def test_full_cell(base: Base, items: EncodedItems, tmp_path: Path) -> None:
    folder = train(base, FullSpec(), items, 0, tmp_path)
    before = score_variant(base.model, items, cell="base", seed=-1, step=0)
    scored = score_cell(base, folder, items, cell="full", seed=0, step=N_STEPS)
    assert scored["exact_output"].mean() > before["exact_output"].mean() + 0.2
    assert score_variant(base.model, items, cell="base", seed=-1, step=0).equals(before)
