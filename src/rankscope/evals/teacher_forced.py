"""Scores from one teacher-forced pass per item, exact for greedy decoding up to numerical ties."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from rankscope.adapters.weights import AdapterWeights
from rankscope.base.errors import BadInput
from rankscope.engine.model import adapted
from rankscope.engine.variants import Variants
from rankscope.evals.completion_pass import (
    CompletionLogits,
    check_completions,
    iter_completion_logits,
    iter_variant_logits,
)
from rankscope.evals.forced_choice import candidate_nats, has_single_tokens, single_token_nats, true_is_likeliest
from rankscope.evals.generate import (
    answer_correct,
    generate_variants,
    reproduces_gold,
    stop_token,
    variants_reproduce_gold,
)
from rankscope.evals.generate import generate as generate_alone
from rankscope.evals.score_table import SCORES
from rankscope.lm.read_decoder import why_not_decodable
from rankscope.tasks.encoded import EncodedItems

NEAR_TIE = 1e-4
"""Margins (in logits) below this size are re-decided by generating: batching alone can flip them."""

VARIANTS_PER_PASS = 8
"""More rows in a pass save little and need more memory."""

Teacher = nn.Module | Tensor
"""A model, or its `completion_log_probs` on the same items."""


@torch.no_grad()
def score_teacher_forced(
    model: nn.Module,
    items: EncodedItems,
    batch_size: int = 256,
    teacher: Teacher | None = None,
    near_tie: float = NEAR_TIE,
) -> pl.DataFrame:
    """One row per item, in the items' order: `item` and the score columns of the score table.

    margin is the smallest gold logit minus best other logit over the completion: above 0 exactly when every gold
    token is the greedy one, which is when greedy decoding gives the gold completion. Items with |margin| below
    near_tie are generated, and exact_output follows the generation. answer_correct is null here.
    Items of objective `distill` get nats = -KL(teacher || model), the mean over completion positions; the rest is null.
    Raises: BadInput when a logit is not finite, or the objective and the teacher do not fit together.
    """
    check_objective(items, teacher)
    if teacher is None:
        single = has_single_tokens(items)
        parts = [batch_scores(batch, items, single) for batch in iter_completion_logits(model, items, batch_size)]
    else:
        parts = [distill_scores(batch, items, teacher) for batch in iter_completion_logits(model, items, batch_size)]
    scores = gathered(items, parts)
    if items.objective == "answer":
        made = partial(reproduces_gold, model, batch_size=batch_size)
        scores["exact_output"] = _exact_output(items, scores["margin"], near_tie, made)
        scores |= _forced_choice_of_several(model, items, batch_size)
    return scores_frame(items, scores)


def score_variants(
    model: PreTrainedModel,
    adapters: Iterable[AdapterWeights],
    items: EncodedItems,
    batch_size: int = 256,
    teacher: Teacher | None = None,
    generate: bool = False,
) -> list[pl.DataFrame]:
    """`score_teacher_forced` of the base with each of the adapters, several of them in one pass where that can be done.

    The model is the base, and is left as it was. `generate` fills answer_correct by free generation.
    """
    check_objective(items, teacher)
    generate = generate and teacher is None
    frames: list[pl.DataFrame] = []
    if why_not_decodable(model) is not None:
        for adapter in adapters:
            with adapted(model, adapter) as variant:
                frame = score_teacher_forced(variant, items, batch_size, teacher)
                frames.append(with_answers(frame, variant, items, batch_size) if generate else frame)
        return frames
    waiting = iter(adapters)
    while some := list(itertools.islice(waiting, VARIANTS_PER_PASS)):
        frames += _score_together(model, some, items, batch_size, teacher, generate)
    return frames


def with_answers(frame: pl.DataFrame, model: nn.Module, items: EncodedItems, batch_size: int = 256) -> pl.DataFrame:
    """The frame with answer_correct filled by the model's own generations."""
    generated_NG = generate_alone(model, items, batch_size=batch_size, stop_id=stop_token(items))
    return frame.with_columns(pl.Series("answer_correct", answer_correct(generated_NG, items)))


