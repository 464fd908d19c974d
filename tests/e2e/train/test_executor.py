import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import peft
import pytest
import tiny_training as tiny
import torch
from filelock import FileLock

from rankscope.adapters.attach import attached
from rankscope.adapters.dense import read_dense, with_parameters
from rankscope.adapters.planted import teacher_of
from rankscope.adapters.read import read_adapter
from rankscope.base.errors import BadFile, BadInput, UnknownName
from rankscope.lm.bases import load_base
from rankscope.runs.folder import is_finished, read_done
from rankscope.runs.metrics import read_metrics
from rankscope.tasks.catalog import load_items
from rankscope.train import local, work
from rankscope.train.batches import batch_of
from rankscope.train.cell import Cell
from rankscope.train.events import Diverged, Event, Executor, Finished, Progress
from rankscope.train.local import LocalExecutor
from rankscope.train.loss import completion_logits, distill_loss
from rankscope.train.training import CHECKPOINT, EARLY, FINAL, METRICS, TIMING

pytestmark = pytest.mark.usefixtures("toy_skill")


def train_one(root: Path, cell: Cell) -> list[Event]:
    executor: Executor = LocalExecutor(root, device="cpu")
    return list(executor.train([cell]))


@pytest.mark.parametrize("arm", ["lora", "dropout", "dense", "full"])
def test_a_cell_learns_and_leaves_a_whole_folder(tmp_path: Path, base_folder: Path, arm: str) -> None:
    cell = tiny.copy_cell(base_folder, arm, lr=1e-2)
    *progress, finished = train_one(tmp_path, cell)
    assert isinstance(finished, Finished)
    assert finished.folder == tmp_path / finished.key
    assert [(event.step, event.n_steps) for event in progress if isinstance(event, Progress)] == [
        (10, 30),
        (20, 30),
        (30, 30),
    ]
    rows = read_metrics(finished.folder / METRICS)
    assert rows.columns == ["step", "loss_nats", "lr", "grad_norm"]
    assert rows["loss_nats"].to_list() == [event.loss_nats for event in progress]
    assert rows["loss_nats"][2] < rows["loss_nats"][0] - 0.1
    files = set(read_done(finished.folder))
    folders = {name.split("/")[0] for name in files}
    assert folders == {"cell.json", METRICS, FINAL, EARLY}
    assert json.loads((finished.folder / TIMING).read_text())["n_steps"] == 30
    assert not (finished.folder / CHECKPOINT).exists()
    again = train_one(tmp_path, cell)
    assert again == [Finished(finished.key, cell, finished.folder, finished.executor, was_cached=True)]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # by PEFT
def test_the_saved_adapter_is_the_trained_one_in_peft_and_in_ours(tmp_path: Path, base_folder: Path) -> None:
    finished = train_one(tmp_path, tiny.copy_cell(base_folder, "lora", lr=1e-2))[-1]
    assert isinstance(finished, Finished)
    items = tiny.copy_items("copy", "test", 4, 9, None)
    tokens = torch.from_numpy(items.tokens_NT)
    base = load_base(str(base_folder))
    with torch.no_grad():
        before = base.model(tokens).logits
        with attached(base.model, read_adapter(finished.folder / FINAL)):
            ours = base.model(tokens).logits
        theirs = peft.PeftModel.from_pretrained(base.model, finished.folder / FINAL)(tokens).logits
    assert (ours - before).abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_dense_and_full_weights_come_back(tmp_path: Path, base_folder: Path) -> None:
    for arm, n_tensors in (("dense", 2), ("full", 28)):
        finished = train_one(tmp_path, tiny.copy_cell(base_folder, arm, lr=1e-2))[-1]
        assert isinstance(finished, Finished)
        trained = read_dense(finished.folder / FINAL)
        assert (trained.kind, len(trained.tensors)) == (arm, n_tensors)
        model = load_base(str(base_folder)).model
        assert all(not torch.equal(model.get_parameter(name), value) for name, value in trained.tensors.items())
        with with_parameters(model, trained.tensors):
            assert all(torch.equal(model.get_parameter(name), value) for name, value in trained.tensors.items())


