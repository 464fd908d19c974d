"""A user's JSONL file as a task."""

import json
from pathlib import Path

import pytest

from rankscope.base.errors import BadFile, BadInput, UnknownName
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.catalog import load_items
from rankscope.tasks.jsonl import JsonlTask, split_of

WORDS = build_word_tokenizer()


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    return write(tmp_path / "sums.jsonl", *({"prompt": f"{n} + 1 =", "answer": str(n + 1)} for n in range(32)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: expected a JSON object"),
        ({"prompt": "1 ="}, "line 2: expected text under 'answer', came nothing"),
        ({"prompt": "", "answer": "1"}, "line 2: expected text under 'prompt'"),
        ({"prompt": "1 =", "answer": 1}, "line 2: expected text under 'answer', came 1"),
        ({"prompt": "1 =", "answer": "1", "trace": []}, "line 2: trace"),
        ({"prompt": "1 =", "answer": "1", "candidates": "12"}, "line 2: candidates"),
        ({"prompt": "1 =", "answer": "1", "candidates": ["2"]}, "line 2: the answer '1' is not among"),
        ({"prompt": "\ud800", "answer": "1"}, "line 2: .* surrogate"),
        ({"prompt": "1 =", "answer": "1", "trace": "\ud800"}, "line 2: .*'trace' holds half a surrogate"),
        ({"prompt": "1 =", "answer": "1", "candidates": ["1", "\udfff"]}, "line 2: .*'candidates' .* surrogate"),
        ({"prompt": "1 =", "answer": "1", "candidates": ["1", ""]}, "line 2: candidates .* none of them empty"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, line: object, message: str) -> None:
    path = write(tmp_path / "bad.jsonl", {"prompt": "1 =", "answer": "1"}, line)
    with pytest.raises(BadFile, match=message):
        _ = JsonlTask(path).texts


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.jsonl").write_text("\n\n")
    (tmp_path / "c.jsonl").mkdir()
    for name in "abc":
        with pytest.raises(BadFile, match=f"{name}.jsonl"):
            _ = JsonlTask(tmp_path / f"{name}.jsonl").texts
    with pytest.raises(UnknownName, match=r"d\.jsonl"):
        load_items(str(tmp_path / "d.jsonl"), "train", 1, 0, WORDS)


def test_only_line_breaks_end_a_line_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    text = json.dumps({"prompt": "a\u2028b\x85c", "answer": "1"}, ensure_ascii=False)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n\r\n" + text.encode())
    assert [item.prompt for item in JsonlTask(path).texts] == ["a\u2028b\x85c"] * 2


def test_splits_are_disjoint_cover_the_file_and_go_by_the_prompt(sums: Path) -> None:
    task = JsonlTask(sums)
    rows = [task.rows(split) for split in ("train", "validation", "test")]
    assert sorted(row for split in rows for row in split) == list(range(32))
    assert all(split_of(task.texts[row].prompt) == "train" for row in rows[0])
    assert len(rows[0]) > len(rows[1]) + len(rows[2])


def test_train_order_follows_the_data_seed_and_asks_no_more_than_there_is(sums: Path) -> None:
    n = len(JsonlTask(sums).rows("train"))
    zero, one = (load_items(str(sums), "train", n, seed, WORDS) for seed in (0, 1))
    assert sorted(zero.item_ids_N) == sorted(one.item_ids_N)
    assert zero.item_ids_N.tolist() != one.item_ids_N.tolist()
    assert load_items(str(sums), "train", 5, 0, WORDS).item_ids_N.tolist() == zero.item_ids_N[:5].tolist()
    with pytest.raises(BadInput, match=f"has {n} train items of 32 .* but {n + 1} were asked for"):
        load_items(str(sums), "train", n + 1, 0, WORDS)


def test_candidates_begin_with_the_answer_and_are_counted_once(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", {"prompt": "1 + 1 =", "answer": "2", "candidates": ["1", "2", "3", "1"]})
    assert JsonlTask(path).texts[0].candidates == ("2", "1", "3")


def test_words_outside_the_tiny_vocabulary_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "w.jsonl", *({"prompt": f"{n} apples", "answer": "1"} for n in range(20)))
    with pytest.raises(BadInput, match="'apples'"):
        load_items(str(path), "train", 1, 0, WORDS)
