"""Checks on output paths, made before any work is done for them."""

import os
from pathlib import Path

from rankscope.base.errors import BadInput


def check_file_target(path: Path) -> None:
    """Raises BadInput when no file can be written to `path`; a device or pipe there is left alone too."""
    if path.is_dir():
        raise BadInput(f"--out {path} is a folder; give the name of a file to write.")
    if path.exists() and not path.is_file():
        raise BadInput(f"--out {path} is no ordinary file, and would be replaced by one; give another name.")
    check_folder_target(path.parent)


def check_folder_target(path: Path) -> None:
    """Raises BadInput when `path` is no folder that can be written to, and none could be made there."""
    standing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not standing.is_dir():
        raise BadInput(f"--out can not lie in {path}: {standing} is a file. Choose another path.")
    if not os.access(standing, os.W_OK | os.X_OK):
        raise BadInput(f"--out can not lie in {path}: {standing} is not writable. Choose another path.")


def check_new_folder(path: Path) -> None:
    """Raises BadInput unless a folder can be made at `path`, or stands there empty."""
    check_folder_target(path)
    if path.is_dir() and any(path.iterdir()):
        raise BadInput(f"--out {path} holds files already, and nothing there is replaced. Give a new or empty folder.")


def check_whole_folder(path: Path) -> None:
    """Raises BadInput unless a folder can appear at `path` in one step, as `atomic_folder` makes it.

    An empty folder there, or one that a link names, is replaced: what it lies in must be writable, and it must be no
    disk of its own.
    """
    path = path.resolve() if path.is_symlink() else path.absolute()
    check_new_folder(path)
    if not path.exists():
        return
    if os.path.ismount(path):
        raise BadInput(f"--out {path} is a disk of its own and can not be replaced. Give a new folder inside it.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise BadInput(f"--out {path} can not be replaced: {path.parent} is not writable. Give a new folder inside it.")
