"""Roles of words -> roles of a tokenizer's tokens, through the characters that both stand on."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from rankscope.base.errors import NotSupported
from rankscope.base.vocabulary import WORDS
from rankscope.tasks.encode import Tokenizer, is_word_level
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.roles import NEVER, RoleTable
from rankscope.tasks.text import TextItem, with_spans
from rankscope.tasks.word_items import WordItems

NO_WORD = -1


@dataclass(frozen=True)
class WordRoles:
    """Roles of N items by word, each word a stretch of the full text."""

    texts: list[TextItem]
    """The words are their spans."""
    roles: RoleTable
    """Surface and tags by word; after the last word comes the stop token."""
    known_characters_NG: Int[np.ndarray, "N G"]
    """The character from which each tag is known; the length of the text stands for the stop token."""

    def take(self, rows_M: Int[np.ndarray, " M"]) -> "WordRoles":
        """The given rows, in that order."""
        return WordRoles([self.texts[row] for row in rows_M], self.roles.take(rows_M), self.known_characters_NG[rows_M])


def roles_of_items(items: WordItems, encoded: EncodedItems, tokenizer: Tokenizer) -> RoleTable:
    """Roles of generated items, aligned with their tokens."""
    if items.words is WORDS and is_word_level(tokenizer):
        width = encoded.tokens_NT.shape[1]
        roles = items.roles
        return replace(roles, surface_NT=roles.surface_NT[:, :width], tags_NT=roles.tags_NT[:, :width])
    texts = [with_spans(items, row) for row in range(len(items))]
    return spread_roles(WordRoles(texts, items.roles, _known_characters(items, texts)), encoded, tokenizer)


def _known_characters(items: WordItems, texts: list[TextItem]) -> Int[np.ndarray, "N G"]:
    """The character at which the word that determines each tag begins."""
    known_NG = np.full(items.roles.known_from_NG.shape, NEVER)
    for row, text in enumerate(texts):
        begins = np.array([*(span.start for span in text.spans), len(text.full)])
        told = items.roles.known_from_NG[row] < len(begins)
        known_NG[row, told] = begins[items.roles.known_from_NG[row, told]]
    return known_NG


def spread_roles(words: WordRoles, encoded: EncodedItems, tokenizer: Tokenizer) -> RoleTable:
    """Roles by token: each token takes those of the word with which it shares most characters, the first of equals.

    A token on no word (a delimiter, padding) has the first surface and no tag. A tag is known from the first token
    of the word that determines it.
    """
    n, width = encoded.tokens_NT.shape
    surface_NT, tags_NT = np.zeros((n, width), dtype=np.uint8), np.zeros((n, width), dtype=np.uint32)
    known_from_NG = np.zeros(words.known_characters_NG.shape, dtype=np.int64)
    for row, text in enumerate(words.texts):
        span_T2 = token_places(text, tokenizer)
        word_T = _word_of_token(span_T2, np.array([(span.start, span.end) for span in text.spans]))
        if encoded.objective == "answer":
            word_T = np.append(word_T, len(text.spans))
        on_word = np.flatnonzero(word_T != NO_WORD)
        surface_NT[row, on_word] = words.roles.surface_NT[row, word_T[on_word]]
        tags_NT[row, on_word] = words.roles.tags_NT[row, word_T[on_word]]
        known_G = words.known_characters_NG[row]
        first_G = (span_T2[:, 1, None] <= known_G).sum(0)
        known_from_NG[row] = np.where(known_G <= len(text.full), first_G, width)
    return replace(words.roles, surface_NT=surface_NT, tags_NT=tags_NT, known_from_NG=known_from_NG)


def token_places(text: TextItem, tokenizer: Tokenizer) -> Int[np.ndarray, "T 2"]:
    """Characters of the full text on which each token stands, the stop token left out.

    Prompt, trace and answer are tokenised apart, as `encode_text` does.
    Raises: NotSupported for a tokenizer that can not tell characters.
    """
    places: list[tuple[int, int]] = []
    first = 0
    for piece in (text.prompt, f" {text.trace}" if text.trace else "", f" {text.answer}" if text.answer else ""):
        if piece:
            places += [(first + start, first + end) for start, end in _offsets(tokenizer, piece)]
        first += len(piece)
    return np.array(places)


def _offsets(tokenizer: Tokenizer, text: str) -> list[tuple[int, int]]:
    try:
        return list(tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"])
    except NotImplementedError:
        raise NotSupported(
            "Roles of sub-words need a fast tokenizer, which tells the characters of each token. "
            "Save the base with a tokenizer.json."
        ) from None


def _word_of_token(span_T2: np.ndarray, place_W2: np.ndarray) -> Int[np.ndarray, " T"]:
    """The word that shares most characters with each token; NO_WORD where none does."""
    if not len(place_W2):
        return np.full(len(span_T2), NO_WORD)
    shared_TW = np.minimum(span_T2[:, None, 1], place_W2[:, 1]) - np.maximum(span_T2[:, None, 0], place_W2[:, 0])
    return np.where(shared_TW.max(1) > 0, shared_TW.argmax(1), NO_WORD)
