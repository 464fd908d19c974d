"""The text of items: codes are word ids of the shared vocabulary; longer symbols get codes past its end."""

from functools import lru_cache

from rankscope.base.seeds import numpy_stream
from rankscope.base.vocabulary import ID, SYMBOL_IDS, SYMBOLS, WORDS

FIRST_SYMBOL = SYMBOL_IDS[0]
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


@lru_cache
def word_table(n_symbols: int, symbol_length: int) -> tuple[str, ...]:
    """The word of every code. Symbol j has code FIRST_SYMBOL + j, so with two characters a code is a vocabulary id."""
    if symbol_length == 2:
        return WORDS
    rng = numpy_stream("symbols", symbol_length)
    words: dict[str, None] = {}
    while len(words) < n_symbols:
        letters = rng.integers(0, len(_ALPHABET), size=symbol_length)
        words["".join(_ALPHABET[letter] for letter in letters)] = None
    return (*WORDS[:FIRST_SYMBOL], *words)


def is_symbol(code: int) -> bool:
    """Whether a code stands for a symbol."""
    return code >= FIRST_SYMBOL


def layout(codes: list[int], words: tuple[str, ...]) -> tuple[str, list[tuple[int, int]]]:
    """The text of a prompt with map lines, and the character span of each word.

    After `Map:` symbols pair up as `key=>value` lines; every other mark begins a line.
    """
    text, spans, in_map, n_in_map = "", [], False, 0
    for position, code in enumerate(codes):
        word = words[code]
        if in_map and is_symbol(code):
            text += "=>" if n_in_map % 2 else "\n"
            n_in_map += 1
        elif position:
            text += "\n" if code in LINE_STARTS else " "
            in_map = False
        in_map = in_map or code == ID["Map:"]
        spans.append((len(text), len(text) + len(word)))
        text += word
    return text, spans


LINE_STARTS = frozenset(ID[mark] for mark in ("Start:", "Hops:", "Task:", "Target:", "Look:"))
assert len(SYMBOLS) == 128
