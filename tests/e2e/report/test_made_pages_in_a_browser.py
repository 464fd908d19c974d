"""Pages that the real commands wrote, in Chromium: nothing is logged or fetched, whole or killed half-way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rankscope as package
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.interpret.ablation_records import ABLATION_FILE
from rankscope.interpret.look_records import LOOK_FILE, read_look

pytestmark = [pytest.mark.chromium, pytest.mark.slow]

TASK = "hashhop:mode=trace,lines=8,chains=2,max_length=4,hops=1"
SHAPES = {
    "model.layers.0.self_attn.q_proj": (16, 16),
    "model.layers.0.mlp.up_proj": (24, 16),
    "model.layers.1.mlp.down_proj": (16, 24),
}
LOOK = """
import sys, time
from rankscope.cli.main import main
from rankscope.studies import look

def waits_to_be_killed(*_):
    print("ready", flush=True)
    time.sleep(600)

look._find_roles = waits_to_be_killed
main()
"""
KEPT = sorted((Path(__file__).parents[3] / "docs" / "results").glob("**/report.html"))
STICKING_OUT = """[...document.querySelectorAll('main p, main li, main dd')]
.filter((one) => one.clientWidth && one.scrollWidth > one.clientWidth + 1).length"""
CHOSEN = "document.getElementById('chosen').textContent"


@pytest.fixture(scope="module")
def asked(tiny_model_folder, tmp_path_factory):
    """An adapter of two directions per site on a tiny base, and items with roles."""
    draw = torch.Generator().manual_seed(0)
    factors = {
        site: Factors(torch.randn(2, n_in, generator=draw), torch.randn(n_out, 2, generator=draw) / 20, 1.0)
        for site, (n_out, n_in) in SHAPES.items()
    }
    folder, base = tmp_path_factory.mktemp("adapter"), tiny_model_folder("qwen2")
    write_adapter(folder, AdapterWeights(factors), str(base))
    return (folder, "--base", base, "--task", TASK, "--items", 60)


def opened(tab, page, width=1280):
    """The page in the browser, with all that it folds away unfolded."""
    tab.shape(width, 900)
    tab.go("about:blank")
    tab.console.clear()
    tab.requests.clear()
    tab.go(page.as_uri())
    tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    tab.settle()
    return tab


def check_quiet(tab, page):
    assert tab.console == []
    assert {one.split("#")[0] for one in tab.requests} == {page.as_uri()}
    assert tab.run("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize("page", KEPT, ids=lambda page: page.parent.name)
@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_that_are_kept(page, width, tab):
    """No line of a box, card or list sticks out of it, as a long name of a task may."""
    opened(tab, page, width)
    assert tab.run(STICKING_OUT) == 0
    check_quiet(tab, page)


def test_the_page_of_ablate_on_a_desktop_and_a_phone(rankscope, asked, tab, tmp_path):
    ran = rankscope("ablate", *asked, "--directions", "--screen", 1, "--out", tmp_path / "found")
    assert ran.code == 0, ran.err
    page = tmp_path / "found" / "report.html"
    for width in (1280, 390):
        opened(tab, page, width)
        text = tab.run("document.body.innerText")
        assert "kept alone" in text
        assert "The screen chose 1 site and left 2 out." in text
        assert tab.run("document.querySelectorAll('#where figure').length") == 2
        check_quiet(tab, page)


def test_the_page_of_a_look_killed_between_parts_and_of_the_one_that_went_on(rankscope, asked, tab, tmp_path):
    folder, command = tmp_path / "look", [str(word) for word in ("look", *asked, "--out", tmp_path / "look")]
    environment = os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", LOOK, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    page, ablations = folder / "report.html", (folder / ABLATION_FILE).read_bytes()
    opened(tab, page)
    assert "still being measured; run the same command to go on" in tab.run("document.body.innerText")
    check_explorer(tab, folder)
    check_quiet(tab, page)
    ran = rankscope(*command)
    assert ran.code == 0, ran.err
    assert (folder / ABLATION_FILE).read_bytes() == ablations
    assert all(one.role is not None for one in read_look(folder / LOOK_FILE).directions)
    opened(tab, page)
    assert "still being measured" not in tab.run("document.body.innerText")
    check_explorer(tab, folder)
    assert tab.run("document.querySelectorAll('.causal h5').length") == 5
    check_quiet(tab, page)


def check_explorer(tab, folder):
    """Every direction can be gone to, and the filter for those that act keeps the significant ones."""
    record = read_look(folder / LOOK_FILE)
    tab.press("Home")
    seen = set()
    for _ in record.directions:
        seen.add(tab.run(CHOSEN))
        tab.press("j")
    assert seen == {one.slug for one in record.directions}
    acting = {one.slug for one in record.directions if one.ablation.significant}
    costly = max(record.directions, key=lambda one: one.ablation.kl.estimate)
    tab.run(
        "(() => { const f = document.getElementById('f-only'); f.value = 'acts';"
        " f.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    assert set(tab.run("[...document.querySelectorAll('#rows .slug')].map((one) => one.textContent)")) == acting
    tab.click("#clear")
    tab.run(f"location.hash = 'd={costly.slug}'")
    tab.settle()
    assert tab.run(CHOSEN) == costly.slug