@torch.no_grad()
def _score_together(
    model: PreTrainedModel,
    adapters: Sequence[AdapterWeights],
    items: EncodedItems,
    batch_size: int,
    teacher: Teacher | None,
    generate: bool,
) -> list[pl.DataFrame]:
    single = teacher is None and has_single_tokens(items)
    variants = Variants(model, adapters)
    parts: list[list[dict[str, np.ndarray]]] = [[] for _ in adapters]
    for batches in iter_variant_logits(variants, model, items, batch_size):
        for found, batch in zip(parts, batches, strict=True):
            found.append(
                batch_scores(batch, items, single) if teacher is None else distill_scores(batch, items, teacher)
            )
    all_scores = [gathered(items, found) for found in parts]
    if items.objective == "answer":
        made = partial(variants_reproduce_gold, variants, batch_size=batch_size)
        margin_KN = np.stack([one["margin"] for one in all_scores])
        exact_KN = _exact_output(items, margin_KN, NEAR_TIE, made)
        for adapter, scores, exact_N in zip(adapters, all_scores, exact_KN, strict=True):
            scores["exact_output"] = exact_N
            with adapted(model, adapter) as variant:
                scores |= _forced_choice_of_several(variant, items, batch_size)
    frames = [scores_frame(items, scores) for scores in all_scores]
    if not generate:
        return frames
    generated_KNG = generate_variants(variants, items, batch_size=batch_size, stop_id=stop_token(items))
    return [
        frame.with_columns(pl.Series("answer_correct", answer_correct(generated_NG, items)))
        for frame, generated_NG in zip(frames, generated_KNG, strict=True)
    ]


def check_objective(items: EncodedItems, teacher: Teacher | None) -> None:
    """Raises BadInput when the items' objective and the teacher do not fit together."""
    check_completions(items)
    if (items.objective == "distill") != (teacher is not None):
        raise BadInput(
            f"Items of objective {items.objective!r} {'need a' if teacher is None else 'take no'} teacher; "
            "only `distill` items are scored against one."
        )


