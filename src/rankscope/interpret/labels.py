"""Labels: what people call directions. They live in a file of their own, so that looking again never loses them."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from rankscope.base.atomic import write_json
from rankscope.base.config import Config
from rankscope.base.errors import BadFile


class LabelFile(Config):
    """What a labels file holds."""

    adapter_hash: str
    labels: dict[str, str]
    """Slug of a direction -> what somebody calls it."""


def read_labels(path: Path, adapter_hash: str) -> dict[str, str]:
    """Slug -> label, of directions that a record holds and of others.

    Raises: BadFile when there is no such file, it holds no labels, or those of another adapter.
    """
    try:
        found = LabelFile.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise BadFile(f"There is no labels file {path}. The page of a look saves one (`Save labels`).") from None
    except (UnicodeDecodeError, ValidationError) as error:
        told = str(error).splitlines()[0]
        raise BadFile(
            f'{path} holds no labels ({told}). Expected is {{"adapter_hash": ..., "labels": {{"SLUG": "TEXT"}}}}, as '
            "the page of a look saves it."
        ) from None
    if found.adapter_hash != adapter_hash:
        raise BadFile(
            f"{path} labels the directions of another adapter ({found.adapter_hash[:12]}, not {adapter_hash[:12]}). "
            "Labels belong to one adapter: give the file that was saved from its page."
        )
    return found.labels


def merged(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Both, the new ones winning; an empty new one takes the old one away. None is dropped for want of a direction."""
    both = {slug: text.strip() for slug, text in {**old, **new}.items()}
    return {slug: text for slug, text in both.items() if text}


def write_labels(path: Path, adapter_hash: str, labels: Mapping[str, str]) -> None:
    """Writes a labels file atomically."""
    write_json(path, LabelFile(adapter_hash=adapter_hash, labels=dict(labels)).model_dump())
