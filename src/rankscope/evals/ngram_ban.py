"""The ban on repeated n-grams of transformers' `no_repeat_ngram_size`: for decoder-only models the prompt counts."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def banned_next(tokens_NT: Int[Tensor, "N T"], n: int, n_words: int) -> Bool[Tensor, "N V"]:
    """For every row, the tokens that would complete an n-gram which the row already holds.

    Source: the rule of transformers' NoRepeatNGramLogitsProcessor; nothing is banned while rows are shorter than n.
    """
    n_rows, length = tokens_NT.shape
    banned_NV = torch.zeros(n_rows, n_words, dtype=torch.bool, device=tokens_NT.device)
    if length < n:
        return banned_NV
    windows_NWn = tokens_NT.unfold(1, n, 1)
    last_Nn = tokens_NT[:, length - n + 1 :]
    repeats_NW = (windows_NWn[:, :, :-1] == last_Nn[:, None, :]).all(-1)
    rows, places = repeats_NW.nonzero(as_tuple=True)
    banned_NV[rows, windows_NWn[rows, places, -1]] = True
    return banned_NV


def is_allowed(tokens: Sequence[int], start: int, n: int) -> bool:
    """Whether the ban lets a text be written as it stands from position `start` on."""
    seen = {tuple(tokens[at : at + n]) for at in range(start - n + 1)}
    for end in range(start, len(tokens)):
        gram = tuple(tokens[max(end - n + 1, 0) : end + 1])
        if gram in seen:
            return False
        seen.add(gram)
    return True
