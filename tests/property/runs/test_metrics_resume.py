"""Wherever a metrics file is cut, resuming keeps exactly its complete rows up to the resume step."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rankscope.runs.metrics import MetricsLog, read_metrics

LOSSES = st.floats(allow_nan=True, allow_infinity=True)
NOTES = st.text(max_size=6)
ROWS = st.lists(st.tuples(st.integers(0, 3), LOSSES, NOTES), max_size=12)


def steps_of(rows: list[tuple[int, float, str]]) -> list[int]:
    """Ascending steps, with repeats, from increments."""
    return [sum(row[0] for row in rows[: n + 1]) for n in range(len(rows))]


@settings(deadline=None)
@given(rows=ROWS, data=st.data())
def test_a_cut_log_resumes_to_the_same_bytes(rows: list[tuple[int, float, str]], data: st.DataObject) -> None:
    steps = steps_of(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metrics.jsonl")
        with MetricsLog(path, None) as log:
            for step, (_, loss, note) in zip(steps, rows, strict=True):
                log.write(step, loss_nats=loss, note=note)
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        assert len(lines) == len(rows)
        cut = data.draw(st.integers(0, len(whole)))
        resume_step = data.draw(st.integers(-1, 40))
        path.write_bytes(whole[:cut])
        n_complete = sum(len(b"".join(lines[: n + 1])) <= cut for n in range(len(lines)))
        kept = [n for n in range(n_complete) if steps[n] <= resume_step]
        with MetricsLog(path, resume_step) as log:
            assert path.read_bytes() == b"".join(lines[n] for n in kept)
            assert read_metrics(path).get_column("step").to_list() == [steps[n] for n in kept]
            for n in range(len(kept), len(rows)):
                log.write(steps[n], loss_nats=rows[n][1], note=rows[n][2])
        assert path.read_bytes() == whole
