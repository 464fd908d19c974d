"""A run folder's life: made, refused, continued, finished, damaged."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from rankscope.base.errors import BadFile, BadInput, OutOfSpace, RunLocked
from rankscope.runs.folder import RunFolder, is_finished, read_done, verify_finished
from rankscope.runs.manifest import first_difference

CONFIG: dict[str, Any] = {"task": "hashhop", "budget": {"n_items": 8, "ranks": (1, 2)}}


def snapshot(path: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def made(path: Path, finish: bool = False) -> Path:
    """A run folder with one cell file in it."""
    with RunFolder.open(path, CONFIG, "study") as folder:
        (path / "cells").mkdir()
        (path / "cells" / "a.txt").write_bytes(b"abc")
        if finish:
            folder.finish()
    return path


def test_the_manifest_says_what_and_where_without_naming_the_machine(tmp_path: Path) -> None:
    path = made(tmp_path / "run")
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["kind"] == "study"
    assert manifest["resolved"] == {"task": "hashhop", "budget": {"n_items": 8, "ranks": [1, 2]}}
    assert manifest["machine"]["cores"] >= 1
    assert set(manifest) == {"format", "kind", "created", "resolved", "machine", "git"}
    text = json.dumps(manifest)
    assert str(tmp_path) not in text
    assert os.uname().nodename not in text


def test_reopening_with_the_same_settings_keeps_everything(tmp_path: Path) -> None:
    path = made(tmp_path)
    before = snapshot(path)
    with RunFolder.open(path, CONFIG, "study") as folder:
        assert folder.manifest == json.loads(before["manifest.json"])
        assert not folder.finished
    assert snapshot(path) == before


@pytest.mark.parametrize(
    ("came", "names"),
    [
        (CONFIG | {"task": "hashchain"}, ["`task`", '"hashhop"', '"hashchain"']),
        ({"task": "hashhop", "budget": {"n_items": 9, "ranks": [1, 2]}}, ["`budget.n_items`", "8", "9"]),
        ({"task": "hashhop", "budget": {"n_items": 8, "ranks": [1, 4]}}, ["`budget.ranks.1`", "2", "4"]),
        ({"task": "hashhop", "budget": {"n_items": 8, "ranks": [1]}}, ["`budget.ranks`", "[1, 2]", "[1]"]),
        (CONFIG | {"device": "cpu"}, ["`device`", "absent", '"cpu"']),
        ({"task": "hashhop"}, ["`budget`", "absent"]),
    ],
)
def test_other_settings_are_refused_with_the_first_key_that_differs(
    tmp_path: Path, came: dict[str, Any], names: list[str]
) -> None:
    path = made(tmp_path)
    before = snapshot(path)
    with pytest.raises(BadInput) as refused, RunFolder.open(path, came, "study"):
        pass
    assert all(name in str(refused.value) for name in names)
    assert "continue" in str(refused.value)
    assert snapshot(path) == before


def test_first_difference_goes_by_key_and_finds_nothing_in_equals() -> None:
    assert first_difference({"b": 1, "a": [1, {"x": 2}]}, {"a": [1, {"x": 3}], "b": 9}) == ("a.1.x", "2", "3")
    assert first_difference({"a": None}, {}) == ("a", "null", "absent")
    assert first_difference({"a": [1]}, {"a": [1]}) is None


def test_another_kind_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path)
    with (
        pytest.raises(BadInput, match="holds a study run; expected a train run"),
        RunFolder.open(path, CONFIG, "train"),
    ):
        pass


def test_a_config_that_json_can_not_hold_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for value in (float("nan"), float("inf"), object()):
        with pytest.raises(BadInput, match="plain finite JSON"), RunFolder.open(tmp_path / "run", {"lr": value}, "s"):
            pass
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tmp").write_text("years of work")
    before = snapshot(tmp_path)
    with pytest.raises(BadInput, match=r"is not a run folder.*thesis\.tmp"), RunFolder.open(tmp_path, CONFIG, "study"):
        pass
    assert snapshot(tmp_path) == before


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(BadInput, match="can not be a run folder"), RunFolder.open(path, CONFIG, "study"):
            pass


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    before = snapshot(path)
    with (
        pytest.raises(BadFile, match="another version.*expected format 1, came 2"),
        RunFolder.open(path, CONFIG, "study"),
    ):
        pass
    assert snapshot(path) == before


@pytest.mark.parametrize("name", ["manifest.json", "done.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": 1', b"\xff\xfe\x00", b"{}", b'{"format": 1}'])
def test_damaged_marks_are_refused_and_nothing_is_deleted(tmp_path: Path, name: str, content: bytes) -> None:
    path = made(tmp_path, finish=True)
    (path / name).write_bytes(content)
    before = snapshot(path)
    with pytest.raises(BadFile), RunFolder.open(path, CONFIG, "study"):
        pass
    assert snapshot(path) == before


def test_finishing_lists_every_file_but_locks_and_temporaries(tmp_path: Path) -> None:
    path = made(tmp_path)
    (path / "cells" / ".lock").touch()
    (path / "cells" / "notes.tmp").write_bytes(b"")
    with RunFolder.open(path, CONFIG, "study") as folder:
        (path / "cells" / ".b.json.12.tmp").write_bytes(b"half")
        folder.finish()
        assert folder.finished
    files = read_done(path)
    assert set(files) == {"manifest.json", "cells/a.txt", "cells/notes.tmp"}
    # the SHA-256 of "abc" as FIPS 180-2 gives it
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files["cells/a.txt"] == {"sha256": sha256, "size_bytes": 3}
    verify_finished(path)


@pytest.mark.parametrize("damage", ["same size", "longer", "gone"])
def test_verifying_names_the_file_that_changed(tmp_path: Path, damage: str) -> None:
    path = made(tmp_path, finish=True)
    target = path / "cells" / "a.txt"
    target.unlink() if damage == "gone" else target.write_bytes(b"abd" if damage == "same size" else b"abcd")
    with pytest.raises(BadFile, match=r"a\.txt (is missing|has changed)"):
        verify_finished(path)


def test_a_folder_never_finished_can_not_be_verified(tmp_path: Path) -> None:
    path = made(tmp_path)
    assert not is_finished(path)
    with pytest.raises(BadFile, match=r"done\.json is missing"):
        verify_finished(path)


def test_reopen_takes_the_mark_off_and_finish_puts_a_true_one_on(tmp_path: Path) -> None:
    path = made(tmp_path, finish=True)
    with RunFolder.open(path, CONFIG, "study") as folder:
        folder.reopen()
        assert not is_finished(path)
        (path / "cells" / "a.txt").write_bytes(b"changed")
        folder.finish()
    verify_finished(path)


def test_an_error_is_recorded_and_cleared_by_the_next_opening(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunFolder.open(tmp_path, CONFIG, "study"):
        raise ZeroDivisionError("by the loss")
    error = json.loads((tmp_path / "error.json").read_text())
    assert (error["error"], error["message"]) == ("ZeroDivisionError", "by the loss")
    with RunFolder.open(tmp_path, CONFIG, "study"):
        assert not (tmp_path / "error.json").exists()


def test_an_interruption_is_no_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunFolder.open(tmp_path, CONFIG, "study"):
        raise KeyboardInterrupt
    assert not (tmp_path / "error.json").exists()


def test_half_written_files_go_but_not_those_of_a_run_folder_inside(tmp_path: Path) -> None:
    path = made(tmp_path)
    leftovers = [path / ".done.json.7.tmp", path / "cells" / ".x.parquet.8.tmp"]
    inner = path / "cells" / "inner"
    with RunFolder.open(inner, {}, "cell"):
        pass
    kept = [inner / ".weights.9.tmp", path / "mine.tmp"]
    for file in leftovers + kept:
        file.write_bytes(b"half")
    with RunFolder.open(path, CONFIG, "study"):
        assert not any(file.exists() for file in leftovers)
        assert all(file.exists() for file in kept)


def test_a_second_opening_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, CONFIG, "study"):
        with (
            pytest.raises(RunLocked, match=f"in use by process {os.getpid()}"),
            RunFolder.open(tmp_path, CONFIG, "study"),
        ):
            pass
        assert not (tmp_path / "error.json").exists()
    with RunFolder.open(tmp_path, CONFIG, "study"):
        pass


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_while_finishing_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    path = made(tmp_path)
    before = snapshot(path)

    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    def finish_without_room() -> None:
        with RunFolder.open(path, CONFIG, "study") as folder:
            monkeypatch.setattr(os, call, full)
            folder.finish()

    with pytest.raises(OutOfSpace, match=r"done\.json"):
        finish_without_room()
    assert snapshot(path) == before
    monkeypatch.undo()
    with RunFolder.open(path, CONFIG, "study") as folder:
        folder.finish()
    verify_finished(path)
