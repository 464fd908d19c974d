"""The page in a real browser: nothing sticks out, nothing is fetched, nothing fails, in both themes and on a phone."""

import html
import json
import re
import subprocess

import pytest

from rankscope.report.page import render

pytestmark = pytest.mark.chromium

WATCH = """<script>
window.troubles = [];
addEventListener("error", (event) => window.troubles.push("error: " + event.message));
addEventListener("securitypolicyviolation", (event) => window.troubles.push("refused: " + event.blockedURI));
</script>"""
MEASURE = """<script>
addEventListener("load", () => {
  const root = document.documentElement;
  document.querySelectorAll("details").forEach((element) => { element.open = true; });
  let copied = "";
  navigator.clipboard.writeText = async (text) => { copied = text; };
  document.querySelector('[data-table="copy"]').click();
  const found = {
    width: innerWidth, over: root.scrollWidth - innerWidth, troubles: window.troubles, copied: copied.split("\\n")[0],
    fetched: performance.getEntriesByType("resource").length, dark: matchMedia("(prefers-color-scheme: dark)").matches,
    paper: getComputedStyle(document.body).backgroundColor,
  };
  const line = document.createElement("pre");
  line.id = "found";
  line.textContent = JSON.stringify(found);
  (window.parent === window ? document : window.parent.document).body.append(line);
});
</script>"""


@pytest.fixture(scope="module")
def page(made_up):
    text = render(made_up.example(), made_up.example(8, study="first_look:full", hostile=False))
    return text.replace("<head>", "<head>" + WATCH, 1).replace("</body>", MEASURE + "</body>", 1)


def framed(page, width):
    style = f"border:0;width:{width}px;height:800px"
    return f'<!doctype html><body><iframe style="{style}" srcdoc="{html.escape(page)}"></iframe>'


def look(browser, folder, text, dark):
    (folder / "page.html").write_text(text, encoding="utf-8")
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    command += [f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command += ["--window-size=1280,900", "--enable-logging=stderr", "--dump-dom", (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
    assert found, f"the page never finished loading: {done.stderr[-2000:]}"
    return json.loads(html.unescape(found[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_page_fits_loads_nothing_and_logs_nothing(browser, page, tmp_path, width, dark):
    text = page if width == 1280 else framed(page, width)
    found, console = look(browser, tmp_path, text, dark)
    assert found["width"] == width
    assert found["over"] <= 0
    assert found["troubles"] == []
    assert found["fetched"] == 0
    assert console == []
    assert found["dark"] is dark
    assert found["paper"] == ("rgb(20, 23, 27)" if dark else "rgb(252, 252, 250)")


def test_copy_button_gives_the_table_with_interval_columns(browser, page, tmp_path):
    found, _ = look(browser, tmp_path, page, dark=False)
    names = found["copied"].split("\t")
    assert names[0] == "Skill"
    assert {"stable rank", "stable rank low", "stable rank high"} <= set(names)
