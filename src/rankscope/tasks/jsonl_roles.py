"""Roles in a JSONL file: spans of an item's full text, as `rankscope task export` writes them."""

from typing import Any

import numpy as np
from pydantic import Field, NonNegativeInt, TypeAdapter, ValidationError

from rankscope.base.config import Config
from rankscope.base.errors import BadFile
from rankscope.tasks.encode_roles import WordRoles
from rankscope.tasks.roles import MAX_SURFACES, MAX_TAGS, NEVER, SURFACES, RoleTable
from rankscope.tasks.text import RoleSpan, TextItem

NO_SURFACE, STOP_SURFACE = SURFACES[0], "stop"


class SpanRow(Config):
    """One entry of `roles`."""

    start: NonNegativeInt
    """First character of the full text: prompt, trace and answer joined by spaces."""
    end: NonNegativeInt
    """The character after the last."""
    surface: str = Field(min_length=1)
    tags: tuple[str, ...] = ()
    known_from: tuple[NonNegativeInt, ...] = ()
    """For each tag the character from which it is known; the length of the text stands for its end."""


_ROWS = TypeAdapter(list[SpanRow])


def read_spans(value: Any, n_characters: int, where: str) -> tuple[RoleSpan, ...]:
    """The spans of one line, from its `roles`. Raises BadFile for what is no list of spans within the text."""
    try:
        rows = _ROWS.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadFile(f"{where}: roles can not be read: {first['msg']}{f' at {place}' if place else ''}.") from None
    for row in rows:
        if not row.start < row.end <= n_characters or any(at > n_characters for at in row.known_from):
            raise BadFile(
                f"{where}: the role at {row.start} to {row.end} does not lie within the {n_characters} characters of "
                "prompt, trace and answer joined by spaces."
            )
        if len(row.tags) != len(row.known_from):
            raise BadFile(
                f"{where}: the role at {row.start} to {row.end} has {len(row.tags)} tags but {len(row.known_from)} "
                "places in known_from; each tag needs one."
            )
    return tuple(RoleSpan(row.start, row.end, row.surface, row.tags, row.known_from) for row in rows)


def span_roles(texts: list[TextItem], name: str) -> WordRoles:
    """Roles by span, over the surfaces and tags of all texts in order of first appearance.

    Before the surfaces comes `none`, after them `stop`, which has no text. A tag that an item does not hold is never
    known in it, since the spans do not say from where its absence would be.
    Raises: BadFile for more surfaces or tags than a table holds.
    """
    spans = [span for text in texts for span in text.spans]
    surfaces = tuple(dict.fromkeys([NO_SURFACE, *(span.surface for span in spans), STOP_SURFACE]))
    tags = tuple(dict.fromkeys(tag for span in spans for tag in span.tags))
    for kind, names, most in (("tags", tags, MAX_TAGS), ("surfaces", surfaces, MAX_SURFACES)):
        if len(names) > most:
            raise BadFile(f"{name} uses {len(names)} {kind} in its roles; at most {most} fit. Leave some out.")
    width = max(len(text.spans) for text in texts) + 1
    surface_NT, tags_NT = np.zeros((len(texts), width), np.uint8), np.zeros((len(texts), width), np.uint32)
    known_NG = np.full((len(texts), len(tags)), -1)
    bit_of, number_of = ({name: at for at, name in enumerate(names)} for names in (tags, surfaces))
    for row, text in enumerate(texts):
        surface_NT[row, len(text.spans)] = number_of[STOP_SURFACE]
        for word, span in enumerate(text.spans):
            surface_NT[row, word] = number_of[span.surface]
            for tag, known in zip(span.tags, span.known_from, strict=True):
                tags_NT[row, word] |= np.uint32(1 << bit_of[tag])
                known_NG[row, bit_of[tag]] = max(known_NG[row, bit_of[tag]], known)
    known_NG[known_NG < 0] = NEVER
    roles = RoleTable(surface_NT, tags_NT, np.zeros_like(known_NG), surfaces, tags)
    return WordRoles(texts, roles, known_NG)
