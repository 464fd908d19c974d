"""Records of interpretation from their files."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from rankscope.base.config import Config
from rankscope.base.errors import BadFile

Record = TypeVar("Record", bound=Config)


def read_record(path: Path, kind: type[Record], what: str, command: str) -> Record:
    """The record in a file. Raises BadFile when there is none, which `command` writes, or it is no such record."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadFile(f"There is no {path}. `{command}` writes it.") from None
    except (UnicodeDecodeError, ValidationError) as error:
        raise BadFile(f"{path} is no record of {what} ({str(error).splitlines()[0]}). Make it again.") from None
