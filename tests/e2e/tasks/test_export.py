"""Items on disk: as a dataset, and as somebody's own file."""

import json
from pathlib import Path

import pytest

from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.catalog import load_items, load_task
from rankscope.tasks.export import KEYS, export_items
from rankscope.tasks.text import text_items

TASK = "hashchain:mode=trace"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    export_items(load_task(TASK), 120, 0, tmp_path / "chains.jsonl")
    return tmp_path / "chains.jsonl"


def test_lines_hold_every_key_and_roles_index_the_text(exported: Path) -> None:
    rows = [json.loads(line) for line in exported.read_text().splitlines()]
    assert len(rows) == 120
    for row in rows:
        assert tuple(row) == KEYS
        full = f"{row['prompt']} {row['trace']} {row['answer']}"
        assert row["answer"] == row["candidates"][0]
        assert {full[r["start"] : r["end"]] for r in row["roles"] if r["surface"] == "answer"} == {row["answer"]}
        assert all(len(r["tags"]) == len(r["known_from"]) for r in row["roles"])
    assert [row["id"] for row in rows[:2]] == ["train-0", "train-1"]


def test_datasets_reads_it(exported: Path, tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("json", data_files=str(exported), cache_dir=str(tmp_path / "cache"))["train"]
    assert set(loaded.column_names) == set(KEYS)
    assert loaded["prompt"][:120] == [item.prompt for item in text_items(load_task(TASK).items("train", 120, 0))]


def test_the_card_tells_how_to_make_it_again(exported: Path) -> None:
    card = (exported.parent / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "data_files: chains.jsonl" in card
    assert f"rankscope task export {TASK} --n 120 --seed 0 --split train --out chains.jsonl" in card
    assert all(f"`{key}`" in card for key in KEYS)


def test_somebody_elses_readme_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    card = export_items(load_task("hashhop"), 2, 0, tmp_path / "hops.jsonl")
    assert card == tmp_path / "hops.README.md"
    assert (tmp_path / "README.md").read_text() == "mine"
    assert "hashhop" in card.read_text()


def test_an_exported_file_is_a_task_with_the_same_tokens(exported: Path) -> None:
    words = build_word_tokenizer()
    ours = load_items(TASK, "train", 120, 0, words)
    theirs = load_items(str(exported), "train", 60, 0, words)
    for row, line in enumerate(theirs.item_ids_N):
        n = theirs.n_tokens_N[row]
        assert n == ours.n_tokens_N[line]
        assert theirs.tokens_NT[row, :n].tolist() == ours.tokens_NT[line, :n].tolist()
        for name in ("n_prompt_N", "answer_start_N", "answer_end_N"):
            assert getattr(theirs, name)[row] == getattr(ours, name)[line]
        assert (
            theirs.candidates_NCA[row].tolist() == ours.candidates_NCA[line, : theirs.candidates_NCA.shape[1]].tolist()
        )
