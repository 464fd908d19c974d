"""How long the page of a look takes to open in headless Chromium, and how large it is; a made-up look by default.

Every opening starts a browser of its own. Seconds are counted by the page itself, from the start of its navigation
until its explorer can be used, and until everything is loaded.
"""

import argparse
import html
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rankscope.base.atomic import write_json
from rankscope.base.machine import git_state, machine_facts
from rankscope.interpret.look_records import LOOK_FILE, LookRecord, read_look, write_look
from rankscope.report.look_page import write_look_page

HERE = Path(__file__).parent
MAKER = HERE.parent / "tests" / "look_records_maker.py"
MARK = "rankscope-look-ready"
MEASURE = f"""<script>addEventListener("load", () => {{
  const found = {{
    ready_s: performance.getEntriesByName("{MARK}")[0].startTime / 1000,
    loaded_s: performance.now() / 1000,
    n_elements: document.querySelectorAll("*").length,
  }};
  const line = document.createElement("pre");
  line.id = "found";
  line.textContent = JSON.stringify(found);
  document.body.append(line);
}});</script>"""


def main() -> None:
    """Writes size and times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--look", type=Path, help="folder of a look; left out: a made-up one")
    parser.add_argument("--directions", type=int, default=448)
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "look_page.json")
    asked = parser.parse_args()
    record = (
        read_look(asked.look / LOOK_FILE) if asked.look else _made_up(asked.directions, asked.examples, asked.tokens)
    )
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("This benchmark needs Chromium on the path.")
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_look(folder / LOOK_FILE, record)
        text = write_look_page(folder).read_text(encoding="utf-8")
        size_bytes = len(text.encode())
        (folder / "measured.html").write_text(text.replace("</body>", MEASURE + "</body>", 1), encoding="utf-8")
        opened = [_open(browser, folder, turn) for turn in range(asked.repeats)]
    shape = {"n_directions": len(record.directions), "n_examples": sum(len(one.examples) for one in record.directions)}
    times = {name: median(turn[name] for turn in opened) for name in ("ready_s", "loaded_s")}
    facts = {**machine_facts(), "git": git_state(HERE)}
    write_json(asked.out, {"facts": facts, **shape, "size_bytes": size_bytes, **times, "turns": opened})


def _made_up(n: int, n_examples: int, n_tokens: int) -> LookRecord:
    """A look of that size, from the maker that the tests use."""
    spec = importlib.util.spec_from_file_location("look_records_maker", MAKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    record: LookRecord = module.look_record(n, n_examples, n_tokens)
    return record


def _open(browser: str, folder: Path, turn: int) -> dict[str, Any]:
    """What the page tells of its own opening in a fresh browser."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", f"--user-data-dir={folder / f'profile{turn}'}"]
    command += ["--window-size=1280,900", "--dump-dom", (folder / "measured.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
    if found is None:
        raise SystemExit(f"The page never told its times: {done.stderr[-500:]}")
    return dict(json.loads(html.unescape(found[1])))


if __name__ == "__main__":
    main()
