import json
import re

import pytest

from rankscope.base.errors import BadFile
from rankscope.interpret.labels import write_labels
from rankscope.interpret.look_records import write_look
from rankscope.report.look_data import embedded
from rankscope.report.look_page import render_look, write_look_page
from tests.look_records_maker import HOSTILE, KINDS, look_record

LABELS = {"L0.mlp.up_proj.0": HOSTILE[1], "L99.gone.0": "kept"}


@pytest.fixture(scope="module")
def record():
    return look_record()


@pytest.fixture(scope="module")
def page(record):
    return render_look(record, LABELS)


def lines_of(page):
    """What the explorer reads: the list, then every direction."""
    (text,) = re.findall(r'<script type="application/json" id="look-data">(.*?)</script>', page, re.DOTALL)
    return [json.loads(line) for line in text.split("\n")]


def test_sections_stand_in_order(page):
    assert re.findall(r'<section id="(\w+)"', page) == ["answer", "where", "directions", "reproduce"]


def test_no_text_becomes_markup_and_nothing_is_fetched(page):
    assert page.count("<script") == page.count("</script>") == 3
    assert "<img" not in page
    assert "<!--" not in page
    assert "\u2028" not in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|url\(|@import", page)
    assert "default-src 'none'" in page


def test_embedded_texts_come_back_as_they_were():
    texts = [*HOSTILE, "".join(HOSTILE)]
    text = embedded(texts)
    assert json.loads(text) == texts
    assert text.isascii()
    assert not set("<>&") & set(text)


def test_the_explorer_gets_every_direction_and_every_label(record, page):
    first, *rest = lines_of(page)
    assert first["labels"] == LABELS
    assert first["words"] == list(record.words)
    assert [row["slug"] for row in first["directions"]] == [one.slug for one in record.directions]
    for direction, shown in zip(record.directions, rest, strict=True):
        assert [one["at"] for one in shown["examples"]] == [one.position for one in direction.examples]
        assert shown["examples"][0]["values"] == pytest.approx(direction.examples[0].values, rel=5e-3)
        told = tuple(tuple(first["standings"][n]) for n in shown["examples"][0]["standings"])
        example = direction.examples[0]
        assert told == tuple(zip(example.sections, example.surfaces, example.tags, strict=True))
        assert shown["norm"] is (len(direction.indices) > 1)


def test_numbers_are_shown_with_floor_random_shift_and_what_tells_the_role_without_the_direction(record, page):
    direction, shown = record.directions[0], lines_of(page)[1]
    facts = {name: text for name, text, _ in shown["facts"]}
    assert facts["Best role"].startswith(direction.role.role)
    assert facts["Without it"] == "AUROC 0.70 by the token itself; 0.50 by its position, by construction"
    (why,) = (why for name, _, why in shown["facts"] if name == "Without it")
    assert "position alone has 0.60" in why
    assert facts["Resolution"] == "KL 1.0e-05"
    assert {"Taken out", "Random shift", "Exact output lost"} <= set(facts)


def test_causal_checks_show_scores_trace_and_answer(page):
    off = lines_of(page)[1]["causal"][0]
    facts = {name: text for name, text, _ in off["facts"]}
    assert off["title"] == "Switched off"
    assert facts["Other trace"] == "37.5 % [25.0, 50.0]"
    assert facts["Other answer"] == "25.0 % [18.8, 31.2]"
    assert {"Exact output", "Its change", "Right answers", "Their change", "Other text"} <= set(facts)


def test_every_cell_of_the_heat_map_leads_to_its_direction(record, page):
    assert set(re.findall(r'<a tabindex="-1" href="#d=([^"]+)"', page)) == {one.slug for one in record.directions}
    twice = tuple(one.override(slug=one.slug[:-1] + "1") for one in record.directions)
    text = render_look(record.override(directions=[one.model_dump() for one in (*record.directions, *twice)]), {})
    assert f'href="#kind={KINDS[0]}&amp;layer=0"' in text


def test_without_roles_the_page_says_what_is_missing():
    text = render_look(look_record(roles=False), {})
    assert "The items have no roles, so no direction has a role score." in text
    first, *rest = lines_of(text)
    assert {row["role"] for row in first["directions"]} == {None}
    assert ["Best role", "not measured", "the answer on top says why"] in rest[0]["facts"]
    assert rest[0]["examples"]


def test_a_bare_record_still_makes_a_page(record):
    bare = record.override(reading=None, populations=(), cards=(), directions=(), answer=(), reproduce={})
    assert "Nothing was taken out of this adapter" in render_look(bare, {})


def test_labels_beside_the_record_are_in_the_page_made_again(tmp_path, record):
    write_look(tmp_path / "look.json", record)
    first = write_look_page(tmp_path)
    assert lines_of(first.read_text(encoding="utf-8"))[0]["labels"] == {}
    write_labels(tmp_path / "labels.json", record.adapter_hash, LABELS)
    again = write_look_page(tmp_path)
    assert again == first == tmp_path / "report.html"
    assert lines_of(again.read_text(encoding="utf-8"))[0]["labels"] == LABELS


def test_labels_of_another_adapter_leave_the_page_as_it_was(tmp_path, record):
    write_look(tmp_path / "look.json", record)
    before = write_look_page(tmp_path).read_bytes()
    write_labels(tmp_path / "labels.json", "c" * 40, LABELS)
    with pytest.raises(BadFile, match="another adapter"):
        write_look_page(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before


@pytest.mark.slow
def test_448_directions_stay_under_30_megabytes():
    page = render_look(look_record(448, n_examples=40, n_tokens=25), {})
    assert len(page.encode()) < 30e6
    assert len(lines_of(page)) == 449
