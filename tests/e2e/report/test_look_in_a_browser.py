"""The explorer of directions as somebody uses it: real keys and clicks, reloads, downloads, both themes, a phone."""

import json
import time

import pytest

from rankscope.interpret.look_records import write_look
from rankscope.report.look_page import write_look_page
from tests.look_records_maker import HOSTILE, look_record

pytestmark = pytest.mark.chromium

SLUG = "L0.mlp.up_proj.0"
CHOSEN = "document.getElementById('chosen').textContent"
VISIBLE = "[...document.querySelectorAll('#rows .slug')].map((one) => one.textContent)"


@pytest.fixture(scope="module")
def record():
    return look_record(18)


@pytest.fixture(scope="module")
def folder(record, tmp_path_factory):
    folder = tmp_path_factory.mktemp("look")
    write_look(folder / "look.json", record)
    write_look_page(folder)
    return folder


@pytest.fixture
def page(tab, folder):
    """The page freshly opened on a desktop, with no labels typed; nothing may be logged or fetched in the meantime."""
    url = (folder / "report.html").as_uri()
    tab.shape(1280, 900)
    tab.go(url)
    tab.run("localStorage.clear()")
    open_at(tab, url)
    yield tab
    assert tab.console == []
    assert {one.split("#")[0] for one in tab.requests if not one.startswith("blob:")} == {url}


def open_at(tab, url):
    tab.go("about:blank")
    tab.console.clear()
    tab.requests.clear()
    tab.go(url)


def by(record, key):
    return [one.slug for one in sorted(record.directions, key=key, reverse=True)]


def choose(page, field, value):
    page.run(
        f"(() => {{ const f = document.getElementById('f-{field}'); f.value = {json.dumps(value)};"
        " f.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def test_keys_lead_through_the_list_into_a_direction_and_back(page, record):
    order = by(record, lambda one: one.sigma)
    assert page.run(VISIBLE) == order
    assert page.run(CHOSEN) == order[0]
    page.press("j", "j", "k")
    assert page.run(CHOSEN) == order[1]
    assert page.run("location.hash") == f"#d={order[1]}"
    page.press("Escape", "/")
    assert page.run("document.activeElement.id") == "f-q"
    page.press("Escape")
    assert page.run("document.activeElement.dataset.slug") == order[1]
    page.press("ArrowDown", "End")
    assert page.run("document.activeElement.dataset.slug") == page.run(CHOSEN) == order[-1]
    page.press("Enter")
    assert page.run("document.activeElement.id") == "chosen"
    page.press("l", "x")
    assert page.run("document.activeElement.value") == "x"
    page.press("Escape", "Home")
    assert page.run(CHOSEN) == order[0]
    page.press("?")
    assert page.run("document.getElementById('help').open") is True
    page.press("Escape")
    assert page.run("document.getElementById('help').open") is False


def test_one_row_of_the_list_is_a_tab_stop(page):
    assert page.run("document.querySelectorAll('#rows a[tabindex=\"0\"]').length") == 1
    page.run("document.getElementById('help-open').focus()")
    page.press("Tab")
    assert page.run("document.activeElement.getAttribute('aria-current')") == "true"


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("kind", "mlp.up_proj", lambda one: one.kind == "mlp.up_proj"),
        ("layer", "1", lambda one: one.layer == 1),
        ("role", "section:trace", lambda one: one.role.role == "section:trace"),
        ("only", "acts", lambda one: one.ablation.significant),
        ("only", "tells", lambda one: one.role.q <= 0.05),
        ("q", "L2.self_attn", lambda one: one.slug.startswith("L2.self_attn")),
    ],
)
def test_a_filter_keeps_what_it_says_and_stands_in_the_address(page, record, field, value, kept):
    choose(page, field, value)
    expected = sorted(one.slug for one in record.directions if kept(one))
    assert 0 < len(expected) < len(record.directions)
    assert sorted(page.run(VISIBLE)) == expected
    page.reload()
    assert sorted(page.run(VISIBLE)) == expected
    page.click("#clear")
    assert len(page.run(VISIBLE)) == len(record.directions)


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("kl", lambda one: one.ablation.kl.estimate),
        ("auroc", lambda one: one.role.auroc),
        ("rms", lambda one: one.rms),
        ("layer", lambda one: -one.layer),
    ],
)
def test_the_list_is_sorted_as_asked(page, record, sort, key):
    choose(page, "sort", sort)
    assert page.run(VISIBLE) == by(record, key)


