"""What a model writes after `Target:` on the paper's items, with and without the ban on repeated pairs."""

from typing import Any

import polars as pl
from torch import nn

from rankscope.evals.generate import generate
from rankscope.evals.ngram_ban import is_allowed
from rankscope.tasks.encode import Tokenizer
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.paper_maps import PaperItem

BAN = 2
"""Size of the n-grams that the paper's decoding never writes twice."""
SCHEMA: dict[str, Any] = {
    "item": pl.Int64,
    "gold": pl.String,
    "text": pl.String,  # what was written after `Target:`
    "ban": pl.Boolean,
}


def generations(
    model: nn.Module, items: list[PaperItem], encoded: EncodedItems, tokenizer: Any, n_symbols: int
) -> pl.DataFrame:
    """A row per item and way of decoding, greedily, as many tokens as its answer can have characters and two more.

    The paper samples at temperature 0.01 and writes 20 tokens, of which it reads the first four characters.
    """
    frames = []
    for ban in (True, False):
        written_NG = generate(
            model,
            encoded,
            n_symbols + 2,
            stop_id=None,
            no_repeat_ngram=BAN if ban else None,
            pad_id=tokenizer.eos_token_id,
        )
        texts = tokenizer.batch_decode(written_NG, skip_special_tokens=True)
        frames.append(
            pl.DataFrame(
                {
                    "item": encoded.item_ids_N,
                    "gold": [item.answer for item in items],
                    "text": texts,
                    "ban": [ban] * len(items),
                },
                schema=SCHEMA,
            )
        )
    return pl.concat(frames)


def allowed_shares(
    items: list[PaperItem], tokenizer: Tokenizer, n_characters: tuple[int, ...]
) -> dict[int, list[bool]]:
    """For each number of characters, whether the ban lets an item's true answer be written that far.

    The answer in the tokenizer's own splitting; a token counts when it holds one of those characters.
    """
    ids = tokenizer([item.full for item in items], add_special_tokens=False)["input_ids"]
    starts = [len(row) for row in tokenizer([item.prompt for item in items], add_special_tokens=False)["input_ids"]]
    found: dict[int, list[bool]] = {n: [] for n in n_characters}
    for row, start, item in zip(ids, starts, items, strict=True):
        for n in n_characters:
            found[n].append(is_allowed(row[: _end(row, start, item, n, tokenizer)], start, BAN))
    return found


def _end(row: list[int], start: int, item: PaperItem, n_characters: int, tokenizer: Any) -> int:
    """Position after the token that holds the answer's n-th character."""
    for end in range(start + 1, len(row) + 1):
        if len(tokenizer.decode(row[start:end]).strip()) >= min(n_characters, len(item.answer)):
            return end
    return len(row)
