"""Runs commands in this process, through the same `main` that the console script calls."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from rankscope.cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@pytest.fixture
def rankscope(monkeypatch, capsys) -> Callable[..., Ran]:
    """A function that runs a command and gives what a user would see at 80 columns, not in a terminal."""
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