def test_search_looks_through_examples_and_labels(page, record):
    words = [record.words[word] for word in record.directions[4].examples[0].tokens]
    start = next(at for at in range(len(words)) if all(word.isalnum() for word in words[at : at + 5]))
    text = "".join(words[start : start + 5]).upper()
    page.press("/")
    page.send("Input.insertText", text=text)
    page.settle()
    assert page.run(VISIBLE) == [record.directions[4].slug]
    choose(page, "q", "")
    open_at(page, page.run("location.href").split("#")[0] + f"#d={SLUG}")
    page.press("l")
    page.send("Input.insertText", text="Finds Paths")
    choose(page, "q", "finds paths")
    assert page.run(VISIBLE) == [SLUG]


def test_a_link_opens_its_direction_reload_keeps_it_and_back_returns(page, folder, record):
    url = (folder / "report.html").as_uri()
    open_at(page, f"{url}#d={SLUG}")
    assert page.run(CHOSEN) == SLUG
    assert page.run("document.querySelector('#rows a[aria-current]').dataset.slug") == SLUG
    assert page.run("Math.abs(document.getElementById('explorer').getBoundingClientRect().top) < 40") is True
    other = next(one.slug for one in record.directions if one.slug != SLUG)
    page.click(f'#rows a[data-slug="{other}"]')
    assert page.run(CHOSEN) == other
    page.reload()
    assert page.run(CHOSEN) == other
    page.run(
        "new Promise((done) => { addEventListener('hashchange', () => done(true), {once: true}); history.back(); })"
    )
    page.settle()
    assert page.run(CHOSEN) == SLUG
    open_at(page, f"{url}#d=L9.nothing.0")
    assert "there is none called L9.nothing.0" in page.run("document.getElementById('count').textContent")


def test_a_cell_of_the_heat_map_opens_its_direction(page):
    page.click(f'#where svg a[href="#d={SLUG}"]')
    assert page.run(CHOSEN) == SLUG


def test_tokens_are_shaded_by_signed_value_and_the_marked_one_is_told(page, folder, record):
    direction = next(one for one in record.directions if not one.is_subspace)
    open_at(page, (folder / "report.html").as_uri() + f"#d={direction.slug}")
    example = direction.examples[0]
    top = max(abs(value) for one in direction.examples for value in one.values)
    seen = page.run(
        "[...document.querySelector('.tokens').children].map((t) => [t.textContent, t.className, "
        "parseFloat(t.style.getPropertyValue('--w') || 0), getComputedStyle(t).backgroundColor])"
    )
    assert len(seen) == len(example.tokens)
    for (_, names, weight, colour), value in zip(seen, example.values, strict=True):
        side = {"up", "down"} & set(names.split())
        assert side == (set() if abs(value) / top < 0.02 else {"up"} if value > 0 else {"down"})
        assert weight == pytest.approx(62 * abs(value) / top if side else 0, rel=0.01, abs=0.06)
        assert (colour == "rgba(0, 0, 0, 0)") is not bool(side)
    marked = example.position - example.start
    assert [i for i, (_, names, *_) in enumerate(seen) if "marked" in names.split()] == [marked]
    told = page.run("document.querySelector('.readout').textContent")
    assert f"item {example.item}, token {example.position}" in told
    assert f"+{example.value:.3g}" in told
    page.run("document.querySelector('.tokens').focus()")
    page.press("ArrowLeft" if marked else "ArrowRight")
    beside = marked - 1 if marked else 1
    assert f"token {example.start + beside} " in page.run("document.querySelector('.readout').textContent")
    subspace = next(one for one in record.directions if one.is_subspace)
    open_at(page, (folder / "report.html").as_uri() + f"#d={subspace.slug}")
    assert page.run("['up', 'down'].map((side) => document.querySelectorAll('.t.' + side).length > 0)") == [True, False]


