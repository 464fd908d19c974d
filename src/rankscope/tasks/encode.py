"""Word items -> token arrays for a given tokenizer."""

import re
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rankscope.base.errors import BadInput
from rankscope.base.vocabulary import ID, WORDS
from rankscope.tasks.encoded import NO_TOKEN, EncodedItems
from rankscope.tasks.text import TextItem, text_items
from rankscope.tasks.word_items import WordItems


@runtime_checkable
class Tokenizer(Protocol):
    """What is needed of a Hugging Face tokenizer."""

    eos_token_id: Any
    pad_token_id: Any

    def __call__(self, text: Any, **options: Any) -> Any:
        """Encodes a text or a list of texts."""
        ...

    def get_vocab(self) -> dict[str, int]:
        """Id of every token."""
        ...


def is_word_level(tokenizer: Tokenizer) -> bool:
    """Whether word codes are this tokenizer's ids."""
    vocabulary = tokenizer.get_vocab()
    return len(vocabulary) == len(WORDS) and all(vocabulary.get(word) == ID[word] for word in WORDS)


def encode(items: WordItems, tokenizer: Tokenizer) -> EncodedItems:
    """Token arrays: codes as they are for the tiny bases' tokenizer, else through the text."""
    if items.words is WORDS and is_word_level(tokenizer):
        return _encode_codes(items)
    if items.objective == "distill":
        return encode_plain(text_items(items), items, tokenizer)
    return encode_text(text_items(items), tokenizer, items.task, items.split, items.item_ids_N, items.groups)


def _encode_codes(items: WordItems) -> EncodedItems:
    return EncodedItems(
        task=items.task,
        split=items.split,
        tokens_NT=items.codes_NT[:, : int(items.n_tokens_N.max())],
        n_prompt_N=items.n_prompt_N,
        n_tokens_N=items.n_tokens_N,
        answer_start_N=items.answer_at_N,
        answer_end_N=items.answer_end_N,
        candidates_NCA=items.candidates_NC[:, :, None] if items.candidates_NC.shape[1] else None,
        item_ids_N=items.item_ids_N,
        groups=items.groups,
        objective=items.objective,
    )


def _ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else []


def check_words(texts: list[str], task: str) -> None:
    """Raises BadInput when a text holds a word that the tiny bases' tokenizer does not have."""
    for text in texts:
        unknown = [word for word in re.split(r"=>|\n| (?!path)", text) if word and word not in ID]
        if unknown:
            raise BadInput(
                f"{task} holds {unknown[0]!r}, which is not among the {len(WORDS)} words of the tiny bases. "
                "Use a base with a tokenizer for any text."
            )


def stop_token(tokenizer: Tokenizer) -> int:
    """The token that ends a completion. BadInput when the tokenizer has no end-of-sequence token."""
    if not isinstance(tokenizer.eos_token_id, int):
        raise BadInput(
            "The base's tokenizer has no end-of-sequence token; set `eos_token` in its tokenizer_config.json."
        )
    return tokenizer.eos_token_id


def encode_text(
    texts: list[TextItem],
    tokenizer: Tokenizer,
    task: str,
    split: str,
    item_ids_N: np.ndarray,
    groups: dict[str, np.ndarray] | None = None,
) -> EncodedItems:
    """Token arrays of texts. Prompt, trace and answer are tokenised apart, so that their borders are exact."""
    stop = stop_token(tokenizer)
    if is_word_level(tokenizer):
        check_words(
            [text for item in texts for text in (item.prompt, item.trace or "", item.answer, *item.candidates)], task
        )
    prompts = _ids(tokenizer, [item.prompt for item in texts])
    traces = _ids(tokenizer, [f" {item.trace}" if item.trace else "" for item in texts])
    answers = _ids(tokenizer, [f" {item.answer}" for item in texts])
    rows = [[*p, *t, *a, stop] for p, t, a in zip(prompts, traces, answers, strict=True)]
    width = max(map(len, rows))
    pad = tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else stop
    n_prompt = np.array([len(p) for p in prompts])
    if (n_prompt == 0).any():
        raise BadInput(f"Item {int(n_prompt.argmin())} of {task} has an empty prompt; every prompt needs some text.")
    start = n_prompt + np.array([len(t) for t in traces])
    return EncodedItems(
        task=task,
        split=split,
        tokens_NT=np.array([row + [pad] * (width - len(row)) for row in rows]),
        n_prompt_N=n_prompt,
        n_tokens_N=np.array([len(row) for row in rows]),
        answer_start_N=start,
        answer_end_N=start + np.array([len(a) for a in answers]),
        candidates_NCA=_candidate_ids(texts, tokenizer),
        item_ids_N=item_ids_N,
        groups=groups or {},
    )


def _candidate_ids(texts: list[TextItem], tokenizer: Tokenizer) -> np.ndarray | None:
    """Candidates' tokens, filled with NO_TOKEN; None unless every item has candidates."""
    if not all(item.candidates for item in texts):
        return None
    rows = [_ids(tokenizer, [f" {candidate}" for candidate in item.candidates]) for item in texts]
    n_candidates = max(map(len, rows))
    n_tokens = max(len(candidate) for row in rows for candidate in row)
    filled = np.full((len(rows), n_candidates, n_tokens), NO_TOKEN)
    for i, row in enumerate(rows):
        for j, candidate in enumerate(row):
            filled[i, j, : len(candidate)] = candidate
    return filled


def encode_plain(texts: list[TextItem], items: WordItems, tokenizer: Tokenizer) -> EncodedItems:
    """Token arrays of plain texts for distillation: everything after the first token is completion."""
    rows = _ids(tokenizer, [item.prompt for item in texts])
    width = max(map(len, rows))
    pad = tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else stop_token(tokenizer)
    n_tokens = np.array([len(row) for row in rows])
    return EncodedItems(
        task=items.task,
        split=items.split,
        tokens_NT=np.array([row + [pad] * (width - len(row)) for row in rows]),
        n_prompt_N=np.ones(len(rows), dtype=np.int64),
        n_tokens_N=n_tokens,
        answer_start_N=n_tokens,
        answer_end_N=n_tokens,
        item_ids_N=items.item_ids_N,
        objective="distill",
    )
