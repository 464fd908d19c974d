"""A training goes on from its checkpoint, whatever it was doing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_training as tiny
import torch
from torch import nn

from rankscope.base.errors import BadInput
from rankscope.runs.folder import read_done
from rankscope.train.base_recipe import LookupRecipe, build_base
from rankscope.train.cell import OptimiserSpec
from rankscope.train.checkpoint import Progressed, read_checkpoint, write_checkpoint
from rankscope.train.events import Finished
from rankscope.train.local import LocalExecutor
from rankscope.train.training import CHECKPOINT, DIVERGED

Made = tuple[dict[str, nn.Parameter], torch.optim.Optimizer]


def made() -> Made:
    parameters = {name: nn.Parameter(torch.ones(2)) for name in ("early", "late")}
    return parameters, torch.optim.AdamW(parameters.values(), lr=0.1)


def step_(made: Made, *names: str) -> None:
    parameters, optimiser = made
    optimiser.zero_grad()
    sum(parameters[name].square().sum() for name in names).backward()
    optimiser.step()


def test_a_parameter_without_a_gradient_so_far_has_no_moments(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    steady, resumed = made(), made()
    step_(steady, "early")
    write_checkpoint(path, *steady, Progressed(1, [0.5], 2.0))
    assert read_checkpoint(path, *resumed) == Progressed(1, [0.5], 2.0)
    for run in (steady, resumed):
        step_(run, "early", "late")
    for name in ("early", "late"):
        assert torch.equal(steady[0][name], resumed[0][name])
    assert resumed[1].state[resumed[0]["late"]]["step"] == 1


@pytest.mark.usefixtures("toy_skill")
def test_what_a_killed_process_left_is_tidied_up(tmp_path: Path, base_folder: Path) -> None:
    cell = tiny.copy_cell(base_folder, "lora", n_items=8)
    executor = LocalExecutor(tmp_path, device="cpu")
    assert not executor.has_finished(cell)
    folder = tmp_path / executor._trainer._store.of(cell).key
    folder.mkdir()
    (folder / DIVERGED).write_text('{"step": 1}')
    *_, event = executor.train([cell])
    assert isinstance(event, Finished)
    assert executor.has_finished(cell)
    (folder / CHECKPOINT).write_bytes(b"left by a process that died after done.json")
    (again,) = executor.train([cell])
    assert isinstance(again, Finished)
    assert again.was_cached
    assert not (folder / CHECKPOINT).exists()


@pytest.mark.usefixtures("toy_skill")
def test_the_checkpoint_stands_until_the_folder_is_marked(
    tmp_path: Path, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = tiny.copy_cell(base_folder, "lora")
    seen = []

    def watch(folder: Path, **options: object) -> None:
        seen.append((folder / CHECKPOINT).exists())
        original(folder, **options)

    original = _replace(monkeypatch, watch)
    *_, event = LocalExecutor(tmp_path, device="cpu", checkpoint_every_s=0.0).train([cell])
    assert seen == [True]
    assert CHECKPOINT not in read_done(event.folder)
    assert not (event.folder / CHECKPOINT).exists()


def _replace(monkeypatch: pytest.MonkeyPatch, watch: Callable[..., None]) -> Callable[..., None]:
    from rankscope.train import training

    original = training.write_done
    monkeypatch.setattr(training, "write_done", watch)
    return original


@pytest.mark.parametrize("stranger", ["config.json", "model.safetensors"])
def test_a_base_is_not_built_over_somebody_elses_model(tmp_path: Path, stranger: str) -> None:
    (tmp_path / stranger).write_text("{}")
    with pytest.raises(BadInput, match=stranger):
        build_base("tiny-gpt2", tmp_path, LookupRecipe(n_steps=1))
    assert [path.name for path in tmp_path.iterdir()] == [stranger]


@pytest.mark.parametrize("field", ["lr", "weight_decay", "eps", "clip"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_settings_of_the_optimiser_are_finite(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=field):
        OptimiserSpec.model_validate({"lr": 1e-3, field: float(value)})
