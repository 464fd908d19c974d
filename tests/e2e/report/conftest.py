import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from tests.devtools import Page

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


@pytest.fixture(scope="session")
def browser():
    """Path of a Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None and os.environ.get("RANKSCOPE_REQUIRE_CHROMIUM") == "1":
        pytest.fail("chromium is required (RANKSCOPE_REQUIRE_CHROMIUM=1) but not installed")
    if path is None:
        pytest.skip("chromium is not installed; the page was not looked at in a browser")
    return path


@pytest.fixture(scope="module")
def tab(browser, tmp_path_factory):
    """A tab of a Chromium of its own."""
    page = Page(browser, tmp_path_factory.mktemp("chromium"))
    yield page
    page.close()
