"""Items as text: what people read, JSONL holds, and other tokenizers encode."""

from collections.abc import Iterator
from dataclasses import dataclass

from rankscope.base.vocabulary import ID, STOP
from rankscope.tasks.word_items import NO_CODE, WordItems
from rankscope.tasks.words import layout


@dataclass(frozen=True)
class RoleSpan:
    """A stretch of an item's full text (prompt, a space, completion) with its roles."""

    start: int
    end: int
    surface: str
    tags: tuple[str, ...]
    known_from: tuple[int, ...]
    """For each tag, the character at which the first token that determines it begins."""


@dataclass(frozen=True)
class TextItem:
    """One item as text; `full` is prompt, a space, trace if any, a space, answer."""

    prompt: str
    answer: str
    trace: str | None
    candidates: tuple[str, ...] = ()
    spans: tuple[RoleSpan, ...] = ()

    @property
    def full(self) -> str:
        """The whole text, which role spans index."""
        return " ".join(part for part in (self.prompt, self.trace, self.answer) if part)


def text_items(items: WordItems) -> list[TextItem]:
    """Every item as text, without role spans."""
    return [_text(items, row) for row in range(len(items))]


def _text(items: WordItems, row: int) -> TextItem:
    """Prompt and completion of one item; a planted item is all prompt."""
    codes = items.codes_NT[row, : items.n_tokens_N[row]].tolist()
    if items.objective == "distill":
        return TextItem(prompt=layout(codes, items.words)[0], answer="", trace=None)
    n_prompt, answer_at, answer_end = (
        int(places[row]) for places in (items.n_prompt_N, items.answer_at_N, items.answer_end_N)
    )
    words = [items.words[code] for code in codes]
    return TextItem(
        prompt=layout(codes[:n_prompt], items.words)[0],
        answer=" ".join(words[answer_at:answer_end]),
        trace=" ".join(words[n_prompt:answer_at]) or None,
        candidates=tuple(items.words[code] for code in items.candidates_NC[row] if code != NO_CODE),
    )


def with_spans(items: WordItems, row: int) -> TextItem:
    """One item as text with the role of every word (the stop token, which has no text, left out)."""
    item = _text(items, row)
    n_tokens = int(items.n_tokens_N[row])
    codes = items.codes_NT[row, :n_tokens].tolist()
    codes = codes[:-1] if codes[-1] == ID[STOP] else codes
    text, places = layout(codes, items.words)
    assert text == item.full, (text, item.full)
    return TextItem(item.prompt, item.answer, item.trace, item.candidates, tuple(_spans(items, row, places)))


def _spans(items: WordItems, row: int, places: list[tuple[int, int]]) -> Iterator[RoleSpan]:
    """Roles of every word; a tag that nothing in the text determines is left out."""
    known = items.roles.known_from_NG[row]
    for token, (start, end) in enumerate(places):
        surface, tags = items.roles.names(row, token)
        known_tags = [(tag, int(known[items.roles.tags.index(tag)])) for tag in tags]
        told = [(tag, places[at][0]) for tag, at in known_tags if at < len(places)]
        yield RoleSpan(start, end, surface, tuple(tag for tag, _ in told), tuple(at for _, at in told))
