"""The paper's generators: hand-made items, an independent reading of the text, the leak, and what the loss covers."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankscope.base.errors import BadInput, UnknownName
from rankscope.lm.byte_bpe import build_byte_bpe
from rankscope.tasks import paper_maps
from rankscope.tasks.catalog import load_items, load_task
from rankscope.tasks.leaks import judge_shortcut
from rankscope.tasks.paper import PaperTask
from rankscope.tasks.paper_maps import draw_chain_item, draw_hop_item, draw_lengths, most_lines
from rankscope.train.batches import batch_of


def read_map(prompt: str) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Edges and fields of a prompt, read off its text alone."""
    lines = prompt.split("\n")
    assert (lines[0], lines[-1]) == ("Map:", "Target:")
    edges = [tuple(line.split("=>")) for line in lines if "=>" in line]
    fields = dict(line.split(": ") for line in lines[1 + len(edges) : -1])
    return edges, fields


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch):
    """Makes the generators draw the given hashes."""

    def give(*names: str) -> None:
        waiting = iter(names)
        monkeypatch.setattr(paper_maps, "draw_hash", lambda _rng, _n: next(waiting))

    return give


def test_hop_item_is_laid_out_as_in_the_paper(hashes) -> None:
    hashes("b2ke", "q7ta", "m0xd", "z91c")
    item = draw_hop_item(np.random.default_rng(0), 4, 4, (2, 2))
    lines = item.prompt.split("\n")
    assert sorted(lines[1:4]) == ["b2ke=>q7ta", "m0xd=>z91c", "q7ta=>m0xd"]
    assert [lines[0], *lines[4:]] == ["Map:", "Start: b2ke", "Hops: 2", "Target:"]
    assert item.full.endswith("Target: m0xd")
    assert item.groups == {"hops": 2, "n_lines": 3}


@pytest.mark.parametrize(("hops", "answer"), [(3, "z91c"), (4, "z91c"), (9, "z91c")])
def test_as_many_hops_as_there_are_or_more_end_at_the_chains_end(hashes, hops: int, answer: str) -> None:
    hashes("b2ke", "q7ta", "m0xd", "z91c")
    assert draw_hop_item(np.random.default_rng(0), 4, 4, (hops, hops)).answer == answer


def test_a_repeated_hash_loses_a_line_and_the_walk_follows_the_damaged_map(hashes) -> None:
    hashes("aaaa", "bbbb", "aaaa", "cccc")
    item = draw_hop_item(np.random.default_rng(0), 4, 4, (1, 1))
    assert (item.answer, item.groups["n_lines"]) == ("cccc", 2)


def test_chain_item_is_laid_out_as_in_the_paper(hashes) -> None:
    hashes("k3vd", "p08z", "e5wn", "y2hb")
    item = draw_chain_item(np.random.default_rng(0), (2, 3), 2, 4)
    lines = item.prompt.split("\n")
    assert sorted(lines[1:4]) == ["e5wn=>y2hb", "k3vd=>e5wn", "k3vd=>p08z"]
    assert [lines[0], *lines[4:]] == ["Map:", "Start: k3vd", "Task: shortest path", "Target:"]
    assert (item.answer, item.groups) == ("p08z", {"shortest_length": 2, "n_lines": 3})


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 14))
def test_walking_the_text_of_a_hop_item_gives_its_answer(seed: int, n_nodes: int, hops: int) -> None:
    item = draw_hop_item(np.random.default_rng(seed), n_nodes, 4, (1, hops))
    edges, fields = read_map(item.prompt)
    here = fields["Start"]
    for _ in range(int(fields["Hops"])):
        here = dict(edges).get(here, here)
    assert here == item.answer


@given(st.integers(0, 10_000), st.sampled_from([(2, 4, 3, None), (2, 6, 4, None), (2, 5, 3, 14), (2, 4, 2, 9)]))
def test_the_answer_of_a_chain_item_is_the_only_nearest_end(seed: int, sizes: tuple) -> None:
    shortest, longest, n_chains, lines = sizes
    item = draw_chain_item(np.random.default_rng(seed), tuple(range(shortest, longest + 1)), n_chains, 6, lines)
    edges, fields = read_map(item.prompt)
    assert len(edges) == (lines or item.groups["n_lines"])
    here, keys = [fields["Start"]], {key for key, _ in edges}
    for depth in range(2, longest + 2):
        here = [value for key, value in edges if key in here]
        ends = [node for node in here if node not in keys]
        if ends:
            assert (ends, depth) == ([item.answer], item.groups["shortest_length"])
            return
    pytest.fail("no end was reached")


@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 4), st.integers(2, 5))
def test_lengths_have_one_shortest_and_fit_the_stated_most_lines(seed: int, low: int, more: int, chains: int) -> None:
    allowed = tuple(range(low, low + more + 1))
    lengths = draw_lengths(np.random.default_rng(seed), allowed, chains)
    assert len(lengths) == chains
    assert set(lengths) <= set(allowed)
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[1]
    assert sum(length - 1 for length in lengths) <= most_lines(allowed, chains)


