"""Writes are whole or absent."""

import errno
from pathlib import Path

import pytest
from safetensors import SafetensorError

from rankscope.base.atomic import atomic_folder, atomic_path, disk_errors, write_json, write_text
from rankscope.base.errors import OutOfSpace


def half_write(path: Path) -> None:
    path.write_text("half")
    raise IndexError


def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "a.txt"
    write_text(target, "old")
    with pytest.raises(IndexError), atomic_path(target) as temporary:
        half_write(temporary)
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_json_is_sorted_and_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": None})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": null,\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert (tmp_path / "a.json").read_text().startswith("{")


def test_a_full_disk_has_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(OutOfSpace, match="free some space"), disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(PermissionError), disk_errors(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_a_disk_full_for_safetensors_is_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OutOfSpace, match="free some space"), disk_errors(tmp_path):
        raise SafetensorError(f"Error while serializing: I/O error: No space left (os error {errno.ENOSPC})")
    for text in ("I/O error: Permission denied (os error 13)", "InvalidHeader"):
        with pytest.raises(SafetensorError, match=text[:9]), disk_errors(tmp_path):
            raise SafetensorError(text)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "adapter"
    with pytest.raises(IndexError), atomic_folder(target) as temporary:
        half_write(temporary / "b.txt")
    assert list(target.parent.iterdir()) == []
    target.mkdir()
    with atomic_folder(target) as temporary:
        (temporary / "a.txt").write_text("whole")
        assert list(target.iterdir()) == []
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["whole"]


def test_a_link_to_an_empty_folder_stays_and_its_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "disk" / "empty").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "empty")
    with atomic_folder(tmp_path / "link") as temporary:
        (temporary / "a.txt").write_text("whole")
    assert (tmp_path / "link").is_symlink()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("a.txt")] == ["disk/empty/a.txt"]
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["empty"]


def test_a_folder_with_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(OSError, match="not empty"), atomic_folder(tmp_path) as temporary:
        (temporary / "a.txt").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert list(tmp_path.parent.glob(".*.tmp")) == []
