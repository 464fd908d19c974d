"""Batched greedy generation with a key-value cache, and the answer after a model's own trace."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from rankscope.base.errors import BadInput
from rankscope.engine.variants import Variants
from rankscope.evals.completion_pass import accepts, check_completions, model_device
from rankscope.evals.ngram_ban import banned_next
from rankscope.tasks.encoded import NO_TOKEN, EncodedItems


def stop_token(items: EncodedItems) -> int:
    """The token that ends every completion; BadInput when the items end in different ones."""
    stops_N = items.tokens_NT[np.arange(len(items)), items.n_tokens_N - 1]
    if len(np.unique(stops_N)) != 1:
        raise BadInput(f"The items of {items.task} should all end in one stop token, but end in {np.unique(stops_N)}.")
    return int(stops_N[0])


def default_max_new_tokens(items: EncodedItems) -> int:
    """Half again the longest gold completion, so that a trace may be longer than it should be and still end."""
    longest = int((items.n_tokens_N - items.n_prompt_N).max())
    return longest + (longest + 1) // 2


def generate(
    model: nn.Module,
    items: EncodedItems,
    max_new_tokens: int | None = None,
    batch_size: int = 256,
    *,
    stop_id: int | None,
    pad_id: int = NO_TOKEN,
    no_repeat_ngram: int | None = None,
) -> Int[np.ndarray, "N G"]:
    """Greedy continuations of the prompts, the stop token included and pad_id after it.

    A batch holds prompts of one length only, so nothing is padded; finished rows leave the batch. A stop_id of
    None never stops. Generation also ends where the model's context does. With `no_repeat_ngram` no n-gram of that
    size is written twice, the prompt's own included.
    """
    return _generate(model, 1, items, max_new_tokens, batch_size, stop_id, pad_id, no_repeat_ngram)[0]


def generate_variants(
    variants: Variants,
    items: EncodedItems,
    max_new_tokens: int | None = None,
    batch_size: int = 256,
    *,
    stop_id: int | None,
    pad_id: int = NO_TOKEN,
) -> Int[np.ndarray, "K N G"]:
    """`generate` of several adapters at once; an item leaves the batch when every adapter has finished it."""
    n_rows = variants.n_rows
    return _generate(variants.model, n_rows, items, max_new_tokens, max(1, batch_size // n_rows), stop_id, pad_id)


def _generate(
    model: nn.Module,
    n_rows: int,
    items: EncodedItems,
    max_new_tokens: int | None,
    batch_size: int,
    stop_id: int | None,
    pad_id: int,
    no_repeat_ngram: int | None = None,
) -> Int[np.ndarray, "K N G"]:
    check_completions(items)
    limit = default_max_new_tokens(items) if max_new_tokens is None else max_new_tokens
    generated_KNG = np.full((n_rows, len(items), limit), pad_id, dtype=np.int64)
    for rows_M in _batches_of_one_length(items.n_prompt_N, batch_size):
        n_prompt = int(items.n_prompt_N[rows_M[0]])
        prompts_MT = torch.from_numpy(items.tokens_NT[rows_M, :n_prompt].astype(np.int64)).to(model_device(model))
        n_new = min(limit, _n_positions(model) - n_prompt)
        continued = _continue_greedily(model, prompts_MT, n_new, stop_id, pad_id, no_repeat_ngram)
        generated_KNG[:, rows_M, : max(n_new, 0)] = continued
    return generated_KNG


def _batches_of_one_length(length_N: Int[np.ndarray, " N"], batch_size: int) -> Iterator[Int[np.ndarray, " M"]]:
    for length in np.unique(length_N):
        rows = np.nonzero(length_N == length)[0]
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]


def _n_positions(model: nn.Module) -> int:
    config = getattr(model, "config", None)
    longest = None if config is None else getattr(config.get_text_config(), "max_position_embeddings", None)
    return longest or 2**31


@torch.no_grad()
def _continue_greedily(
    model: nn.Module,
    prompts_MT: Int[Tensor, "M T"],
    n_new: int,
    stop_id: int | None,
    pad_id: int,
    no_repeat_ngram: int | None = None,
) -> Int[np.ndarray, "*K M G"]:
    """n_new greedy tokens per prompt, for every adapter in the model. Without a cache, sequences are read again."""
    options = {"logits_to_keep": 1} if accepts(model, "logits_to_keep") else {}
    columns: list[Tensor] = []
    live_L = torch.arange(len(prompts_MT), device=prompts_MT.device)
    read_LT, cache, so_far_LT = prompts_MT, None, prompts_MT
    ended_L = torch.zeros(len(prompts_MT), dtype=torch.bool, device=prompts_MT.device)
    for _ in range(n_new):
        output = model(input_ids=read_LT, past_key_values=cache, use_cache=True, **options)
        logits_LV = output.logits[..., -1, :].float()
        if no_repeat_ngram is not None:
            banned_LV = banned_next(so_far_LT, no_repeat_ngram, logits_LV.shape[-1])
            logits_LV = logits_LV.masked_fill(banned_LV, -torch.inf)
        next_L = logits_LV.argmax(-1)
        column_M = next_L.new_full((*next_L.shape[:-1], len(prompts_MT)), pad_id)
        column_M[..., live_L] = next_L.masked_fill(ended_L, pad_id)
        columns.append(column_M)
        ended_L = ended_L | (next_L == stop_id) if stop_id is not None else ended_L
        going_L = ~ended_L.view(-1, len(live_L)).all(0)
        if not going_L.any():
            break
        cache = output.past_key_values
        if cache is not None and not going_L.all():
            cache.batch_select_indices(going_L.nonzero()[:, 0])
        read_LT = next_L[..., None] if cache is not None else torch.cat([read_LT, next_L[..., None]], dim=-1)
        if no_repeat_ngram is not None:
            so_far_LT = torch.cat([so_far_LT, next_L[:, None]], dim=1)[going_L]
        live_L, read_LT, ended_L = live_L[going_L], read_LT[..., going_L, :], ended_L[..., going_L]
    out_MG = torch.stack(columns, -1) if columns else torch.empty(len(prompts_MT), 0)
    return torch.nn.functional.pad(out_MG, (0, max(n_new, 0) - len(columns)), value=pad_id).cpu().numpy()


def reproduces_gold(model: nn.Module, items: EncodedItems, batch_size: int = 256) -> Bool[np.ndarray, " N"]:
    """Whether greedy generation gives exactly trace + answer + stop, decided by really generating."""
    longest = int((items.n_tokens_N - items.n_prompt_N).max())
    return _is_gold(generate(model, items, longest, batch_size, stop_id=None), items)


def variants_reproduce_gold(variants: Variants, items: EncodedItems, batch_size: int = 256) -> Bool[np.ndarray, "K N"]:
    """`reproduces_gold` of several adapters at once."""
    longest = int((items.n_tokens_N - items.n_prompt_N).max())
    return _is_gold(generate_variants(variants, items, longest, batch_size, stop_id=None), items)


def _is_gold(generated_NG: Int[np.ndarray, "*K N G"], items: EncodedItems) -> Bool[np.ndarray, "*K N"]:
    """Whether each generation begins with its item's whole completion."""
    n_completion_N = items.n_tokens_N - items.n_prompt_N
    at_G = np.arange(generated_NG.shape[-1])
    gold_at_NG = np.minimum(items.n_prompt_N[:, None] + at_G, items.tokens_NT.shape[1] - 1)
    gold_NG = np.take_along_axis(items.tokens_NT, gold_at_NG, axis=1)
    return np.asarray(((generated_NG == gold_NG) | (at_G >= n_completion_N[:, None])).all(-1))


