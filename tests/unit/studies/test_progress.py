"""Progress in plain lines, where nobody watches a terminal."""

import pytest

from rankscope.studies import progress
from rankscope.studies.progress import meter, minutes


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands at `now[0]`."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_at_the_start_and_then_every_half_minute(clock, capsys):
    with meter("training", 8) as bar:
        bar.advance(1)
        clock[0] = 140.0
        bar.advance(1)
        bar.advance(1)
        clock[0] = 160.0
        bar.advance(1)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["training ...", "training: 25%, about 2 min left"]
    assert printed.out == ""


def test_what_was_found_done_does_not_shorten_the_time_left(clock, capsys):
    with meter("training", 10) as bar:
        clock[0] = 140.0
        bar.advance(6, was_found=True)
        clock[0] = 180.0
        bar.advance(1)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "training: 60%",
        "training: 70%, about 4 min left",  # 3 units of 80 s
    ]


def test_no_work_is_no_error(clock, capsys):
    with meter("scoring", 0) as bar:
        clock[0] = 200.0
        bar.advance(0)
    assert "scoring: 0%" in capsys.readouterr().err


def test_times_in_words():
    assert [minutes(s) for s in (3.4, 89, 120, 5399, 9000)] == ["3 s", "89 s", "2 min", "90 min", "2.5 h"]
