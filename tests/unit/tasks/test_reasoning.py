"""Reasoning items by hand: what is written, which roles its words have, and what is refused."""

import numpy as np
import pytest
from subwords import subword_tokenizer

from rankscope.base.errors import BadInput, UnknownName
from rankscope.base.vocabulary import ID, WORDS
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.catalog import load_items, load_role_items, load_task
from rankscope.tasks.reasoning import ALL_SKILLS, SKILLS
from rankscope.tasks.reasoning_draft import Draft, write_draft
from rankscope.tasks.reasoning_lists import draw_sums
from rankscope.tasks.reasoning_solver import check_reasoning, solve
from rankscope.tasks.text import text_items, with_spans
from rankscope.tasks.word_items import WordItems

SUMS = {"4 8 + 8 5 =": ("8 + 5 = 13 4 + 8 carry = 13", "1 3 3"), "1 0 + 2 4 =": ("0 + 4 = 4 1 + 2 = 3", "3 4")}
SOLVED = SUMS | {
    "sort 9 2 11 =": ("2 9 11", "2 9 11"),
    "? b3 a2 =": ("so so", "b3 a2"),
    "Map: a2 a3 a4 a5 a3 a6 Start: a2 Hops: 2 Target:": ("a2 a3 a6", "a6"),
    "Map: a2 a3 a4 a5 a2 a4 a3 a6 a6 a7 Start: a2 Task: shortest~path Target:": ("a2 a3 a6 a7 | a2 a4 a5", "a5"),
    "Map: a4 a5 a2 a3 a2 a4 a3 a6 Start: a2 Target: a5": ("a2 a3 a6 back a2 a4 a5", "a2 a4 a5"),
    "Map: a2 a3 a4 a5 a2 a4 a3 a6 Start: a2 Target: a6": ("a2 a3 a6", "a2 a3 a6"),
}


@pytest.mark.parametrize("prompt", SOLVED)
def test_the_solver_on_prompts_written_by_hand(prompt: str) -> None:
    steps, answer = solve([word.replace("~", " ") for word in prompt.split()])
    assert (" ".join(word for step in steps for word in step), " ".join(answer)) == SOLVED[prompt]


def codes(text: str) -> list[int]:
    return [ID[word] for word in text.split()]


def one_sum(wrong_step: int) -> WordItems:
    """48 + 85, whose first step writes 12 when it is wrong."""
    drawn = draw_sums(2, "train", 1, np.random.default_rng(0))
    blank = dict.fromkeys(("step_tags_NJW", "answer_tags_NA"))
    draft = Draft(
        **{name: getattr(drawn, name) for name in ("prompt_surface_NP", "step_surface_NJW", "named_NV")},
        **blank,
        prompt_NP=np.array([codes("4 8 + 8 5 =")]),
        step_NJW=np.array([[[ID["8"], ID["+"], ID["5"], -1, ID["="], ID["13"]], codes("4 + 8 carry = 13")]]),
        wrong_NJ=np.array([[ID["12"], ID["14"]]]),
        answer_NA=np.array([codes("1 3 3")]),
    )
    return write_draft(draft, np.array([wrong_step]), "sum", "train", WORDS, np.array([0]))


def tagged(items: WordItems, tag: str) -> str:
    return " ".join(WORDS[code] for code in items.codes_NT[0][items.roles.has(tag)[0]])