def answer_correct(generated_NG: Int[np.ndarray, "N G"], items: EncodedItems) -> Bool[np.ndarray, " N"]:
    """Whether each generated completion ends in the gold answer and the stop token.

    Without a trace the completion must be the answer and nothing else. With one, the tokens before the stop are
    compared; where all traces end in the same token (the answer's mark, such as `answer`), it must stand before
    the answer, so that a longer answer with the same ending is wrong.
    """
    is_marked = _answer_mark(items) is not None
    return np.array(
        [_ends_in_answer(generated_NG[row], items, row, is_marked) for row in range(len(items))], dtype=bool
    )


def _answer_mark(items: EncodedItems) -> int | None:
    """The token in which all traces end, right before the answer; None where they differ or there are none."""
    marks_N = np.where(
        items.answer_start_N > items.n_prompt_N,
        items.tokens_NT[np.arange(len(items)), items.answer_start_N - 1],
        NO_TOKEN,
    )
    is_marked = len(np.unique(marks_N)) == 1 and int(marks_N[0]) != NO_TOKEN
    return int(marks_N[0]) if is_marked else None


def answer_starts(generated_NG: Int[np.ndarray, "N G"], items: EncodedItems) -> Int[np.ndarray, " N"]:
    """Where in each generated completion the trace ends and the final answer begins, as `answer_correct` sees it.

    Without a gold trace that is at once. Else after the last answer's mark before the stop; a text without the mark is
    all trace; where traces share no mark, the answer is as many tokens before the stop as the gold one has.
    """
    mark = _answer_mark(items)
    stop_N = items.tokens_NT[np.arange(len(items)), items.n_tokens_N - 1]
    starts_N = np.zeros(len(items), dtype=np.int64)
    for row in np.flatnonzero(items.answer_start_N > items.n_prompt_N):
        ends = np.flatnonzero((generated_NG[row] == stop_N[row]) | (generated_NG[row] == NO_TOKEN))
        n_written = int(ends[0]) if len(ends) else generated_NG.shape[1]
        if mark is None:
            starts_N[row] = max(0, n_written - int(items.answer_end_N[row] - items.answer_start_N[row]))
        else:
            marks = np.flatnonzero(generated_NG[row, :n_written] == mark)
            starts_N[row] = int(marks[-1]) + 1 if len(marks) else n_written
    return starts_N


def _ends_in_answer(generated_G: Int[np.ndarray, " G"], items: EncodedItems, row: int, is_marked: bool) -> bool:
    start, end = int(items.answer_start_N[row]), int(items.answer_end_N[row])
    stops = np.nonzero(generated_G == items.tokens_NT[row, items.n_tokens_N[row] - 1])[0]
    if len(stops) == 0:
        return False
    ended_G = generated_G[: stops[0]]
    has_trace = start > items.n_prompt_N[row]
    wanted = items.tokens_NT[row, start - is_marked : end]
    if not has_trace:
        return np.array_equal(ended_G, wanted)
    return len(ended_G) >= len(wanted) and np.array_equal(ended_G[len(ended_G) - len(wanted) :], wanted)