def test_underlines_stand_below_exactly_the_tokens_with_the_role(page, folder, record):
    direction = next(one for one in record.directions if one.role.role.startswith("tag:"))
    tag = record.tag_names.index(direction.role.role.removeprefix("tag:"))
    open_at(page, (folder / "report.html").as_uri() + f"#d={direction.slug}")
    lined = "[...document.querySelector('.tokens').children].map((t) => t.style.borderBottom !== '')"
    assert page.run(lined) == [bool(bits >> tag & 1) for bits in direction.examples[0].tags]
    page.run(
        "(() => { const o = document.getElementById('overlay'); o.value = 'sections';"
        " o.dispatchEvent(new Event('change')); })()"
    )
    assert all(page.run(lined))
    legend = page.run("[...document.querySelectorAll('[aria-label=\"Underlines\"] li')].map((one) => one.textContent)")
    assert set(legend) <= set(record.section_names)
    page.press("j")
    assert page.run("document.getElementById('overlay').value") == "sections"


def test_a_label_stays_is_saved_and_survives_the_next_page(page, folder, record, tmp_path):
    url = (folder / "report.html").as_uri()
    open_at(page, f"{url}#d={SLUG}")
    page.press("l")
    page.send("Input.insertText", text=HOSTILE[1])
    page.reload()
    assert page.run("document.getElementById('label').value") == HOSTILE[1]
    assert page.run(f"document.querySelector('a[data-slug=\"{SLUG}\"] .called').textContent") == HOSTILE[1]
    assert "kept by this browser only" in page.run("document.getElementById('label-note').textContent")
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.click("#save")
    until = time.monotonic() + 30
    while not (tmp_path / "labels.json").exists() and time.monotonic() < until:
        time.sleep(0.05)
    saved = json.loads((tmp_path / "labels.json").read_text(encoding="utf-8"))
    assert saved == {"adapter_hash": record.adapter_hash, "labels": {SLUG: HOSTILE[1]}}
    (tmp_path / "look.json").write_bytes((folder / "look.json").read_bytes())
    again = write_look_page(tmp_path).as_uri()
    open_at(page, f"{again}#d={SLUG}")
    assert page.run("document.getElementById('label').value") == HOSTILE[1]
    page.run("localStorage.clear()")
    page.reload()
    assert page.run("document.getElementById('label').value") == HOSTILE[1]
    assert "browser" not in page.run("document.getElementById('label-note').textContent")
    open_at(page, url)


def test_texts_stay_texts(page, record):
    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.run("document.scripts.length") == 3
    for _ in record.directions:
        page.press("j")
    assert page.run("document.querySelectorAll('img, #explorer script').length") == 0
    tokens = {
        HOSTILE[0], HOSTILE[1], "⟨202E⟩abc", "⟨2028⟩⟨2029⟩", "↵", "␣", "⟨0000⟩",
    }  # fmt: skip
    seen = set()
    for _ in record.directions:  # back from the last one
        seen |= set(page.run("[...document.querySelectorAll('.t')].map((one) => one.textContent)"))
        page.press("k")
    assert tokens <= seen


@pytest.mark.parametrize("roles", [True, False], ids=["roles", "no roles"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_nothing_sticks_out_is_logged_or_fetched(tab, tmp_path, roles, dark, width):
    write_look(tmp_path / "look.json", look_record(12, roles=roles))
    url = write_look_page(tmp_path).as_uri()
    tab.shape(width, 800, dark)
    open_at(tab, url)
    for slug in ("L0.self_attn.q_proj.0", "L0.mlp.up_proj.0"):
        tab.run(f"location.hash = 'd={slug}'")
        tab.settle()
        tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        tab.settle()
        assert tab.run(CHOSEN) == slug
        assert tab.run("document.documentElement.scrollWidth - innerWidth") <= 0
    paper = tab.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 27)" if dark else "rgb(252, 252, 250)")
    assert tab.run("document.getElementById('f-role').closest('label').hidden") is not roles
    assert tab.run("document.querySelectorAll('.up').length") > 10
    assert tab.console == []
    assert {one.split("#")[0] for one in tab.requests} == {url}


def test_taking_a_direction_away_shows_what_changed_in_the_text(page, folder):
    open_at(page, (folder / "report.html").as_uri() + "#d=L0.self_attn.q_proj.0")
    assert page.run("[...document.querySelectorAll('.causal h5')].map((one) => one.textContent)") == [
        "Switched off",
        "Scaled by 2.00",
        "Steered: −3 at every token",
    ]
    was, now = page.run("['del', 'ins'].map((name) => document.querySelector('.texts ' + name).textContent)")
    assert (was, now) == ("m0 answer m0", "a1 answer a1")
