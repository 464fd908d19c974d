"""Scores from logits worked out by hand, and the agreement with real greedy decoding."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hand_items import STOP, GivenLogits, items_of, random_items, train_briefly
from tiny_models import FAMILIES, tiny_model

from rankscope.base.errors import BadInput
from rankscope.evals.completion_pass import completion_logits
from rankscope.evals.teacher_forced import completion_log_probs, score_teacher_forced

TRACE, ANSWER = 4, 3


def by_last(table: dict[int, list[float]]) -> GivenLogits:
    """Five words; logits depend on the last word read."""
    return GivenLogits(lambda read: table.get(read[-1], [0.0] * 5))


def log_softmax(logits: list[float], word: int) -> float:
    return logits[word] - math.log(sum(math.exp(value) for value in logits))


def test_hand_computed_scores() -> None:
    table = {2: [0, 0, 1, 0, 3], TRACE: [0, 0, 0.5, 0, 0], ANSWER: [0, 2, 0, 0, 0]}
    items = items_of([([2], [TRACE], [ANSWER])], candidates=[[[ANSWER], [0]]])
    row = score_teacher_forced(by_last(table), items).row(0, named=True)
    nats = [log_softmax(table[last], gold) for last, gold in ((2, TRACE), (TRACE, ANSWER), (ANSWER, STOP))]
    assert row["item"] == 100
    assert row["nats"] == pytest.approx(sum(nats), rel=1e-6)
    assert row["answer_nats"] == pytest.approx(nats[1], rel=1e-6)
    assert row["margin"] == pytest.approx(-0.5)
    assert (row["n_decisions"], row["n_right"]) == (3, 2)
    assert (row["exact_output"], row["answer_given_trace"]) == (False, False)
    assert (row["forced_choice"], row["chance"]) == (False, 0.5)  # both candidates have logit 0: a tie is wrong
    assert row["answer_correct"] is None


def test_right_answer_after_a_wrong_trace_counts_for_the_answer_alone() -> None:
    table = {2: [1, 0, 0, 0, 0], TRACE: [0, 0, 0, 2, 0], ANSWER: [0, 2, 0, 0, 0]}
    row = score_teacher_forced(by_last(table), items_of([([2], [TRACE], [ANSWER])])).row(0, named=True)
    assert (row["exact_output"], row["answer_given_trace"], row["n_right"]) == (False, True, 2)
    assert row["forced_choice"] is None
    assert row["chance"] is None


def test_ties_are_decided_by_generating() -> None:
    # At the answer, words 2 and 3 tie; greedy decoding takes the lower id.
    table = {4: [0, 0, 1, 1, 0], 2: [0, 2, 0, 0, 0], 3: [0, 2, 0, 0, 0]}
    scores = score_teacher_forced(by_last(table), items_of([([4], [], [2]), ([4], [], [3])]))
    assert scores["margin"].to_list() == [0.0, 0.0]
    assert scores["exact_output"].to_list() == [True, False]


def test_forced_choice_with_candidates_of_several_tokens() -> None:
    # After 4: P(2) > P(3); after 2 the 0 is unlikely, after 3 the 0 is near certain: [3, 0] beats [2, 0] in total.
    table = {4: [0, 0, 1.0, 0.5, 0], 2: [0, 3, 0, 0, 0], 3: [9, 0, 0, 0, 0]}
    rows = [([4], [], [3, 0]), ([4], [], [2, 0])]
    items = items_of(rows, candidates=[[[3, 0], [2, 0]], [[2, 0], [3, 0], [2]]])
    scores = score_teacher_forced(by_last(table), items)
    assert scores["forced_choice"].to_list() == [True, False]
    assert scores["chance"].to_list() == pytest.approx([1 / 2, 1 / 3])


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_output_agrees_with_greedy_decoding_of_every_item(family: str) -> None:
    model, items = tiny_model(family), random_items(0, 24)
    train_briefly(model, items.take(slice(0, 14)), 60)
    scores = score_teacher_forced(model, items, batch_size=16)
    exact = []
    for row in range(len(items)):
        gold = items.tokens_NT[row, : items.n_tokens_N[row]]
        prompt = torch.from_numpy(gold[: items.n_prompt_N[row]])[None]
        made = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=len(gold) - prompt.shape[1],
            do_sample=False,
            eos_token_id=STOP,
        )
        exact.append(np.array_equal(made[0].numpy(), gold))
    assert scores["exact_output"].to_list() == exact
    assert 0.1 < np.mean(exact) < 0.9
    assert ((scores["margin"] > 0) == scores["exact_output"]).all()
    assert ((scores["n_right"] == scores["n_decisions"]) == scores["exact_output"]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_order_and_batches_do_not_matter(family: str) -> None:
    model, items = tiny_model(family), random_items(1, 12)
    together = score_teacher_forced(model, items)
    padded = replace(items, tokens_NT=np.pad(items.tokens_NT, ((0, 0), (0, 7)), constant_values=99))
    alone = [score_teacher_forced(model, padded.take(np.array([row])), batch_size=1) for row in range(12)]
    for column in ("margin", "nats", "answer_nats"):
        assert together[column].to_list() == pytest.approx([row[column][0] for row in alone], abs=2e-5)
    for column in ("item", "exact_output", "answer_given_trace", "n_decisions", "n_right"):
        assert together[column].to_list() == [row[column][0] for row in alone]


def test_logits_come_from_the_completion_alone() -> None:
    model, items = tiny_model("gpt2"), random_items(2, 6)
    batch = completion_logits(model, items)
    whole = model(input_ids=torch.from_numpy(items.tokens_NT)).logits
    wanted = whole[torch.from_numpy(batch.owner_P), torch.from_numpy(batch.position_P - 1)]
    torch.testing.assert_close(batch.logits_PV, wanted, rtol=1e-5, atol=1e-5)


def test_distill_is_minus_the_mean_kl_per_item() -> None:
    items = items_of([([2], [], [3]), ([2, 2], [], [4, 3])], objective="distill")
    student, teacher = by_last({2: [0, 0, 0, 1, 0]}), by_last({2: [0, 0, 0, 0, 1]})

    def kl(last: int) -> float:
        p, q = ([m.logits_after((last,))[w] for w in range(5)] for m in (teacher, student))
        return sum(math.exp(log_softmax(p, w)) * (log_softmax(p, w) - log_softmax(q, w)) for w in range(5))

    scores = score_teacher_forced(student, items, teacher=teacher)
    assert scores["nats"].to_list() == pytest.approx([-(kl(2) + kl(3)) / 2, -(kl(2) + kl(4) + kl(3)) / 3], abs=1e-6)
    assert scores.drop("item", "nats").null_count().sum_horizontal()[0] == 2 * (len(scores.columns) - 2)
    assert score_teacher_forced(teacher, items, teacher=teacher)["nats"].to_list() == pytest.approx([0, 0], abs=1e-6)


def test_a_teacher_read_once_scores_as_the_model_itself() -> None:
    items = replace(random_items(3, 9), objective="distill")
    teacher, student = tiny_model("qwen2", seed=1), tiny_model("qwen2", seed=2)
    read_once = completion_log_probs(teacher, items, batch_size=4)
    live = score_teacher_forced(student, items, batch_size=2, teacher=teacher)["nats"]
    stored = score_teacher_forced(student, items, batch_size=5, teacher=read_once)["nats"]
    assert stored.to_list() == pytest.approx(live.to_list(), rel=1e-5)
    with pytest.raises(BadInput, match="positions"):
        score_teacher_forced(student, items.take(slice(0, 4)), teacher=read_once)


def test_refusals() -> None:
    items = items_of([([2], [], [3])])
    with pytest.raises(BadInput, match="take no teacher"):
        score_teacher_forced(by_last({}), items, teacher=by_last({}))
    with pytest.raises(BadInput, match="need a teacher"):
        score_teacher_forced(by_last({}), replace(items, objective="distill"))
    with pytest.raises(BadInput, match="diverged"):
        score_teacher_forced(by_last({2: [math.nan] * 5}), items)
    with pytest.raises(BadInput, match="no items"):
        score_teacher_forced(by_last({}), items.take(slice(0, 0)))
