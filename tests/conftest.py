"""Fixtures for all tests: no network, one thread, tiny models made on the spot."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from rankscope.cli.main import main

sys.path.insert(0, str(Path(__file__).parent))

from tiny_models import save_tiny

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests find out of the machine stays out of the user's cache."""
    os.environ["RANKSCOPE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny random base by family (gpt2, llama, qwen2, mistral), made once per session; read only."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = save_tiny(family, tmp_path_factory.mktemp(f"tiny_{family}"))
        return made[family]

    return folder


@pytest.fixture(params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and a GPU where there is one."""
    return torch.device(request.param)


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@pytest.fixture
def rankscope(monkeypatch, capsys) -> Callable[..., Ran]:
    """A function that runs a command in this process, through the `main` that the console script calls.

    It gives what a user would see at 80 columns, not in a terminal.
    """
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["rankscope", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        code = 0 if stop.value.code is None else stop.value.code
        assert isinstance(code, int)
        return Ran(code, printed.out, printed.err)

    return run
