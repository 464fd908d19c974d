"""Generation against the model's own one-at-a-time greedy decoding, and the answer at its end."""

import numpy as np
import pytest
import torch
from hand_items import STOP, items_of, random_items, train_briefly
from tiny_models import FAMILIES, tiny_model

from rankscope.base.errors import BadInput
from rankscope.evals.generate import answer_correct, answer_starts, default_max_new_tokens, generate, stop_token


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_one_at_a_time_greedy_decoding(family: str) -> None:
    model, items = tiny_model(family), random_items(0, 16)
    train_briefly(model, items.take(slice(0, 8)), 40)
    ours = generate(model, items, 12, batch_size=5, stop_id=STOP, pad_id=-1)
    lengths = set()
    for row in range(len(items)):
        prompt = torch.from_numpy(items.tokens_NT[row, : items.n_prompt_N[row]])[None]
        made = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False, eos_token_id=STOP
        )
        new = made[0, prompt.shape[1] :].tolist()
        assert ours[row].tolist() == new + [-1] * (12 - len(new))
        lengths.add(len(new))
    assert len(lengths) > 2  # rows leave the batch at different times


def test_stops_where_the_context_ends() -> None:
    items = items_of([([5] * 60, [], [6]), ([5], [], [6])])
    made = generate(tiny_model("gpt2"), items, 10, stop_id=None)
    assert (made[0] >= 0).sum() == 4
    assert (made[1] >= 0).sum() == 10


def test_default_length_leaves_room_for_a_longer_trace() -> None:
    assert default_max_new_tokens(items_of([([5], [7, 7, 2], [6]), ([5], [], [6])])) == 8


def test_stop_token_is_read_off_the_items() -> None:
    items = items_of([([5], [], [6]), ([5], [], [7])])
    assert stop_token(items) == STOP
    items.tokens_NT[1, 2] = 9
    with pytest.raises(BadInput, match="one stop token"):
        stop_token(items)


def judged(rows: list[tuple[list[int], list[int], list[int]]], generated: list[list[int]]) -> list[bool]:
    width = max(map(len, generated))
    return answer_correct(np.array([row + [-1] * (width - len(row)) for row in generated]), items_of(rows)).tolist()


def test_answer_after_an_own_trace() -> None:
    rows = [([5], [7, 2], [8])] * 5
    generated = [
        [7, 2, 8, STOP],  # as the gold
        [9, 9, 9, 2, 8, STOP],  # another trace, same answer
        [7, 2, 9, STOP],  # another answer
        [7, 2, 8, 8, 8],  # never stops
        [7, 2, 9, 8, STOP],  # ends like the answer, but is longer
    ]
    assert judged(rows, generated) == [True, True, False, False, False]


def test_unmarked_traces_compare_the_ending() -> None:
    rows = [([5], [7, 2], [8]), ([5], [7, 3], [8, 9])]
    assert judged(rows, [[4, 8, STOP], [6, 6, 8, 9, STOP]]) == [True, True]
    assert judged(rows, [[4, STOP], [9, STOP]]) == [False, False]


def test_direct_answers_stand_alone() -> None:
    rows = [([5], [], [8])] * 3
    assert judged(rows, [[8, STOP], [7, 8, STOP], [STOP]]) == [True, False, False]


@pytest.mark.parametrize(
    ("rows", "generated", "starts"),
    [
        ([([5], [7, 2], [8])] * 4, [[7, 2, 8, STOP], [2, 9, 2, 8, STOP], [7, 9, STOP], [7, 9, 9, 9, 9]], [2, 3, 2, 5]),
        ([([5], [7, 2], [8]), ([5], [7, 3], [8, 9])], [[4, 8, STOP], [9, STOP]], [1, 0]),
        ([([5], [], [8])] * 2, [[8, STOP], [7, 8, STOP]], [0, 0]),
    ],
)
def test_where_the_final_answer_begins(rows, generated, starts) -> None:
    """After the last mark; without one nowhere; with marks that differ as long as the gold; without traces at once."""
    width = max(map(len, generated))
    made = np.array([row + [-1] * (width - len(row)) for row in generated])
    assert answer_starts(made, items_of(rows)).tolist() == starts
