"""Tokens of items of given lengths, with what roles they are given."""

import numpy as np

from rankscope.capture.tokens import Tokens


def tokens_like(lengths, items=None, **columns) -> Tokens:
    """Tokens of items of these lengths; names are 0, 1, ... unless given, other columns 0."""
    n_tokens = int(sum(lengths))
    names = np.arange(len(lengths)) if items is None else np.asarray(items)
    zero = np.zeros(n_tokens, dtype=np.uint32)
    given = {
        "token_ids": zero.astype(np.int32),
        "item": np.repeat(names, lengths).astype(np.int32),
        "position": np.concatenate([np.arange(length) for length in lengths]).astype(np.int32),
        "surface": zero.astype(np.uint8),
        "tags": zero,
        "known": zero,
        "section": zero.astype(np.uint8),
    }
    return Tokens(**(given | columns))
