import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "unit" / "report" / "example_findings.py"


@pytest.fixture(scope="session")
def made_up():
    """The module that makes the example findings."""
    spec = importlib.util.spec_from_file_location("example_findings", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
