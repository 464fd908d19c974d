"""Building a base: the same bytes each time, after an interruption too."""

import hashlib
import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from rankscope.base.errors import BadFile, BadInput, UnknownName
from rankscope.lm.bases import SHIPPED, load_base
from rankscope.train import base_recipe
from rankscope.train.base_recipe import CHECKPOINT, RECIPES, LookupRecipe, build_base, lookup_accuracy, recipe_of

TINY = LookupRecipe(n_steps=6, batch_size=4, n_lookups=2, lines=(4, 6))


class Interrupted(Exception):
    pass


@pytest.fixture(autouse=True)
def frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_recipe, "CHECKPOINT_EVERY", 2)


def interrupt(step: int, n_steps: int, loss: float) -> None:
    if step == 5:
        raise Interrupted


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A build that was interrupted in its fifth step, after the checkpoint of the fourth."""
    with pytest.raises(Interrupted):
        build_base("tiny-gpt2", tmp_path / "stopped", TINY, interrupt)
    return tmp_path / "stopped"


def test_two_builds_and_a_resumed_one_are_equal_to_the_byte(tmp_path: Path, stopped: Path) -> None:
    accuracies = build_base("tiny-gpt2", tmp_path / "a", TINY)
    build_base("tiny-gpt2", tmp_path / "b", TINY)
    assert [path.name for path in stopped.iterdir()] == [CHECKPOINT]
    steps: list[int] = []
    build_base("tiny-gpt2", stopped, TINY, lambda step, n_steps, loss: steps.append(step))
    assert steps == [5, 6]
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(stopped)
    assert json.loads((stopped / "recipe.json").read_text())["accuracy"] == accuracies
    assert set(accuracies) == {"one_hop_4_lines", "one_hop_6_lines"}
    assert (
        load_base(str(stopped)).model.num_parameters() == AutoModelForCausalLM.from_pretrained(stopped).num_parameters()
    )


def test_a_finished_base_is_not_overwritten(tmp_path: Path) -> None:
    build_base("tiny-gpt2", tmp_path, TINY)
    before = contents(tmp_path)
    with pytest.raises(BadInput, match="finished base"):
        build_base("tiny-gpt2", tmp_path, TINY)
    assert contents(tmp_path) == before


def test_another_recipe_does_not_go_on_from_the_checkpoint(stopped: Path) -> None:
    with pytest.raises(BadInput, match="another recipe"):
        build_base("tiny-gpt2", stopped, TINY.override(seed=1))


def test_a_damaged_checkpoint_is_named(stopped: Path) -> None:
    whole = (stopped / CHECKPOINT).read_bytes()
    (stopped / CHECKPOINT).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match="damaged"):
        build_base("tiny-gpt2", stopped, TINY)


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    for seed in (0, 1):
        build_base("tiny-gpt2", tmp_path / str(seed), TINY.override(seed=seed, n_steps=1))
    one, other = ((tmp_path / seed / "model.safetensors").read_bytes() for seed in "01")
    assert one != other


def test_the_gated_architecture_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    recipe = TINY.override(architecture="tiny-qwen2", batch_size=2)
    with pytest.raises(Interrupted):
        build_base("tiny-qwen2", tmp_path / "stopped", recipe, interrupt)
    for folder in ("stopped", "whole"):
        build_base("tiny-qwen2", tmp_path / folder, recipe)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    assert "Qwen2 architecture" in (tmp_path / "whole" / "README.md").read_text()
    assert load_base(str(tmp_path / "whole")).model.config.model_type == "qwen2"


def test_the_architecture_is_the_recipes(tmp_path: Path) -> None:
    build_base("small-gpt2", tmp_path, TINY.override(architecture="small-gpt2", n_steps=1))
    config = load_base(str(tmp_path)).model.config
    assert (config.n_layer, config.n_embd, config.n_head, config.n_positions) == (6, 256, 8, 128)
    assert "6 layers of\nwidth 256" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_bases_are_those_of_their_recipes_and_know_one_hop(name: str) -> None:
    folder = SHIPPED / name
    found = json.loads((folder / "recipe.json").read_text())
    weights = (folder / "model.safetensors").read_bytes()
    assert found["recipe"] == RECIPES[name].model_dump(mode="json")
    assert found["model.safetensors"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert len(weights) < 20_000_000
    model = load_base(name).model
    assert min(lookup_accuracy(model, lines, n=100) for lines in (4, 14)) >= 0.99


def test_an_unknown_base_has_no_recipe() -> None:
    with pytest.raises(UnknownName, match="tiny-gpt2"):
        recipe_of("tiny-gpt3")
