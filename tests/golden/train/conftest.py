"""The toy skill in the place of every task."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_training as tiny


@pytest.fixture(scope="session")
def base_folder(tiny_model_folder: Callable[[str], Path]) -> Path:
    """Folder of the tiny base."""
    return tiny_model_folder("gpt2")


@pytest.fixture
def toy_skill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task name stands for the toy skill."""
    monkeypatch.setattr("rankscope.train.materials.load_items", tiny.copy_items)
