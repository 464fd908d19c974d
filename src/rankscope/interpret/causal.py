"""What one direction does: its value scaled, or held up by a constant, and what becomes of scores and text."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedModel

from rankscope.adapters.weights import AdapterWeights
from rankscope.engine.variants import Variants
from rankscope.evals.generate import generate_variants, stop_token
from rankscope.interpret.interventions import Intervention, scaled_direction, steered
from rankscope.interpret.look_records import CausalCheck, TextChange
from rankscope.stats.over_items import difference_over_items, mean_over_items
from rankscope.tasks.encoded import NO_TOKEN, EncodedItems

FACTORS = (0.0, -1.0, 3.0)
"""Taken out, turned round, made three times as strong."""
SHOWN = 3
Decode = Callable[[Sequence[int]], str]


def causal_checks(
    model: PreTrainedModel,
    full: AdapterWeights,
    site: str,
    index: int,
    push: float,
    items: EncodedItems,
    decode: Decode,
) -> tuple[CausalCheck, ...]:
    """Scales the direction by each of FACTORS, adds push and -push to its value at every token, and generates greedily.

    Exact output is decided by the generated text itself. Only for bases that our decoder runs.
    """
    asked = [("scale", factor, scaled_direction(full, site, index, factor)) for factor in FACTORS]
    asked += [("steer", value, steered(full, site, index, value)) for value in (push, -push)]
    generated_KNG = _generated(model, [Intervention(full), *(change for *_, change in asked)], items)
    exact_KN = _is_gold(generated_KNG, items)
    changed_KN = (generated_KNG != generated_KNG[0]).any(-1)
    return tuple(
        CausalCheck(
            how=how,
            value=value,
            exact=mean_over_items(exact_KN[row]),
            exact_change=difference_over_items(exact_KN[row], exact_KN[0], share=True),
            text_changed=float(changed_KN[row].mean()),
            examples=_examples(generated_KNG[[0, row]], changed_KN[row], items, decode),
        )
        for row, (how, value, _) in enumerate(asked, start=1)
    )


def _generated(
    model: PreTrainedModel, changes: Sequence[Intervention], items: EncodedItems
) -> Int[np.ndarray, "K N G"]:
    offsets = [change.offsets for change in changes]
    variants = Variants(model, [change.weights for change in changes], offsets)
    return generate_variants(variants, items, stop_id=stop_token(items))


def _is_gold(generated_KNG: Int[np.ndarray, "K N G"], items: EncodedItems) -> np.ndarray:
    """Whether each text is the gold completion and nothing after it, as numbers 0 and 1."""
    gold_NG = np.full(generated_KNG.shape[1:], NO_TOKEN)
    for row in range(len(items)):
        completion = items.tokens_NT[row, items.n_prompt_N[row] : items.n_tokens_N[row]]
        gold_NG[row, : len(completion)] = completion
    return np.asarray((generated_KNG == gold_NG).all(-1), dtype=float)


def _examples(
    before_after: Int[np.ndarray, "2 N G"], changed_N: np.ndarray, items: EncodedItems, decode: Decode
) -> tuple[TextChange, ...]:
    """The first items whose text changed."""
    return tuple(
        TextChange(
            item=int(row),
            prompt=decode(items.tokens_NT[row, : items.n_prompt_N[row]].tolist()),
            before=_text(before_after[0, row], decode),
            after=_text(before_after[1, row], decode),
        )
        for row in np.flatnonzero(changed_N)[:SHOWN]
    )


def _text(generated_G: Int[np.ndarray, " G"], decode: Decode) -> str:
    return decode(generated_G[generated_G != NO_TOKEN].tolist())
