"""`manifest.json`: what a run folder is, written before anything else and compared on every reopening."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rankscope.base.atomic import write_json
from rankscope.base.errors import BadFile, BadInput
from rankscope.base.machine import git_state, machine_facts

FORMAT = 1
"""Raised whenever a run folder of before can not be continued."""
MANIFEST = "manifest.json"
_PACKAGE = Path(__file__).parents[1]
_ABSENT = object()


def write_manifest(folder: Path, resolved: dict[str, Any], kind: str) -> dict[str, Any]:
    """Writes and gives the manifest of a new run folder. `resolved` is plain JSON, as `plain_json` gives it."""
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "created": timestamp(),
        "resolved": resolved,
        "machine": machine_facts(),
        "git": git_state(_PACKAGE),
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run folder; BadFile when it is missing, malformed or of another version."""
    path = folder / MANIFEST
    manifest = read_json_object(path)
    if manifest.get("format") != FORMAT:
        raise BadFile(
            f"{folder} is a run folder of another version of rankscope: expected format {FORMAT}, "
            f"came {manifest.get('format')!r}. Start in a new folder, or use the version that made this one."
        )
    if not isinstance(manifest.get("kind"), str) or not isinstance(manifest.get("resolved"), dict):
        raise BadFile(
            f"{path} lacks `kind` or `resolved`: it was edited or damaged. Restore it or start in a new folder."
        )
    return manifest


def check_same(folder: Path, manifest: Mapping[str, Any], resolved: dict[str, Any], kind: str) -> None:
    """Raises BadInput, naming the first key that differs, unless a run folder holds just what is asked for."""
    if manifest["kind"] != kind:
        raise BadInput(f"{folder} holds a {manifest['kind']} run; expected a {kind} run. Choose another folder.")
    difference = first_difference(manifest["resolved"], resolved)
    if difference is not None:
        key, stored, came = difference
        raise BadInput(
            f"{folder} was started with other settings: `{key}` is {stored} there, came {came}. "
            "Give the stored value to continue this run, or choose another folder."
        )


def first_difference(stored: Any, came: Any, key: str = "") -> tuple[str, str, str] | None:
    """Dotted key, stored value and new value of the first difference, in key order; None when equal."""
    if isinstance(stored, dict) and isinstance(came, dict):
        pairs = [(name, stored.get(name, _ABSENT), came.get(name, _ABSENT)) for name in sorted(stored | came)]
    elif isinstance(stored, list) and isinstance(came, list) and len(stored) == len(came):
        pairs = [(str(n), *pair) for n, pair in enumerate(zip(stored, came, strict=True))]
    else:
        return None if stored == came else (key, _show(stored), _show(came))
    found = (first_difference(old, new, f"{key}.{name}" if key else name) for name, old, new in pairs)
    return next((difference for difference in found if difference is not None), None)


def plain_json(value: dict[str, Any]) -> dict[str, Any]:
    """A config as it reads back from disk (tuples as lists, keys as text); BadInput when JSON can not hold it."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"A resolved config must be plain finite JSON values ({error}). Dump it in JSON mode, without NaN or inf."
        ) from error
    return plain


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object from disk; BadFile when the file is missing, truncated or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadFile(f"{path} is missing, so {path.parent} is not such a folder. Check the path.") from error
    except ValueError as error:
        raise BadFile(
            f"{path} is truncated or not JSON ({error}). Restore it from a copy, or start in a new folder."
        ) from error
    if not isinstance(value, dict):
        raise BadFile(f"{path} must hold a JSON object, not a {type(value).__name__}. Restore it from a copy.")
    return value


def timestamp() -> str:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _show(value: Any) -> str:
    """A value for a message: JSON, cut to 80 characters, or `absent`."""
    if value is _ABSENT:
        return "absent"
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:77]}..."