def test_a_wrong_step_is_broken_off_and_written_again() -> None:
    items = one_sum(0)
    assert text_items(items)[0].trace == "<think> 8 + 5 = 12 wait 8 + 5 = 13 4 + 8 carry = 13 </think>"
    assert text_items(items)[0].answer == "1 3 3"
    assert {name: items.groups[name].tolist() for name in ("corrected", "n_steps")} == {
        "corrected": [1],
        "n_steps": [2],
    }
    check_reasoning(items, checks_trace=True)
    assert tagged(items, "wrong") == "12"
    assert tagged(items, "correction") == "8 + 5 = 13"
    assert tagged(items, "after_wait") == "8 + 5 = 13 4 + 8 carry = 13 </think> 1 3 3 <stop>"
    assert tagged(items, "final_step") == "4 + 8 carry = 13"
    assert tagged(items, "step_first") == "8 8 4"
    assert tagged(items, "repeat") == "8 8 + 5 = 8 + 5 = 4 + 8 = 13 3"
    surfaces = [items.roles.names(0, at)[0] for at in range(int(items.n_tokens_N[0]))]
    assert surfaces[:7] == ["digit", "digit", "operator", "digit", "digit", "operator", "think"]
    assert surfaces[7:13] == ["digit", "operator", "digit", "operator", "step", "wait"]
    assert surfaces[-5:] == ["think", "answer", "answer", "answer", "stop"]


def test_without_a_wrong_step_nothing_is_corrected() -> None:
    items = one_sum(-1)
    assert text_items(items)[0].trace == "<think> 8 + 5 = 13 4 + 8 carry = 13 </think>"
    assert [tagged(items, tag) for tag in ("wrong", "correction", "after_wait")] == ["", "", ""]


@pytest.mark.parametrize(("position", "word"), [(11, "13"), (17, "8"), (-2, "4"), (12, "so")])
def test_the_solver_refuses_what_is_not_right(position: int, word: str) -> None:
    items = one_sum(0)
    items.codes_NT[0, position] = ID[word]
    with pytest.raises(AssertionError, match="sum: item 0"):
        check_reasoning(items, checks_trace=True)


def test_carries_are_tagged_where_the_column_is_written() -> None:
    items = load_task("reasoning:skill=add,digits=2,wrong=0").items("train", 200, 0)
    for row in range(200):
        words = [WORDS[code] for code in items.codes_NT[row, : items.n_tokens_N[row]]]
        steps, answer = solve(words[:6])
        into, out_of = items.roles.has("carry_in")[row], items.roles.has("carry_out")[row]
        at, n_carries = 7, 0
        for step in steps:
            carries = int(step[-1]) >= 10
            n_carries += carries
            assert set(into[at : at + len(step)]) == {"carry" in step}
            assert out_of[at : at + len(step)].tolist() == [False, False, *[carries] * (len(step) - 2)]
            at += len(step)
        assert into[at + 1 : -1][: len(answer)].tolist()[-2:] == ["carry" in steps[1], False]
        assert items.groups["n_carries"][row] == n_carries
        assert not into[:7].any()


def test_smallest_and_path_by_hand() -> None:
    items = load_task("reasoning:skill=sort,length=3,wrong=0").items("train", 50, 0)
    for row in range(50):
        numbers = [int(WORDS[code]) for code in items.codes_NT[row, 1:4]]
        named = items.codes_NT[row][items.roles.has("smallest")[row]].tolist()
        assert named == [ID[str(min(numbers))]] * 3
        assert items.roles.scored("smallest")[row].argmax() == 4
    star = load_task("reasoning:skill=star,arms=2,arm_length=2,wrong=0").items("train", 50, 0)
    for row in range(50):
        item = with_spans(star, row)
        path = {item.full[span.start : span.end] for span in item.spans if "on_path" in span.tags}
        assert path == set(item.answer.split())
        assert [next(tag for tag in span.tags if tag.startswith("hop_")) for span in item.spans[-2:]] == [
            "hop_1",
            "hop_2",
        ]
        assert star.roles.scored("on_path")[row].argmax() == 12
        assert item.full[item.spans[12].start : item.spans[12].end] == item.answer.split()[-1]


