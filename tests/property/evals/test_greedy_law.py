"""Laws that hold for any logits: margins, exact output, generation, padding and forced choice."""

from dataclasses import replace

import numpy as np
from hand_items import GivenLogits, items_of
from hypothesis import given, settings
from hypothesis import strategies as st

from rankscope.evals.forced_choice import candidate_nats, true_is_likeliest
from rankscope.evals.generate import generate, reproduces_gold
from rankscope.evals.teacher_forced import score_teacher_forced
from rankscope.tasks.encoded import EncodedItems

N_WORDS = 5
words = st.integers(0, N_WORDS - 1)
texts = st.tuples(
    st.lists(words, min_size=1, max_size=4), st.lists(words, max_size=3), st.lists(words, min_size=1, max_size=2)
)
item_sets = st.lists(texts, min_size=1, max_size=6).map(items_of)
# Few levels, so that ties and right answers are both common.
models = st.lists(
    st.lists(st.integers(0, 3), min_size=N_WORDS, max_size=N_WORDS), min_size=N_WORDS, max_size=N_WORDS
).map(lambda table: GivenLogits(lambda read: [float(value) for value in table[read[-1]]]))


def greedy(model: GivenLogits, read: list[int], n: int) -> list[int]:
    """N greedy tokens, the lowest id among equals."""
    for _ in range(n):
        logits = model.logits_after(tuple(read))
        read = [*read, logits.index(max(logits))]
    return read


def gold(items: EncodedItems, row: int) -> list[int]:
    return items.tokens_NT[row, : items.n_tokens_N[row]].tolist()


@settings(deadline=None, max_examples=60)
@given(models, item_sets)
def test_exact_output_is_greedy_decoding(model: GivenLogits, items: EncodedItems) -> None:
    scores = score_teacher_forced(model, items, batch_size=4)
    for row, score in enumerate(scores.iter_rows(named=True)):
        text, n_prompt = gold(items, row), int(items.n_prompt_N[row])
        assert score["exact_output"] == (greedy(model, text[:n_prompt], len(text) - n_prompt) == text)
        if score["margin"] != 0:
            assert (score["margin"] > 0) == score["exact_output"] == (score["n_right"] == score["n_decisions"])
        assert score["answer_given_trace"] or score["margin"] <= 0
        assert score["nats"] <= score["answer_nats"] <= 0


@settings(deadline=None, max_examples=30)
@given(models, item_sets)
def test_generation_is_greedy_decoding(model: GivenLogits, items: EncodedItems) -> None:
    made = generate(model, items, 4, batch_size=2, stop_id=None)
    for row in range(len(items)):
        prompt = gold(items, row)[: items.n_prompt_N[row]]
        assert prompt + made[row].tolist() == greedy(model, prompt, 4)
    assert reproduces_gold(model, items).tolist() == score_teacher_forced(model, items)["exact_output"].to_list()


@settings(deadline=None, max_examples=30)
@given(models, item_sets, st.integers(0, 5), words)
def test_padding_is_never_read(model: GivenLogits, items: EncodedItems, extra: int, filler: int) -> None:
    at_T = np.arange(items.tokens_NT.shape[1])
    filled = np.where(at_T < items.n_tokens_N[:, None], items.tokens_NT, filler)
    padded = replace(items, tokens_NT=np.pad(filled, ((0, 0), (0, extra)), constant_values=filler))
    assert score_teacher_forced(model, padded).equals(score_teacher_forced(model, items))


@settings(deadline=None, max_examples=30)
@given(models, item_sets)
def test_the_true_answer_wins_where_it_is_greedy_and_alone(model: GivenLogits, items: EncodedItems) -> None:
    firsts = [int(items.tokens_NT[row, items.answer_start_N[row]]) for row in range(len(items))]
    candidates = np.array([[[first], *([word] for word in range(N_WORDS) if word != first)] for first in firsts])
    single = replace(
        items, answer_end_N=items.answer_start_N + 1, n_tokens_N=items.answer_start_N + 1, candidates_NCA=candidates
    )
    scores = score_teacher_forced(model, single)
    assert scores["forced_choice"].equals(scores["answer_given_trace"])
    one_by_one = true_is_likeliest(candidate_nats(model, single, batch_size=3))
    assert scores["forced_choice"].to_list() == one_by_one.tolist()
