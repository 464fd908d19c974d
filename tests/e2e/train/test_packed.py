"""Packs against the reference: fifty steps in float64, and as an executor of cells with their folders."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_training as tiny
import torch
from fp64 import computing_in_fp64

from rankscope.adapters.read import read_adapter
from rankscope.engine.passes import WHOLE, Passes
from rankscope.lm.bases import load_base
from rankscope.lm.read_decoder import read_decoder
from rankscope.train import packed
from rankscope.train.batches import batch_stream
from rankscope.train.cell import LoraSpec
from rankscope.train.events import Diverged, Finished
from rankscope.train.job import Job
from rankscope.train.kinds import NO_PREFIXES, build_arm_of, prefixes_of
from rankscope.train.local import LocalExecutor
from rankscope.train.loss import answer_loss
from rankscope.train.materials import Materials
from rankscope.train.pack_checkpoint import PackProgress, read_pack_checkpoint, write_pack_checkpoint
from rankscope.train.pack_gain import pack_gain
from rankscope.train.pack_plan import LEAST_GAIN, PACKS, plan_jobs
from rankscope.train.packed import Member, build_pack, pack_batches
from rankscope.train.schedule import lr_at
from rankscope.train.training import FINAL, METRICS
from rankscope.train.work import Fit

N_STEPS = 50
SPECS = (
    LoraSpec(rank=3),
    LoraSpec(rank=1, placement=("*.c_proj",)),
    LoraSpec(rank=4, placement=("*.1.*",)),
    LoraSpec(kind="rslora", rank=2, placement=("*.c_proj",)),
    LoraSpec(rank=4),
)


def cells_of(folder, specs=SPECS, seeds=(0,), n_items=8 * N_STEPS):
    """Cells that differ in adapter, rate, decay and clipping."""
    made = []
    for seed in seeds:
        for number, spec in enumerate(specs):
            cell = tiny.copy_cell(folder, "lora", n_items=n_items, seed=seed)
            changes = {"lr": 1e-3 * (1 + number), "weight_decay": 0.01 * number, "clip": 0.3 + number}
            made.append(
                cell.override(
                    arm=spec.model_dump(),
                    optimiser=cell.optimiser.model_dump() | changes,
                    budget=cell.budget.model_dump() | {"n_epochs": 1},
                )
            )
    return made


def members_of(cells, tmp_path, device, dtype=torch.float64):
    base = load_base(cells[0].base)
    base = replace(base, model=base.model.to(device, dtype))
    return [
        Member(
            Materials(
                cell, f"key{n}", base, tiny.copy_items("copy", "train", cell.budget.n_items, cell.seeds.data, base)
            ),
            tmp_path / f"key{n}",
        )
        for n, cell in enumerate(cells)
    ]


def alone(member):
    """Losses and tensors of the reference, one cell at a time."""
    cell, base = member.cell, member.materials.base
    arm = build_arm_of("reference", base, cell)
    batch_at = batch_stream(member.materials.items, cell.budget, cell.seeds.order, base.model.device)
    spec = cell.optimiser
    optimiser = torch.optim.AdamW(
        arm.parameters.values(), betas=(spec.beta1, spec.beta2), eps=spec.eps, weight_decay=spec.weight_decay
    )
    losses = []
    for step in range(N_STEPS):
        optimiser.param_groups[0]["lr"] = lr_at(step, N_STEPS, spec)
        loss = answer_loss(arm.model, batch_at(step))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(arm.parameters.values(), spec.clip)
        optimiser.step()
        losses.append(loss.item())
    return losses, {name: tensor.detach() for name, tensor in arm.parameters.items()}


HOW = (WHOLE, Passes(3), Passes(by_length=True), Passes(3, by_length=True))


@pytest.fixture(autouse=True)
def every_length_apart(monkeypatch):
    """The items here are short: cut them where it saves a single token."""
    monkeypatch.setattr("rankscope.engine.passes.PASS_TOKENS", 0)


def run(trainer, rows, steps, passes=WHOLE, prefixes=NO_PREFIXES):
    losses, device = [], trainer.pack.buckets[0].theta_KP.device
    with pack_batches(rows, device, prefixes) as batch_at:
        for step in steps:
            rates = [lr_at(step, N_STEPS, member.cell.optimiser) for member in rows]
            loss_K, _ = trainer.step_(batch_at(step), torch.tensor(rates, dtype=torch.float64, device=device), passes)
            losses.append(loss_K.tolist())
    return np.array(losses)


def check_against_the_reference(members, losses, trainer, rows):
    """Within 1e-9 of fifty steps of every member by itself."""
    for slot, member in enumerate(rows):
        expected, tensors = alone(member)
        np.testing.assert_allclose(losses[:, slot], expected, rtol=0, atol=1e-9)
        for name, tensor in trainer.pack.tensors(slot).items():
            torch.testing.assert_close(tensor.detach(), tensors[name], rtol=0, atol=1e-9)
    assert len(rows) == len(members)


@pytest.mark.parametrize("passes", HOW)
@pytest.mark.parametrize(
    ("specs", "seeds"),
    [(SPECS, (0,)), pytest.param(SPECS[:3], (0, 1), marks=pytest.mark.slow), (SPECS[2:3], (0,))],
)
def test_fifty_steps_of_every_row_are_the_references(tiny_model_folder, tmp_path, device, specs, seeds, passes):
    members = members_of(cells_of(tiny_model_folder("gpt2"), specs, seeds), tmp_path, device)
    trainer, rows = build_pack(members, device)
    check_against_the_reference(members, run(trainer, rows, range(N_STEPS), passes), trainer, rows)


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral"])
def test_so_they_are_for_rotary_families(tiny_model_folder, tmp_path, device, monkeypatch, family):
    specs = (
        LoraSpec(rank=3),
        LoraSpec(rank=1, placement=("*.down_proj", "*.q_proj")),
        LoraSpec(kind="rslora", rank=2, placement=("*.1.*",)),
    )
    members = members_of(cells_of(tiny_model_folder(family), specs), tmp_path, device)
    trainer, rows = build_pack(members, device)
    losses = run(trainer, rows, range(N_STEPS))
    with computing_in_fp64(monkeypatch, members[0].materials.base.model):
        check_against_the_reference(members, losses, trainer, rows)


@pytest.mark.parametrize("passes", HOW)
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_a_pack_reads_its_prefix_from_the_cache(tiny_model_folder, tmp_path, device, seeds, passes):
    """Rows with batches of their own have a cache of their own."""
    cells = cells_of(tiny_model_folder("gpt2"), SPECS[2:3], seeds, n_items=8 * N_STEPS // 2)
    cells = [cell.override(budget=cell.budget.model_dump() | {"n_epochs": 2}) for cell in cells]
    members = members_of(cells, tmp_path, device)
    prefixes = prefixes_of([member.materials for member in members], tmp_path)
    assert [prefix.layer for prefix in prefixes.values()] == [1] * len(seeds)
    ends = []
    for used in (NO_PREFIXES, prefixes):
        trainer, rows = build_pack(members, device)
        ends.append((run(trainer, rows, range(N_STEPS), passes, used), trainer.pack.buckets[0].theta_KP))
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=0, atol=1e-11)
    torch.testing.assert_close(ends[1][1], ends[0][1], rtol=0, atol=1e-11)


def test_items_seen_once_are_cached_for_the_next_training_where_they_are_few(
    tiny_model_folder, tmp_path, device, monkeypatch
):
    first, *_ = members_of(cells_of(tiny_model_folder("gpt2"), SPECS[2:3]), tmp_path, device)
    items, next_task = first.materials.items, replace(first.materials.items, task="another question of the same text")
    (kept,) = prefixes_of([first.materials], tmp_path).values()
    (again,) = prefixes_of([replace(first.materials, items=next_task)], tmp_path).values()
    assert kept is again
    assert items.content_hash != next_task.content_hash
    (other,) = prefixes_of([replace(first.materials, items=items.take(slice(0, 8)))], tmp_path).values()
    assert other is not kept
    monkeypatch.setattr("rankscope.train.kinds.KEPT_BYTES", kept.size_bytes - 1)
    assert prefixes_of([first.materials], tmp_path) == {}


def test_items_that_return_in_another_order_are_cached_once(tiny_model_folder, tmp_path, device):
    first, *_ = members_of(cells_of(tiny_model_folder("gpt2"), SPECS[2:3]), tmp_path, device)
    other = first.cell.override(seeds=first.cell.seeds.model_dump() | {"order": 7})
    together = [first.materials, replace(first.materials, cell=other)]
    assert list(prefixes_of(together, tmp_path)) == [first.materials.items.content_hash]


def test_a_row_that_is_not_finite_leaves_the_others_as_they_would_be_to_the_last_bit(
    tiny_model_folder, tmp_path, device
):
    members = members_of(cells_of(tiny_model_folder("gpt2")), tmp_path, device, torch.float32)
    ends = []
    for poisoned in (False, True):
        trainer, rows = build_pack(members, device)
        run(trainer, rows, range(5))
        sick = next(
            slot for slot, member in enumerate(rows) if member.spec.rank == 4 and member.spec.placement == ("*",)
        )
        if poisoned:
            with torch.no_grad():
                next(iter(trainer.pack.tensors(sick).values())).fill_(float("nan"))
        run(trainer, rows, range(5, 12))
        assert trainer.alive_K.tolist() == [not poisoned or slot != sick for slot in range(len(rows))]
        ends.append(
            {
                (slot, name): tensor.detach().clone()
                for slot in range(len(rows))
                if slot != sick
                for name, tensor in trainer.pack.tensors(slot).items()
            }
        )
    assert all(torch.equal(tensor, ends[1][place]) for place, tensor in ends[0].items())


def test_rows_go_on_in_other_slots(tiny_model_folder, tmp_path, device):
    cells = cells_of(tiny_model_folder("gpt2"))
    members = members_of(cells, tmp_path, device)
    trainer, rows = build_pack(members, device)
    run(trainer, rows, range(20))
    keys = [member.materials.key for member in rows]
    write_pack_checkpoint(tmp_path / "pack", trainer, keys, PackProgress(20, [[] for _ in rows], 1.0))
    whole = run(trainer, rows, range(20, N_STEPS))
    few, few_rows = build_pack(members[::-1][:3], device)
    few_keys = [member.materials.key for member in few_rows]
    assert read_pack_checkpoint(tmp_path / "pack", few, few_keys).step == 20
    rest = run(few, few_rows, range(20, N_STEPS))
    for slot, key in enumerate(few_keys):
        np.testing.assert_allclose(rest[:, slot], whole[:, keys.index(key)], rtol=0, atol=1e-9)
    assert read_pack_checkpoint(tmp_path / "none", few, few_keys) is None


def ends(events):
    return {event.key: event for event in events if isinstance(event, Finished | Diverged)}


@pytest.fixture(autouse=True)
def toy_items(monkeypatch):
    monkeypatch.setattr("rankscope.train.materials.load_items", tiny.copy_items)


def test_packed_cells_have_the_folders_of_cells_trained_alone(tiny_model_folder, tmp_path):
    cells = cells_of(tiny_model_folder("gpt2"), SPECS[:3], (0, 1), n_items=80)
    together = ends(LocalExecutor(tmp_path / "packed", "cpu", "packed").train(cells))
    alone = ends(LocalExecutor(tmp_path / "loop", "cpu", "loop").train(cells))
    assert together.keys() == alone.keys()
    assert {event.executor for event in together.values()} == {"packed"}
    assert not list((tmp_path / "packed" / PACKS).glob("*"))
    for key, event in together.items():
        assert sorted(path.name for path in event.folder.iterdir()) == sorted(
            p.name for p in alone[key].folder.iterdir()
        )
        ours, theirs = (read_adapter(one[key].folder / FINAL) for one in (together, alone))
        for site, factors in theirs.items():
            torch.testing.assert_close(ours[site].delta_OI(), factors.delta_OI(), rtol=1e-3, atol=1e-5)
        assert len((event.folder / METRICS).read_text().splitlines()) == 1
    again = ends(LocalExecutor(tmp_path / "packed", "cpu", "packed").train(cells))
    assert all(event.was_cached for event in again.values())


def test_a_stopped_pack_is_replayed_from_its_plan_and_checkpoint(tiny_model_folder, tmp_path, monkeypatch):
    cells = cells_of(tiny_model_folder("gpt2"), SPECS[:3], n_items=80)
    steady = ends(LocalExecutor(tmp_path / "steady", "cpu", "packed").train(cells))

    class StopError(Exception):
        pass

    def stopping(path, trainer, keys, at):
        write_pack_checkpoint(path, trainer, keys, at)
        if at.step == 6:
            raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(packed, "write_pack_checkpoint", stopping)
        with pytest.raises(StopError):
            list(LocalExecutor(tmp_path / "cut", "cpu", "packed", checkpoint_every_s=0.0).train(cells))
    assert len(list((tmp_path / "cut" / PACKS).glob("*/plan.json"))) == 1
    resumed = ends(LocalExecutor(tmp_path / "cut", "cpu", "packed").train([*cells[::-1]]))
    for key, event in steady.items():
        files = ("adapter/adapter_model.safetensors", METRICS)
        assert all((resumed[key].folder / name).read_bytes() == (event.folder / name).read_bytes() for name in files)


def test_only_what_saves_work_is_packed(tiny_model_folder, tmp_path):
    fit = Fit(load_base)
    base = load_base(str(tiny_model_folder("gpt2")))
    last = (LoraSpec(rank=4, placement=("*.1.mlp.c_proj",)),)
    low, high = cells_of(base.name, SPECS[:1] * 3), cells_of(base.name, last * 3)
    gains = [pack_gain(base, read_decoder(base.model), cells, fit.shape(cells[0])) for cells in (low, high)]
    assert 1 < gains[0] < LEAST_GAIN < gains[1]
    dropout = high[0].override(arm=high[0].arm.model_dump() | {"dropout": 0.5})
    jobs = plan_jobs([*low, *high, dropout], fit, tmp_path)
    assert jobs == [*(Job((cell,)) for cell in low), Job(tuple(high)), Job((dropout,))]
    more = cells_of(base.name, last * 7)
    few = plan_jobs(more, fit, tmp_path, most_rows=lambda _: 3)
    assert [len(job.cells) for job in few] == [3, 3, 1]


def test_when_asked_for_cells_of_several_seeds_are_one_pack(tiny_model_folder, tmp_path):
    base = load_base(str(tiny_model_folder("gpt2")))
    cells = cells_of(base.name, SPECS[:2], (0, 1))
    (job,) = plan_jobs(cells, Fit(load_base), tmp_path, always=True)
    assert job.cells == tuple(cells)  # seed by seed, so that rows with the same batches are neighbours
