"""The link check on pages whose broken links are known."""

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "check_links.py"


@pytest.fixture(scope="module")
def check_links():
    spec = importlib.util.spec_from_file_location("check_links", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "src" / "rankscope" / "runs").mkdir(parents=True)
    (tmp_path / "src" / "rankscope" / "runs" / "folder.py").touch()
    (tmp_path / "docs" / "design.md").write_text("# A `big` design\n")
    return tmp_path


GOOD = """[design](docs/design.md) [part](docs/design.md#a-big-design) [web](https://example.org/x) `runs/folder.py`
`src/rankscope/runs` `docs/*.md` `text/html` `A => B/c` `[not](a-link.md)`
```
[in code](nowhere.md)
```
"""


def test_good_pages_pass(check_links, root, capsys):
    (root / "README.md").write_text(GOOD)
    assert check_links.main(root) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "text",
    [
        "[a](docs/gone.md)",
        "![a](gone.png)",
        "`runs/gone.py`",
        "`docs/*.html`",
        "[a](docs/design.md#gone)",
        "[a](#gone)",
    ],
)
def test_broken_ones_are_named_by_line(check_links, root, capsys, text):
    (root / "README.md").write_text(f"fine\n\n{text}\n")
    assert check_links.main(root) == 1
    assert capsys.readouterr().out.startswith("README.md:3: ")
