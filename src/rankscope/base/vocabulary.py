"""The words of the tiny bases, in id order. The list is part of the bases' recipe and never reordered.

Symbols are two characters (letter, digit). `=>`, line breaks and spaces are delimiters, so a map line
is two tokens; `shortest path` is one word.
"""

PAD, STOP = "<pad>", "<stop>"
SYMBOLS = tuple(f"{letter}{digit}" for letter in "abcdefghjkmnpqrs" for digit in "23456789")
MARKS = ("Map:", "Start:", "Hops:", "Task:", "shortest path", "Target:", "Look:", "|", "answer")
NUMBERS = tuple(str(n) for n in range(33))
OPERATORS = ("+", "-", "*", "/", "=", "<", ">", "(", ")", ",", ";", "?")
REASONING = ("wait", "back", "<think>", "</think>", "so", "then", "carry", "sort", "step", "done")
_FIXED = (PAD, STOP, *MARKS, *NUMBERS, *OPERATORS, *REASONING, *SYMBOLS)
SIZE = 256
WORDS = (*_FIXED, *(f"<spare{n}>" for n in range(SIZE - len(_FIXED))))
ID = {word: index for index, word in enumerate(WORDS)}
SYMBOL_IDS = tuple(ID[symbol] for symbol in SYMBOLS)
assert len(ID) == SIZE
assert len(SYMBOLS) == 128
