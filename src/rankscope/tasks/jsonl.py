"""A user's JSONL file of prompts and answers as a task."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rankscope.base.errors import BadFile, BadInput, UnknownName
from rankscope.base.seeds import numpy_stream
from rankscope.tasks.encode import Tokenizer, encode_text
from rankscope.tasks.encode_roles import spread_roles
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.jsonl_roles import read_spans, span_roles
from rankscope.tasks.roles import RoleTable
from rankscope.tasks.text import TextItem

_SHARE_OF_256 = {"test": range(26), "validation": range(26, 52), "train": range(52, 256)}
"""First byte of the prompt's SHA-256 -> split: about 10 % test, 10 % validation, 80 % train."""


def split_of(prompt: str) -> str:
    """The split that a prompt falls into, whatever else the file holds."""
    byte = _digest(prompt)[0]
    return next(split for split, share in _SHARE_OF_256.items() if byte in share)


def _digest(prompt: str) -> bytes:
    return hashlib.sha256(prompt.encode()).digest()


@dataclass(frozen=True)
class JsonlTask:
    """One JSON object per line: `prompt`, `answer`, perhaps `trace` and `candidates`; `roles` are read when asked for.

    Other keys are left out.
    """

    path: Path

    @property
    def name(self) -> str:
        """The path, as given."""
        return str(self.path)

    @cached_property
    def texts(self) -> list[TextItem]:
        """Every line. Raises BadFile naming the first line that is not an item."""
        items = [_item(_object(line, where), where) for line, where in self._lines()]
        if not items:
            raise BadFile(f"{self.path} holds no items; expected one JSON object per line with prompt and answer.")
        return items

    @cached_property
    def texts_with_roles(self) -> list[TextItem] | None:
        """Every line with its `roles` as spans; None when no line has any. Raises BadFile naming a line's fault."""
        values = [_object(line, where).get("roles") for line, where in self._lines()]
        if not any(values):
            return None
        return [
            replace(text, spans=read_spans(value or [], len(text.full), where))
            for text, value, (_, where) in zip(self.texts, values, self._lines(), strict=True)
        ]

    def _lines(self) -> list[tuple[str, str]]:
        """Every line that is not blank, and where it stands."""
        try:
            lines = self.path.read_text(encoding="utf-8-sig").split("\n")
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownName(f"There is no file {self.path}.") from None
        except (UnicodeDecodeError, IsADirectoryError) as error:
            raise BadFile(f"{self.path} is not a UTF-8 text file ({error}).") from None
        return [(line, f"{self.path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]

    def rows(self, split: str) -> list[int]:
        """Line indices of a split, in file order."""
        return [row for row, item in enumerate(self.texts) if split_of(item.prompt) == split]

    def encoded(self, split: str, n: int, data_seed: int, tokenizer: Tokenizer) -> EncodedItems:
        """As many items of a split: train in an order drawn from the data seed, the others by the hash of the prompt.

        So the first n are a fair draw of the split however the file is sorted, and lines that are added displace few.

        Raises BadInput when the split has fewer than n.
        """
        rows = self.rows(split)
        if n > len(rows):
            raise BadInput(
                f"{self.path} has {len(rows)} {split} items of {len(self.texts)} (splits go by a hash of the prompt: "
                f"80 % train, 10 % validation, 10 % test), but {n} were asked for. Ask for fewer, or add lines."
            )
        if split == "train":
            rows = [rows[i] for i in numpy_stream("jsonl", data_seed).permutation(len(rows))]
        else:
            rows = sorted(rows, key=lambda row: _digest(self.texts[row].prompt))
        chosen = rows[:n]
        return encode_text([self.texts[row] for row in chosen], tokenizer, self.name, split, np.array(chosen))

    def roles(self, encoded: EncodedItems, tokenizer: Tokenizer) -> RoleTable | None:
        """Roles of encoded lines, aligned with their tokens; None when the file has none.

        Surfaces and tags are those of the whole file. Raises BadFile for spans that can not be.
        """
        texts = self.texts_with_roles
        if texts is None:
            return None
        words = span_roles(texts, str(self.path))
        return spread_roles(words.take(encoded.item_ids_N), encoded, tokenizer)


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", None) or str(error)
        raise BadFile(f"{where}: not JSON ({reason}). Expected an object with prompt and answer.") from None
    if not isinstance(value, dict):
        raise BadFile(f"{where}: expected a JSON object with prompt and answer, not {type(value).__name__}.")
    return value


def _item(value: dict[str, Any], where: str) -> TextItem:
    trace, candidates = value.get("trace"), value.get("candidates") or []
    answer = _text(value, "answer", where)
    if trace is not None and not isinstance(trace, str):
        raise BadFile(f"{where}: trace must be text or absent, not {type(trace).__name__}.")
    if not isinstance(candidates, list) or not all(isinstance(text, str) and text for text in candidates):
        raise BadFile(f"{where}: candidates must be a list of texts, none of them empty.")
    _check_characters(trace or "", "trace", where)
    for candidate in candidates:
        _check_characters(candidate, "candidates", where)
    if candidates and answer not in candidates:
        raise BadFile(f"{where}: the answer {answer!r} is not among the candidates.")
    ordered = (answer, *(candidate for candidate in dict.fromkeys(candidates) if candidate != answer))
    return TextItem(_text(value, "prompt", where), answer, trace or None, ordered if candidates else ())


def _text(value: dict[str, Any], key: str, where: str) -> str:
    text = value.get(key)
    if not isinstance(text, str) or not text:
        came = "nothing" if key not in value else repr(text)
        raise BadFile(f"{where}: expected text under {key!r}, came {came}.")
    _check_characters(text, key, where)
    return text


def _check_characters(text: str, key: str, where: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadFile(f"{where}: the text under {key!r} holds half a surrogate pair, which is no character.")
