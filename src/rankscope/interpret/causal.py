"""What one direction does: its value scaled, or held up by a constant, and what becomes of scores, trace and answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from transformers import PreTrainedModel

from rankscope.adapters.weights import AdapterWeights
from rankscope.base.errors import BadInput
from rankscope.engine.variants import Variants
from rankscope.evals.generate import answer_correct, answer_starts, generate_variants, stop_token
from rankscope.interpret.interventions import Intervention, scaled_direction, steered
from rankscope.interpret.look_records import CausalCheck, TextChange
from rankscope.stats.interval import Interval
from rankscope.stats.over_items import difference_over_items, share_over_items
from rankscope.tasks.encoded import NO_TOKEN, EncodedItems

FACTORS = (0.0, -1.0, 3.0)
"""Taken out, turned round, made three times as strong."""
PUSHES = (3.0, -3.0)
"""Either way, in root mean squares of the direction's values."""
SHOWN = 3
Decode = Callable[[Sequence[int]], str]


class Change(NamedTuple):
    """What is done to a direction: its value times a factor, or a constant added to it at every token."""

    how: Literal["scale", "steer"]
    value: float

    def of(self, full: AdapterWeights, site: str, index: int) -> Intervention:
        """The adapter with this done to one singular direction of one site."""
        do = scaled_direction if self.how == "scale" else steered
        return do(full, site, index, self.value)


def usual_changes(
    rms: float, factors: Sequence[float] = FACTORS, pushes: Sequence[float] = PUSHES
) -> tuple[Change, ...]:
    """Scaling by each factor, then each push, in root mean squares of the direction's value, which is `rms`."""
    return (*(Change("scale", factor) for factor in factors), *(Change("steer", push * rms) for push in pushes))


def causal_checks(
    model: PreTrainedModel,
    full: AdapterWeights,
    site: str,
    index: int,
    changes: Sequence[Change],
    items: EncodedItems,
    decode: Decode,
) -> tuple[CausalCheck, ...]:
    """Does each of the changes to one singular direction, generates greedily, and compares with the adapter left alone.

    index: place among the site's singular values. Scores are decided by the generated text itself, with intervals over
    items. Only for bases that our decoder runs.
    Raises: BadInput for a site or direction that the adapter has not, no change, or fewer than two items.
    """
    if not changes or len(items) < 2:
        raise BadInput(f"A causal check needs a change and two items, not {len(changes)} and {len(items)}.")
    asked = [Intervention(full), *(change.of(full, site, index) for change in changes)]
    before, *after = (_Texts.of(generated_NG, items) for generated_NG in _generated(model, asked, items))
    has_trace = bool((items.answer_start_N > items.n_prompt_N).any())
    return tuple(
        _check(change, before, texts, has_trace, _examples(before, texts, items, decode))
        for change, texts in zip(changes, after, strict=True)
    )


@dataclass(frozen=True)
class _Texts:
    """What an adapter wrote for N items."""

    generated_NG: Int[np.ndarray, "N G"]
    exact_N: Float[np.ndarray, " N"]
    correct_N: Float[np.ndarray, " N"]
    start_N: Int[np.ndarray, " N"]
    """Where the final answer begins."""

    @classmethod
    def of(cls, generated_NG: Int[np.ndarray, "N G"], items: EncodedItems) -> "_Texts":
        """The texts with their scores, 0 or 1 per item."""
        exact_N, correct_N = _is_gold(generated_NG, items), answer_correct(generated_NG, items)
        return cls(generated_NG, exact_N.astype(float), correct_N.astype(float), answer_starts(generated_NG, items))

    def traces(self) -> list[list[int]]:
        """Of every item the tokens before its final answer."""
        return [_tokens(row_G[:start]) for row_G, start in zip(self.generated_NG, self.start_N, strict=True)]

    def answers(self) -> list[list[int]]:
        """Of every item the final answer, and the stop where it has one."""
        return [_tokens(row_G[start:]) for row_G, start in zip(self.generated_NG, self.start_N, strict=True)]


def _tokens(generated_G: Int[np.ndarray, " G"]) -> list[int]:
    return [int(token) for token in generated_G[generated_G != NO_TOKEN]]


def _check(
    change: Change, before: _Texts, after: _Texts, has_trace: bool, examples: tuple[TextChange, ...]
) -> CausalCheck:
    return CausalCheck(
        how=change.how,
        value=change.value,
        exact=share_over_items(after.exact_N[None]),
        exact_change=difference_over_items(after.exact_N, before.exact_N, share=True),
        answer_correct=share_over_items(after.correct_N[None]),
        answer_correct_change=difference_over_items(after.correct_N, before.correct_N, share=True),
        text_changed=share_over_items(_is_other(before, after)[None]),
        trace_changed=_share_other(before.traces(), after.traces()) if has_trace else None,
        answer_changed=_share_other(before.answers(), after.answers()),
        examples=examples,
    )


def _share_other(before: list[list[int]], after: list[list[int]]) -> Interval:
    """The share of items at which the two differ."""
    return share_over_items(np.array([[was != now for was, now in zip(before, after, strict=True)]]))


def _is_other(before: _Texts, after: _Texts) -> Bool[np.ndarray, " N"]:
    return np.asarray((before.generated_NG != after.generated_NG).any(-1))


def _generated(
    model: PreTrainedModel, changes: Sequence[Intervention], items: EncodedItems
) -> Int[np.ndarray, "K N G"]:
    offsets = [change.offsets for change in changes]
    variants = Variants(model, [change.weights for change in changes], offsets)
    return generate_variants(variants, items, stop_id=stop_token(items))


def _is_gold(generated_NG: Int[np.ndarray, "N G"], items: EncodedItems) -> Bool[np.ndarray, " N"]:
    """Whether each text is the gold completion and nothing after it."""
    gold_NG = np.full(generated_NG.shape, NO_TOKEN)
    for row in range(len(items)):
        completion = items.tokens_NT[row, items.n_prompt_N[row] : items.n_tokens_N[row]]
        gold_NG[row, : len(completion)] = completion
    return np.asarray((generated_NG == gold_NG).all(-1))


def _examples(before: _Texts, after: _Texts, items: EncodedItems, decode: Decode) -> tuple[TextChange, ...]:
    """The first items whose text changed."""
    return tuple(
        TextChange(
            item=int(row),
            prompt=decode(items.tokens_NT[row, : items.n_prompt_N[row]].tolist()),
            before=decode(_tokens(before.generated_NG[row])),
            after=decode(_tokens(after.generated_NG[row])),
        )
        for row in np.flatnonzero(_is_other(before, after))[:SHOWN]
    )
