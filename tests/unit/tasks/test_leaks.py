"""Our maps do not leak; P1's distribution does, and the check shows it."""

import pytest

from rankscope.base.errors import BadInput
from rankscope.tasks.catalog import load_task
from rankscope.tasks.leaks import MIN_ITEMS, leak_check


@pytest.mark.parametrize("mode", ["direct", "trace", "matched"])
@pytest.mark.parametrize("name", ["hashhop", "hashchain"])
def test_twin_maps_do_not_leak(name: str, mode: str) -> None:
    found = leak_check(load_task(f"{name}:mode={mode}"), MIN_ITEMS)
    assert len(found) == 5
    assert [leak.shortcut for leak in found if leak.leaks] == []
    assert all(leak.accuracy <= leak.upper for leak in found)


def test_p1s_line_count_gives_the_shortest_length_away() -> None:
    found = {leak.shortcut: leak for leak in leak_check(load_task("hashchain:preset=p1"), MIN_ITEMS)}
    leak = found["number of lines -> shortest length"]
    assert (leak.accuracy, leak.leaks) == (1.0, True)
    assert leak.majority < 0.5


def test_too_few_items_are_refused() -> None:
    with pytest.raises(BadInput, match="1,000"):
        leak_check(load_task("hashhop"), 999)


def test_without_answers_at_leaves_there_is_no_shortcut_from_leaves() -> None:
    found = leak_check(load_task("hashhop:end=inside"), 1000)
    assert len(found) == 4
    assert not any("leaves ->" in leak.shortcut and "which leaf" in leak.shortcut for leak in found)
