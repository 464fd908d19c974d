"""Names of tasks, and what they refuse."""

import pytest
from plain_maps import read_prompt, solve

from rankscope.base.errors import BadInput, UnknownName
from rankscope.tasks.catalog import load_task, split_name
from rankscope.tasks.planted import MAP_KNOBS
from rankscope.tasks.planted_spec import PlantedSpec
from rankscope.tasks.text import text_items
from rankscope.tasks.twins import TwinTask


def test_knobs_are_read_from_the_name() -> None:
    task = load_task("hashchain:mode=matched,lines=16")
    assert isinstance(task, TwinTask)
    assert (task.question, task.knobs.mode, task.knobs.lines) == ("chain", "matched", 16)
    assert split_name("a:b=1,c=2") == ("a", {"b": "1", "c": "2"})


def test_shuffled_is_hashchain_unless_told_otherwise() -> None:
    null, hop = load_task("shuffled"), load_task("shuffled:of=hashhop,mode=trace")
    assert (null.question, null.knobs.labels) == ("chain", "shuffled")
    assert (hop.question, hop.knobs.labels, hop.knobs.mode) == ("hop", "shuffled", "trace")


def test_the_p1_preset_is_the_papers_distribution() -> None:
    """Shortest 2: three of the lengths 3 to 6, so 10 to 13 lines; 3: all of 4 to 6; 4: 5s and 6s; 5: 6s alone."""
    texts = text_items(load_task("hashchain:preset=p1").items("test", 2000, 0))
    maps = [read_prompt(text.prompt) for text in texts]
    assert {(len(solve(asked)[1]), len(asked.edges)) for asked in maps} == {
        *((2, lines) for lines in (10, 11, 12, 13)),
        (3, 14),
        *((4, lines) for lines in (15, 16, 17, 18)),
        (5, 19),
    }
    assert {len(asked.chains(asked.start)) for asked in maps} == {4}
    assert {len(node) for asked in maps for node in asked.nodes} == {4}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("hashhopp", UnknownName, "hashhop"),
        ("hashhop:mod=direct", UnknownName, "mode"),
        ("hashhop:mode=drect", BadInput, "Knob mode"),
        ("hashhop:mode", BadInput, "key=value"),
        ("hashhop:hops=1,hops=2", BadInput, "each once"),
        ("hashhop:lines=3", BadInput, "at least 12 lines"),
        ("hashchain:lines=6,distractors=0,max_length=3", BadInput, "distractors >= 1"),
        ("hashchain:lines=none", BadInput, "distractors=0"),
        ("hashhop:symbols=200", BadInput, "128 symbols"),
        ("hashhop:lines=60,symbols=40", BadInput, "only 40 symbols"),
        ("hashhop:preset=p1", BadInput, "HashChain alone"),
        ("hashhop:preset=p2", UnknownName, "only preset"),
        ("planted:k=0", BadInput, "Knob k"),
        ("planted:strenght=1", UnknownName, "strength"),
        ("planted:lines=3", BadInput, "at least 12 lines"),
        ("planted:lines=many", BadInput, "Knob lines"),
    ],
)
def test_bad_names_are_refused_at_once(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_task(name)


def test_lines_without_distractors_must_be_what_the_chains_come_to() -> None:
    items = load_task("hashchain:lines=5,distractors=0,max_length=3,hops=1,end=leaf,mode=matched").items("test", 50, 0)
    assert set(items.groups["n_lines"]) == {5}


def test_questions_without_a_map_are_refused_with_the_reason() -> None:
    with pytest.raises(BadInput, match="hops <= max_length - 2"):
        load_task("hashhop:hops=9").items("train", 1, 0)
    for n, start in ((0, 0), (1, -1)):
        with pytest.raises(BadInput, match="At least one item"):
            load_task("hashhop").items("train", n, 0, start)


def test_a_planted_tasks_knobs_are_its_maps_or_its_teachers() -> None:
    assert not set(MAP_KNOBS) & set(PlantedSpec.model_fields)
