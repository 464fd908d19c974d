"""What was measured on this machine, kept in a file so that it is not measured again."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from rankscope.base.atomic import write_json

Value = TypeVar("Value")
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)


def remembered(
    path: Path, key: str, measure: Callable[[], Value], to_json: Callable[[Value], Any], of_json: Callable[[Any], Value]
) -> Value:
    """What the file holds under the key, or what `measure` finds, which the file then holds.

    An entry that can not be read is measured again; so is everything on a machine without a place for the file.
    """
    known = _read(path)
    if key in known:
        with suppress(*UNREADABLE):
            return of_json(known[key])
    found = measure()
    with suppress(OSError):
        write_json(path, known | {key: to_json(found)})
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, *UNREADABLE):
        return {}