def test_line_counts_of_the_papers_adapters() -> None:
    items = load_task("paper-chain").items("test", 2000, 0)
    seen: dict[int, set[int]] = {}
    for item in items:
        seen.setdefault(item.groups["shortest_length"], set()).add(item.groups["n_lines"])
    assert seen == {2: {10, 11, 12, 13}, 3: {14}, 4: {15, 16, 17, 18}, 5: {19}}


@pytest.mark.parametrize(("knobs", "leaks"), [("", True), (",lines=9", False)])
def test_the_line_count_gives_the_shortest_length_away_only_with_the_leak(knobs: str, leaks: bool) -> None:
    items = load_task(f"paper-chain:lengths=2-4,chains=3{knobs}").items("test", 4000, 0)
    lines, shortest = (np.array([item.groups[name] for item in items]) for name in ("n_lines", "shortest_length"))
    found = judge_shortcut("lines -> shortest", lines[:, None], shortest)
    assert found.leaks is leaks
    assert (found.accuracy == 1.0) is leaks


def test_items_depend_on_kind_split_seed_and_index_alone() -> None:
    task = load_task("paper-hop:nodes=6,hops=1-4")
    assert isinstance(task, PaperTask)
    assert task.items("test", 5, 0)[:3] == task.items("test", 3, 0)
    drawn = {task.items(split, 1, seed)[0].prompt for split in ("train", "test") for seed in (0, 1)}
    assert len(drawn) == 4


def test_hops_are_spread_evenly() -> None:
    counts = Counter(item.groups["hops"] for item in load_task("paper-hop:hops=1-4").items("test", 2000, 0))
    assert set(counts) == {1, 2, 3, 4}
    assert all(420 < count < 580 for count in counts.values())


def test_lookups_are_lines_of_their_map() -> None:
    for item in load_task("paper-lookup:nodes=3-6,queries=4").items("train", 20, 0):
        shown = [line for line in item.prompt.split("\n") if "=>" in line]
        asked = item.answer.split("\nStart: ")[1:]
        assert len(asked) == 4
        assert all(f"{one.split()[0]}=>{one.split()[-1]}" in shown for one in asked)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("paper-hop:nods=3", UnknownName, "nodes"),
        ("paper-hop:nodes=x", BadInput, "nodes"),
        ("paper-hop:hops=4-2", BadInput, "LOW-HIGH"),
        ("paper-chain:lengths=3", BadInput, "two different"),
        ("paper-chain:lengths=2-4,chains=3,lines=8", BadInput, "lines=9"),
    ],
)
def test_bad_knobs_are_refused_with_a_reason(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_task(name)


def test_word_level_bases_are_refused() -> None:
    from rankscope.lm.bases import load_base

    with pytest.raises(BadInput, match="any text"):
        load_items("paper-hop", "train", 2, 0, load_base("tiny-gpt2").tokenizer)


TOKENIZER = build_byte_bpe((item.full for item in load_task("paper-hop:nodes=6").items("bpe", 300, 0)), 400, 256)


@pytest.mark.parametrize("loss", ["paper", "answer"])
def test_what_the_loss_covers(loss: str) -> None:
    items = load_items(f"paper-hop:nodes=6,hops=1-4,loss={loss}", "train", 12, 0, TOKENIZER)
    texts = load_task("paper-hop:nodes=6,hops=1-4").items("train", 12, 0)
    batch = batch_of(items, np.arange(12), torch.device("cpu"))
    end = TOKENIZER.eos_token_id
    n_padding = 0
    for row, item in enumerate(texts):
        covered = batch.tokens_NT[row].roll(-1)[batch.predicts_NT[row]].tolist()
        answer = TOKENIZER(f" {item.answer}")["input_ids"]
        if loss == "answer":
            assert covered == [*answer, end]
        else:
            padding = batch.tokens_NT.shape[1] - int(items.n_tokens_N[row])
            assert covered == [*TOKENIZER(":")["input_ids"], *answer, end, *[end] * padding]
            n_padding += padding
        whole = items.tokens_NT[row, : items.n_tokens_N[row] - 1]
        assert TOKENIZER.decode(whole) == item.full
        start, stop = items.answer_start_N[row], items.answer_end_N[row]
        assert TOKENIZER.decode(items.tokens_NT[row, start:stop]) == f" {item.answer}"
    assert (n_padding > 0) == (loss == "paper")


def test_the_loss_is_part_of_what_identifies_items() -> None:
    hashes = {
        load_items(f"paper-hop:nodes=6,loss={loss}", "train", 4, 0, TOKENIZER).content_hash
        for loss in ("paper", "answer")
    }
    assert len(hashes) == 2