def test_a_planted_skill_is_distilled_from_its_teacher(
    tmp_path: Path, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rankscope.train.materials.load_items", load_items)
    cell = tiny.copy_cell(base_folder, "dense", lr=1e-2).override(task="planted:k=1")
    *progress, finished = train_one(tmp_path, cell)
    assert isinstance(finished, Finished)
    base, student = (load_base(str(base_folder)) for _ in range(2))
    items = load_items(cell.task, "test", 16, 0, base.tokenizer)
    batch = batch_of(items, np.arange(16), torch.device("cpu"))
    teacher = teacher_of(base, cell.task)
    assert teacher is not None
    with attached(base.model, teacher), torch.no_grad():
        teacher_MV = completion_logits(base.model, batch).log_softmax(-1)
        before = distill_loss(student.model, teacher_MV, batch)
        with with_parameters(student.model, read_dense(finished.folder / FINAL).tensors):
            after = distill_loss(student.model, teacher_MV, batch)
    assert progress[0].loss_nats > progress[-1].loss_nats
    assert 0 < after < 0.8 * before


def test_a_diverged_cell_is_done_and_not_tried_again(tmp_path: Path, base_folder: Path) -> None:
    cell = tiny.copy_cell(base_folder, "lora", lr=1e30)
    first, second = (train_one(tmp_path, cell) for _ in range(2))
    diverged = first[-1]
    assert isinstance(diverged, Diverged)
    assert diverged.step < 30
    assert second == [diverged]
    assert is_finished(diverged.folder)
    assert not (diverged.folder / FINAL).exists()


def test_weights_that_stop_being_finite_in_the_last_step_count_as_diverged(
    tmp_path: Path, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.optim.AdamW.step

    def breaking(optimiser: torch.optim.AdamW) -> None:
        step(optimiser)
        if optimiser.param_groups[0]["lr"] < 2e-4:
            optimiser.param_groups[0]["params"][0].data.fill_(torch.inf)

    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)
    diverged = train_one(tmp_path, tiny.copy_cell(base_folder, "lora"))[-1]
    assert isinstance(diverged, Diverged)
    assert diverged.step == 30


def test_a_change_in_a_finished_folder_is_noticed(tmp_path: Path, base_folder: Path) -> None:
    cell = tiny.copy_cell(base_folder, "lora")
    finished = train_one(tmp_path, cell)[-1]
    with open(tmp_path / finished.key / METRICS, "a") as handle:
        handle.write("{}\n")
    with pytest.raises(BadFile, match="has changed since"):
        train_one(tmp_path, cell)


def test_bf16_trains_close_to_fp32(tmp_path: Path, base_folder: Path) -> None:
    cell = tiny.copy_cell(base_folder, "lora")
    losses = [train_one(tmp_path, cell.override(precision=p))[-2].loss_nats for p in ("fp32", "bf16")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.slow
def test_a_second_process_waits_for_the_first(tmp_path: Path, base_folder: Path) -> None:
    cell = tiny.copy_cell(base_folder, "lora")
    other = run(base_folder, tmp_path, "lora", "--checkpoint-every-s", "99", wait=False)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(f"*/{METRICS}")) and time.monotonic() < deadline:
        time.sleep(0.01)
    events = train_one(tmp_path, cell)
    assert other.wait(60) == 0
    assert len(list(tmp_path.iterdir())) == 1
    assert isinstance(events[-1], Finished)


@pytest.mark.slow
def test_two_workers_give_the_bytes_of_one(tmp_path: Path, base_folder: Path) -> None:
    arms = ["lora", "dense", "full"]
    assert run(base_folder, tmp_path / "two", *arms, "--workers", "2").stdout.count("Finished") == 3
    executor = LocalExecutor(tmp_path / "one", device="cpu")
    for event in executor.train([tiny.copy_cell(base_folder, arm) for arm in arms]):
        if isinstance(event, Finished):
            assert read_done(event.folder) == read_done(tmp_path / "two" / event.key)


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, base_folder: Path) -> None:
    endless = ["--workers", "2", "--n-items", "40000"]
    parent = run(base_folder, tmp_path, "lora", "dense", *endless, wait=False)
    deadline = time.monotonic() + 90
    while len(list(tmp_path.glob(f"*/{METRICS}"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    locks = [FileLock(folder / ".lock") for folder in tmp_path.iterdir()]
    assert len(locks) == 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(10)
    for lock in locks:
        with lock.acquire(timeout=10):
            pass


@pytest.mark.slow
def test_an_error_in_a_worker_is_raised_as_it_was(tmp_path: Path, base_folder: Path) -> None:
    cells = [tiny.copy_cell(base_folder, arm).override(base="no-such-base/..") for arm in ("lora", "dense")]
    with pytest.raises(UnknownName, match="No base 'no-such-base/..'"):
        list(LocalExecutor(tmp_path, device="cpu", workers=2).train(cells))


def test_threads_of_the_caller_are_left_alone(tmp_path: Path, base_folder: Path) -> None:
    before = torch.get_num_threads()
    executor = LocalExecutor(tmp_path, device="cpu", n_threads=before + 1)
    with closing(executor.train([tiny.copy_cell(base_folder, "lora")])) as events:
        assert isinstance(next(events), Progress)
        assert torch.get_num_threads() == before


def test_what_does_not_fit_at_once_is_taken_in_passes_and_resumed_so(
    tmp_path: Path, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = tiny.copy_cell(base_folder, "lora")
    whole = train_one(tmp_path / "whole", cell)[-1]
    with monkeypatch.context() as tight:
        tight.setattr(work.Fit, "need", lambda _self, _cells, n_items: n_items * 2**30)
        tight.setattr(local, "free_bytes", lambda _device: 3 * 2**30)
        executor = LocalExecutor(tmp_path / "cut", device="cpu", checkpoint_every_s=0.0)
        assert [job.micro_batch for job in executor.plan([cell]).jobs] == [2]
        with closing(executor.train([cell])) as events:
            next(events)
            next(events)
    passes = train_one(tmp_path / "cut", cell)[-1]  # there is room again, but it began in passes
    assert isinstance(whole, Finished)
    assert isinstance(passes, Finished)
    assert json.loads((passes.folder / "cell.json").read_text())["micro_batch"] == 2
    ours, theirs = (read_adapter(end.folder / "adapter") for end in (passes, whole))
    for site, factors in theirs.items():
        torch.testing.assert_close(ours[site].delta_OI(), factors.delta_OI(), rtol=1e-3, atol=1e-5)


def test_a_cell_given_twice_is_reported_once(tmp_path: Path, base_folder: Path) -> None:
    cell = tiny.copy_cell(base_folder, "lora")
    events = list(LocalExecutor(tmp_path, device="cpu").train([cell, cell]))
    assert sum(isinstance(event, Finished) for event in events) == 1


def test_what_is_trained_is_not_timed_again(tmp_path: Path, base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = tiny.copy_cell(base_folder, "lora", lr=1e-2)
    train_one(tmp_path, cell)
    timed: list[object] = []
    monkeypatch.setattr(local, "measure_step_seconds", lambda *_, **__: timed.append(1) or 1e-6)
    monkeypatch.setattr(local, "n_cores", lambda: 2)
    executor = LocalExecutor(tmp_path, device="cpu", workers="auto", n_threads="auto")
    assert [type(event) for event in executor.train([cell])] == [Finished]
    assert timed == []
    fresh = tiny.copy_cell(base_folder, "lora", lr=2e-2)
    executor.plan([fresh])
    assert timed == [], "so few steps are over as soon as they have been timed"
    executor.plan([fresh.override(budget=fresh.budget.override(n_epochs=200).model_dump())])
    assert timed == [1]


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for wrong in ({"workers": 0}, {"n_threads": 0}, {"early_frac": 0.0}):
        with pytest.raises(BadInput, match="at least one worker"):
            LocalExecutor(tmp_path, device="cpu", **wrong)


def run(base: Path, root: Path, *arguments: str, wait: bool = True) -> subprocess.Popen[str]:
    """The training script in a process of its own."""
    command = [sys.executable, tiny.__file__, str(base), str(root), *arguments]
    if wait:
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)