def test_the_mix_takes_its_skills_in_turn() -> None:
    mix = load_task("reasoning").items("test", 33, 3, start=4)
    assert mix.item_ids_N.tolist() == list(range(4, 37))
    assert mix.groups["skill"].tolist() == [at % 5 for at in range(4, 37)]
    texts = text_items(mix)
    for turn, skill in enumerate(SKILLS):
        alone = text_items(load_task(f"reasoning:skill={skill}").items("test", 8, 3))
        for at, text in zip(mix.item_ids_N, texts, strict=True):
            if at % 5 == turn:
                assert (text.prompt, text.trace, text.answer) == tuple(
                    getattr(alone[at // 5], part) for part in ("prompt", "trace", "answer")
                )


@pytest.mark.parametrize("skill", ALL_SKILLS)
def test_shuffled_traces_are_those_of_the_item_before(skill: str) -> None:
    own, shuffled, null = (
        load_task(f"reasoning:skill={skill},wrong=0{knob}").items("train", 20, 0)
        for knob in ("", ",trace=shuffled", ",labels=shuffled")
    )
    for before, item, other, exchanged in zip(
        text_items(own), text_items(own)[1:], text_items(shuffled)[1:], text_items(null)[1:], strict=False
    ):
        assert (other.prompt, other.answer, other.trace) == (item.prompt, item.answer, before.trace)
        assert (exchanged.prompt, exchanged.answer, exchanged.trace) == (item.prompt, before.answer, before.trace)
    assert not shuffled.roles.scored("wrong").any()


def test_candidates_are_there_for_hops_and_chains_alone() -> None:
    words = build_word_tokenizer()
    assert load_items("reasoning", "test", 10, 0, words).candidates_NCA is None
    chain = load_items("reasoning:skill=chain", "test", 10, 0, words)
    assert (chain.candidates_NCA[:, 0, 0] == chain.tokens_NT[np.arange(10), chain.answer_start_N]).all()
    assert set(chain.chance_N) == {1 / 3}


def test_answers_of_several_words_reach_any_tokenizer() -> None:
    words, subwords = build_word_tokenizer(), subword_tokenizer("reasoning", 420)
    texts = text_items(load_task("reasoning").items("test", 40, 0))
    for tokenizer in (words, subwords):
        items, roles = load_role_items("reasoning", "test", 40, 0, tokenizer)
        for row, text in enumerate(texts):
            start, end = int(items.answer_start_N[row]), int(items.answer_end_N[row])
            assert tokenizer.decode(items.tokens_NT[row, start:end]).strip() == text.answer
            assert {roles.names(row, at)[0] for at in range(start, end)} <= {"answer", "none"}
            assert roles.names(row, end) == ("stop", roles.names(row, end)[1])


@pytest.mark.parametrize(
    ("knobs", "error", "message"),
    [
        ("skil=add", UnknownName, "no knob 'skil'. Near matches: skill"),
        ("skill=guess", BadInput, "skill"),
        ("wrong=2", BadInput, "wrong"),
        ("trace=shuffled,labels=shuffled", BadInput, "leave trace out"),
        ("length=8,largest=5", BadInput, "too few for length=8"),
        ("arms=40,arm_length=4", BadInput, "at most 128 nodes"),
        ("lines=4", BadInput, "need at least"),
    ],
)
def test_knobs_that_can_not_be_are_named(knobs: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_task(f"reasoning:{knobs}")


def test_a_split_without_enough_contents_is_refused() -> None:
    with pytest.raises(BadInput, match="too few different items for a test split"):
        load_task("reasoning:skill=sort,length=2,largest=2").items("test", 1, 0)


def test_a_tag_is_scored_in_items_of_its_own_skills_alone() -> None:
    """Else a detector of sums would tell `carry_in` from all that is no sum, and a skill would pass for a role."""
    items = load_task("reasoning:wrong=0").items("test", 50, 0)
    roles = items.roles
    skills = [SKILLS[number] for number in items.groups["skill"]]
    for tag, owners in (("carry_in", {"add"}), ("smallest", {"sort"}), ("on_path", {"hop", "chain", "star"})):
        scored_NT = roles.scored(tag) & (np.arange(roles.tags_NT.shape[1]) < items.n_tokens_N[:, None])
        assert {skill for skill, any_scored in zip(skills, scored_NT.any(1), strict=True) if any_scored} == owners
        assert not (roles.has(tag) & ~scored_NT)[[skill not in owners for skill in skills]].any()
    for tag in ("repeat", "final_step"):
        assert roles.scored(tag).any(1).all()
