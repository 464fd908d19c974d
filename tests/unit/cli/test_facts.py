"""Commands that only print facts."""

import json

from rankscope.cli.console import out, print_facts
from rankscope.cli.show_items import coloured
from rankscope.studies.catalog import STUDIES
from rankscope.tasks.catalog import TASKS
from rankscope.tasks.text import RoleSpan, TextItem


def test_doctor_tells_people_and_machines_the_same(rankscope, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSCOPE_RUNS", str(tmp_path / "not" / "yet"))
    facts = json.loads(rankscope("doctor", "--json").out)
    assert facts["runs"] == str(tmp_path / "not" / "yet")
    assert facts["runs_writable"] is True
    assert facts["device"] in ("cpu", "cuda", "mps")
    assert facts["threads"] >= 1
    assert str(facts["torch"]) in rankscope("doctor").out
    assert not (tmp_path / "not").exists()


def test_task_list_names_every_task(rankscope):
    assert json.loads(rankscope("task", "list", "--json").out) == TASKS
    shown = rankscope("task", "list").out
    assert all(name in shown for name in (*TASKS, "FILE.jsonl"))


def test_base_show_gives_globs_that_cover_every_site(rankscope, tiny_model_folder):
    facts = json.loads(rankscope("base", "show", tiny_model_folder("gpt2"), "--json").out)
    assert {kind["glob"] for kind in facts["kinds"]} == {
        f"transformer.h.*.{name}" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert sum(kind["sites"] for kind in facts["kinds"]) == facts["sites"]


def test_task_export_writes_items_and_their_card(rankscope, tmp_path):
    target = tmp_path / "items.jsonl"
    ran = rankscope("task", "export", "hashchain:mode=trace", "--n", "3", "--seed", "1", "--out", target)
    assert ran.code == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["train-0", "train-1", "train-2"]
    assert all(row["answer"] in row["candidates"] for row in rows)
    assert "hashchain:mode=trace" in (tmp_path / "README.md").read_text()


def test_task_show_prints_the_items_that_export_writes(rankscope, tmp_path):
    task = ("hashhop:mode=trace", "--seed", "3")
    rankscope("task", "export", *task, "--n", "2", "--out", tmp_path / "items.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    shown = rankscope("task", "show", *task, "-n", "2").out
    for row in rows:
        assert f"{row['prompt']} {row['trace']} {row['answer']}\n" in shown
        assert " ".join(row["candidates"]) in " ".join(shown.split())
    assert "roles: mark, key, value, query, number, step" in shown


def test_task_show_reads_a_file(rankscope, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "1 + [1] =", "answer": "2", "candidates": ["2", "3"]}\n')
    assert "1 + [1] = 2\n" in rankscope("task", "show", file).out


def test_a_terminal_gets_each_role_in_its_colour():
    item = TextItem(
        "q7=>m0", "m0", None, (), (RoleSpan(0, 2, "key", ("on_path",), (0,)), RoleSpan(7, 9, "answer", (), ()))
    )
    styles = [(item.full[span.start : span.end], str(span.style)) for span in coloured(item).spans]
    assert styles == [("q7", "cyan"), ("q7", "underline"), ("m0", "bold red")]


def test_studies_lists_every_form(rankscope):
    listed = json.loads(rankscope("studies", "--json").out)
    assert {name: tuple(study["forms"]) for name, study in listed.items()} == {
        name: entry.forms for name, entry in STUDIES.items()
    }
    shown = rankscope("studies").out
    assert all(word in shown for name, entry in STUDIES.items() for word in (name, *entry.forms))


def test_brackets_in_what_users_name_are_no_markup(capsys):
    print_facts({"runs": "/data/[bold]/[/]x"}, out())
    assert capsys.readouterr().out.split() == ["runs", "/data/[bold]/[/]x"]
