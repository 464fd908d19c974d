"""Laws of twin maps, over their knobs. Some items of a block are read as text; rates are counted over all of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_maps import read_prompt, solve, trace_of

from rankscope.base.errors import BadInput
from rankscope.tasks.text import text_items
from rankscope.tasks.twins import BLOCK, TwinKnobs, TwinTask

N_READ = 40
MODES = [("direct", "answer"), ("trace", "answer"), ("matched", "answer"), ("matched", "path")]
SIX_SIGMA = 6 * 0.5 / BLOCK**0.5


@st.composite
def twin_knobs(draw: st.DrawFn) -> TwinKnobs:
    """Knobs that leave room for every question."""
    chains, max_length, distractors = draw(st.integers(2, 4)), draw(st.integers(4, 6)), draw(st.integers(1, 3))
    hops = draw(st.integers(1, max_length - 3))
    chain_lines = (max_length - 2) + (chains - 1) * (max_length - 1)
    mode, asked = draw(st.sampled_from(MODES))
    return TwinKnobs(
        chains=chains,
        min_length=draw(st.integers(2, max_length - 1)),
        max_length=max_length,
        distractors=distractors,
        hops=hops,
        lines=chain_lines + distractors + hops + draw(st.integers(0, 2)),
        mode=mode,
        asked=asked,
        symbol_length=draw(st.sampled_from([2, 2, 3])),
    )


def twins(knobs: TwinKnobs) -> tuple[TwinTask, TwinTask]:
    return TwinTask("hop", "hop", knobs), TwinTask("chain", "chain", knobs)


@settings(max_examples=12, deadline=None)
@given(knobs=twin_knobs(), seed=st.integers(0, 10**6))
def test_every_map_has_the_shape_it_was_asked_for(knobs: TwinKnobs, seed: int) -> None:
    for item in text_items(twins(knobs)[1].items("train", N_READ, seed)):
        asked = read_prompt(item.prompt)
        assert len(asked.edges) == knobs.lines
        assert len(asked.nodes) == knobs.lines + 1 + knobs.distractors
        assert len(set(asked.values)) == knobs.lines, "a symbol is reached twice"
        assert asked.branching == [asked.start]
        assert len(asked.roots) == 1 + knobs.distractors
        lengths = sorted(map(len, asked.chains(asked.start)))
        assert len(lengths) == knobs.chains
        assert knobs.min_length <= lengths[0] < lengths[1] <= lengths[-1] <= knobs.max_length


@settings(max_examples=12, deadline=None)
@given(knobs=twin_knobs(), seed=st.integers(0, 10**6))
def test_answers_and_traces_are_those_of_plain_search(knobs: TwinKnobs, seed: int) -> None:
    for task in twins(knobs):
        for item in text_items(task.items("train", N_READ, seed)):
            asked = read_prompt(item.prompt)
            answer, path = solve(asked)
            assert item.answer == item.candidates[0] == answer
            assert item.trace == trace_of(asked, knobs.mode, knobs.asked == "path")
            assert len(set(item.candidates)) == len(item.candidates)
            assert set(item.candidates) == (asked.leaves if answer in asked.leaves else asked.nodes)
            if asked.hops is not None:
                assert 1 <= asked.hops <= knobs.hops
                assert asked.start not in asked.branching
                if knobs.mode == "matched":
                    assert any(set(path) <= set(chain) for chain in asked.chains(asked.branching[0]))


@settings(max_examples=12, deadline=None)
@given(knobs=twin_knobs(), seed=st.integers(0, 10**6))
def test_twins_share_map_and_layout(knobs: TwinKnobs, seed: int) -> None:
    hop, chain = (task.items("test", BLOCK, seed) for task in twins(knobs))
    map_tokens = 1 + 2 * knobs.lines
    assert (hop.codes_NT[:, :map_tokens] == chain.codes_NT[:, :map_tokens]).all()
    assert set(hop.n_prompt_N) == set(chain.n_prompt_N) == {map_tokens + 5}
    assert (hop.groups["shortest_length"] == chain.groups["shortest_length"]).all()
    if (knobs.mode, knobs.asked) == ("matched", "answer"):
        traced = slice(map_tokens + 5, None)
        differ = (hop.codes_NT[:, traced] != chain.codes_NT[:, traced]).sum(1)
        assert set(differ) <= {0, 1}, "matched twins differ in query and answer alone"


@settings(max_examples=12, deadline=None)
@given(knobs=twin_knobs(), seed=st.integers(0, 10**6))
def test_ends_and_kinds_of_chain_are_even(knobs: TwinKnobs, seed: int) -> None:
    hop = twins(knobs)[0].items("train", BLOCK, seed)
    answer_tags = hop.roles.tags_NT[np.arange(BLOCK), hop.answer_at_N]
    at_leaf = answer_tags >> np.uint32(3) & 1
    on_distractor = answer_tags >> np.uint32(1) & 1
    assert (at_leaf == hop.groups["ends_at_leaf"]).all()
    assert abs(at_leaf.mean() - 0.5) < SIX_SIGMA
    if knobs.mode == "matched":
        assert not on_distractor.any()
    else:
        assert abs(on_distractor.mean() - 0.5) < SIX_SIGMA
    shares = np.bincount(hop.groups["hops"], minlength=knobs.hops + 1)[1:] / BLOCK
    assert np.abs(shares - 1 / knobs.hops).max() < SIX_SIGMA


@settings(max_examples=8, deadline=None)
@given(start=st.integers(0, 2 * BLOCK), n=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_item_i_is_a_function_of_seed_and_i(start: int, n: int, seed: int) -> None:
    task = twins(TwinKnobs(mode="trace"))[0]
    some, many = task.items("train", n, seed, start=start), task.items("train", start + n, seed)
    tail = many.take(slice(start, None))
    assert some.item_ids_N.tolist() == list(range(start, start + n))
    width = min(some.codes_NT.shape[1], tail.codes_NT.shape[1])
    for items in (some, tail):
        assert not items.codes_NT[:, width:].any()
    assert (some.codes_NT[:, :width] == tail.codes_NT[:, :width]).all()
    assert {name: labels.tolist() for name, labels in some.groups.items()} == {
        name: labels.tolist() for name, labels in tail.groups.items()
    }
    assert (some.roles.known_from_NG == tail.roles.known_from_NG).all()


@settings(max_examples=6, deadline=None)
@given(knobs=twin_knobs(), seed=st.integers(0, 10**6), question=st.sampled_from(["hop", "chain"]))
def test_shuffled_labels_exchange_nodes_of_the_completion_kind_for_kind(
    knobs: TwinKnobs, seed: int, question: str
) -> None:
    true = TwinTask("true", question, knobs)
    null = replace(true, knobs=knobs.override(labels="shuffled"))
    exchanged = 0
    pairs = zip(*(text_items(task.items("train", N_READ, seed)) for task in (true, null)), strict=True)
    for told, shuffled in pairs:
        assert told.prompt == shuffled.prompt
        asked = read_prompt(told.prompt)
        old, new = (f"{item.trace or ''} {item.answer}".split() for item in (told, shuffled))
        assert len(old) == len(new)
        renamed = dict(zip(old, new, strict=True))
        assert [renamed[word] for word in old] == new, "one symbol has two new names"
        assert len(set(renamed.values())) == len(renamed)
        for word, name in renamed.items():
            assert (word in asked.leaves, word in asked.nodes) == (name in asked.leaves, name in asked.nodes)
            exchanged += word != name
        assert shuffled.candidates[0] == shuffled.answer
    assert exchanged


def test_shuffled_answers_say_nothing_of_the_true_ones() -> None:
    knobs = TwinKnobs()
    true, null = (
        TwinTask("chain", "chain", knobs.override(labels=labels)).items("train", BLOCK, 3)
        for labels in ("true", "shuffled")
    )
    rows = np.arange(BLOCK)
    agree = true.codes_NT[rows, true.answer_at_N] == null.codes_NT[rows, null.answer_at_N]
    n_leaves = knobs.chains + knobs.distractors
    assert abs(agree.mean() - 1 / n_leaves) < SIX_SIGMA


def test_shuffling_maps_of_uneven_length_moves_no_symbol_from_outside_into_them() -> None:
    task = TwinTask("null", "chain", TwinKnobs(lines=None, distractors=0, labels="shuffled", mode="trace"))
    for item in text_items(task.items("train", N_READ, 0)):
        assert set(f"{item.trace} {item.answer}".split()) - {"|", "answer"} <= read_prompt(item.prompt).nodes


def test_a_start_with_one_way_on_is_refused() -> None:
    with pytest.raises(BadInput, match="chains .* greater than or equal to 2"):
        TwinKnobs.parse("hashhop", {"chains": "1"})
