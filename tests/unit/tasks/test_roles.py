"""Roles of one small map, by hand.

The map: a start a2 with the chains a2 a3 and a2 a4 a5, and the distractor chain a8 a6 a7.
"""

import numpy as np
import pytest

from rankscope.base.vocabulary import ID
from rankscope.tasks.catalog import load_task
from rankscope.tasks.maps import Maps
from rankscope.tasks.questions import Path, shortest_paths
from rankscope.tasks.roles import TAGS
from rankscope.tasks.text import with_spans
from rankscope.tasks.twins import TwinKnobs, TwinTask, write_items
from rankscope.tasks.word_items import WordItems

KNOBS = TwinKnobs(lines=5, chains=2, max_length=3, distractors=1, mode="trace")
PROMPT = "Map:\na8=>a6\na2=>a4\na2=>a3\na6=>a7\na4=>a5\nStart: {}\n{}\nTarget:"


def small_map() -> Maps:
    edges = {"edges_NC": [1, 2, 2], "chain_NL": [0, 1, 1, 2, 2], "at_NL": [0, 0, 1, 0, 1]}
    nodes = {"source_NL": [0, 0, 2, 6, 4], "symbol_NV": [0, 1, 2, 3, 4, 5, 6], "line_NL": [3, 1, 0, 4, 2]}
    return Maps(KNOBS, **{name: np.array([row]) for name, row in (edges | nodes).items()})


def written(question: str, maps: Maps, path: Path) -> WordItems:
    rng = np.random.default_rng(0)
    return write_items(TwinTask(question, question, KNOBS), "test", maps, path, np.array([7]), rng)


@pytest.fixture
def hop() -> WordItems:
    """From the distractor's head a8, two hops."""
    return written("hop", small_map(), Path(query_N=np.array([6]), first_edge_N=np.array([3]), hops_N=np.array([2])))


@pytest.fixture
def chain() -> WordItems:
    maps = small_map()
    return written("chain", maps, shortest_paths(maps))


def test_hashhop_text(hop: WordItems) -> None:
    item = with_spans(hop, 0)
    assert item.prompt == PROMPT.format("a8", "Hops: 2")
    assert (item.trace, item.answer) == ("a8 a6 a7 | answer", "a7")
    assert item.candidates[0] == "a7"
    assert set(item.candidates) == {"a3", "a5", "a7"}


def test_hashchain_text_lists_chains_by_their_first_line(chain: WordItems) -> None:
    item = with_spans(chain, 0)
    assert item.prompt == PROMPT.format("a2", "Task: shortest path")
    assert (item.trace, item.answer) == ("a2 a4 a5 | a2 a3 | answer", "a3")


def test_surfaces_and_tags(hop: WordItems) -> None:
    tags = {
        "a8": ["on_path", "distractor"],
        "a6": ["on_path", "distractor", "hop_1"],
        "a7": ["on_path", "distractor", "leaf", "hop_2"],
        "a2": ["branch"],
        "a3": ["leaf"],
        "a4": [],
        "a5": ["leaf"],
    }
    words = ["Map:", "a8", "a6", "a2", "a4", "a2", "a3", "a6", "a7", "a4", "a5", "Start:", "a8", "Hops:", "2"]
    words += ["Target:", "a8", "a6", "a7", "|", "answer", "a7", "<stop>"]
    surfaces = ["mark", *["key", "value"] * 5, "mark", "query", "mark", "number", "mark"]
    surfaces += ["step"] * 3 + ["separator", "mark", "answer", "stop"]
    assert hop.codes_NT[0, : hop.n_tokens_N[0]].tolist() == [ID[word] for word in words]
    found = [hop.roles.names(0, token) for token in range(len(words))]
    assert found == [(surface, tags.get(word, [])) for surface, word in zip(surfaces, words, strict=True)]


def test_a_tag_is_known_from_the_token_that_determines_it(hop: WordItems, chain: WordItems) -> None:
    for items in (hop, chain):
        known = dict(zip(TAGS, items.roles.known_from_NG[0].tolist(), strict=True))
        assert known["branch"] == 5, "the second line that leaves a2 begins there"
        assert known["leaf"] == known["distractor"] == 11, "Start: ends the map"
        assert {known[tag] for tag in TAGS if tag == "on_path" or tag.startswith("hop_")} == {14}


def test_a_tag_is_scored_only_from_there(hop: WordItems) -> None:
    for tag, first in {"branch": 5, "leaf": 11, "on_path": 14, "hop_1": 14}.items():
        assert hop.roles.scored(tag)[0].argmax() == first
        assert hop.roles.scored(tag)[0, first:].all()
    on_path = hop.roles.has("on_path")[0] & hop.roles.scored("on_path")[0]
    assert np.flatnonzero(on_path).tolist() == [16, 17, 18, 21]


def test_spans_index_the_full_text(hop: WordItems) -> None:
    item = with_spans(hop, 0)
    assert item.full.endswith("Target: a8 a6 a7 | answer a7")
    answer = item.spans[-1]
    assert (item.full[answer.start : answer.end], answer.surface) == ("a7", "answer")
    known = dict(zip(answer.tags, answer.known_from, strict=True))
    assert item.full[known["leaf"] :].startswith("Start:")
    assert item.full[known["hop_2"] :].startswith("2\nTarget:")


def test_a_planted_text_has_only_the_tags_that_it_determines() -> None:
    items = load_task("planted:k=2").items("train", 4, 0)
    for row in range(len(items)):
        item = with_spans(items, row)
        assert {tag for span in item.spans for tag in span.tags} == {"branch"}
        assert all(at < len(item.full) for span in item.spans for at in span.known_from)
    assert items.roles.has("leaf").any()
    assert not items.roles.has("on_path").any()