def gathered(items: EncodedItems, parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Scores of batches in the items' order. Raises BadInput when a log-probability is not finite."""
    back_N = np.argsort(np.concatenate([part["row"] for part in parts]))
    scores = {name: np.concatenate([part[name] for part in parts])[back_N] for name in parts[0] if name != "row"}
    if not np.isfinite(scores["nats"]).all():
        raise BadInput(
            f"The model's log-probabilities on {items.task} are not finite. The weights have diverged; "
            "train with a lower learning rate, or leave this cell out."
        )
    if items.candidates_NCA is not None and items.objective == "answer":
        assert items.chance_N is not None
        scores["chance"] = items.chance_N
    return scores


def scores_frame(items: EncodedItems, scores: dict[str, np.ndarray]) -> pl.DataFrame:
    """A row per item; what was not scored is null."""
    empty = {name: pl.Series(name, [None] * len(items), dtype=dtype) for name, dtype in SCORES.items()}
    filled = {name: pl.Series(name, values, dtype=SCORES[name], strict=False) for name, values in scores.items()}
    return pl.DataFrame({"item": pl.Series("item", _item_ids(items), dtype=pl.Int64)} | empty | filled)


def _item_ids(items: EncodedItems) -> np.ndarray:
    return items.item_ids_N if len(items.item_ids_N) == len(items) else np.arange(len(items))


def _forced_choice_of_several(model: nn.Module, items: EncodedItems, batch_size: int) -> dict[str, np.ndarray]:
    """Forced choice where candidates have several tokens, so that one pass leaves it open; else nothing."""
    if items.candidates_NCA is None or has_single_tokens(items):
        return {}
    return {"forced_choice": true_is_likeliest(candidate_nats(model, items, batch_size))}


def distill_scores(batch: CompletionLogits, items: EncodedItems, teacher: Teacher) -> dict[str, np.ndarray]:
    """-KL(teacher || model) of a batch's items, in the batch's order; `row` says which items they are."""
    kl_P = kl_from_teacher(teacher, batch, items).cpu().double().numpy()
    return {"row": batch.rows_M, "nats": -np.add.reduceat(kl_P, batch.starts_M) / batch.n_completion_M}


def batch_scores(batch: CompletionLogits, items: EncodedItems, single_token_candidates: bool) -> dict[str, np.ndarray]:
    """Scores of a batch's items, in the batch's order; `row` says which items they are."""
    log_probs_PV = batch.log_probs_PV
    gold_P = log_probs_PV.gather(1, batch.target_P[:, None])[:, 0].cpu().double().numpy()
    margin_P = gold_margin(batch).cpu().double().numpy()
    start_M, end_M = items.answer_start_N[batch.rows_M], items.answer_end_N[batch.rows_M]
    in_answer_P = (batch.position_P >= start_M[batch.owner_P]) & (batch.position_P < end_M[batch.owner_P])
    right_P = margin_P > 0
    scores = {
        "row": batch.rows_M,
        "margin": np.minimum.reduceat(margin_P, batch.starts_M),
        "nats": np.add.reduceat(gold_P, batch.starts_M),
        "answer_nats": np.add.reduceat(np.where(in_answer_P, gold_P, 0.0), batch.starts_M),
        "answer_given_trace": np.logical_and.reduceat(right_P | ~in_answer_P, batch.starts_M),
        "n_decisions": batch.n_completion_M,
        "n_right": np.add.reduceat(right_P.astype(np.int64), batch.starts_M),
    }
    if single_token_candidates:
        assert items.candidates_NCA is not None
        at_answer_M = torch.from_numpy(batch.starts_M + start_M - items.n_prompt_N[batch.rows_M])
        nats_MC = single_token_nats(
            log_probs_PV[at_answer_M.to(log_probs_PV.device)], items.candidates_NCA[batch.rows_M, :, 0]
        )
        scores["forced_choice"] = true_is_likeliest(nats_MC)
    return scores


def gold_margin(batch: CompletionLogits) -> Float[Tensor, " P"]:
    """Gold logit minus the best other logit, per position."""
    best = batch.logits_PV.topk(2, dim=-1)
    gold_P = batch.logits_PV.gather(1, batch.target_P[:, None])[:, 0]
    return gold_P - torch.where(best.indices[:, 0] == batch.target_P, best.values[:, 1], best.values[:, 0])


def _exact_output(
    items: EncodedItems,
    margin_N: Float[np.ndarray, "*K N"],
    near_tie: float,
    made: Callable[[EncodedItems], Bool[np.ndarray, "*K M"]],
) -> Bool[np.ndarray, "*K N"]:
    """Whether greedy decoding gives the gold completion; near-ties follow `made`, which really generates.

    Of several adapters, all generate an item that is a near-tie for one of them; only that one's score follows.
    """
    exact_N = margin_N > 0
    is_close_N = np.abs(margin_N) < near_tie
    close = np.flatnonzero(is_close_N.reshape(-1, len(items)).any(0))
    if len(close):
        exact_N[..., close] = np.where(is_close_N[..., close], made(items.take(close)), exact_N[..., close])
    return exact_N


@torch.no_grad()
def completion_log_probs(model: nn.Module, items: EncodedItems, batch_size: int = 256) -> Float[Tensor, "P V"]:
    """The model's distribution at every completion position, items in order: a teacher read once, used often."""
    batches = list(iter_completion_logits(model, items, batch_size))
    rows_P = np.concatenate([_rows_in_order(batch, items) for batch in batches])
    log_probs_PV = torch.cat([batch.log_probs_PV.cpu() for batch in batches])
    return log_probs_PV[torch.from_numpy(np.argsort(rows_P))]


def _rows_in_order(batch: CompletionLogits, items: EncodedItems) -> np.ndarray:
    """Where a batch's positions stand when all completion positions are listed item by item."""
    n_completion_N = items.n_tokens_N - items.n_prompt_N
    starts_N = np.cumsum(n_completion_N) - n_completion_N
    item_P = batch.rows_M[batch.owner_P]
    return np.asarray(starts_N[item_P] + batch.position_P - items.n_prompt_N[item_P])


def teacher_rows(teacher: Teacher, batch: CompletionLogits, items: EncodedItems) -> Float[Tensor, "P V"]:
    """The teacher's log-probabilities at a batch's positions, on the batch's device."""
    if isinstance(teacher, Tensor):
        n_positions = int((items.n_tokens_N - items.n_prompt_N).sum())
        if len(teacher) != n_positions:
            raise BadInput(f"The teacher has {len(teacher)} positions, the items {n_positions}. Use the same items.")
        return teacher[torch.from_numpy(_rows_in_order(batch, items))].to(batch.logits_PV.device)
    return completion_log_probs(teacher, items.take(batch.rows_M)).to(batch.logits_PV.device)


def kl_from_teacher(teacher: Teacher, batch: CompletionLogits, items: EncodedItems) -> Float[Tensor, " P"]:
    """KL(teacher || model) in nats at each of a batch's positions."""
    log_probs_PV = teacher_rows(teacher, batch, items)
    return (log_probs_PV.exp() * (log_probs_PV - batch.log_probs_PV)).sum(-1)
