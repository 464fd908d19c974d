import pytest

from rankscope.train.cell import OptimiserSpec
from rankscope.train.schedule import lr_at


def test_rises_to_the_peak_then_falls_to_zero() -> None:
    spec = OptimiserSpec(lr=1.0, warmup_frac=0.2)
    assert [lr_at(step, 10, spec) for step in range(10)] == pytest.approx(
        [0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )


def test_without_warm_up_starts_at_the_peak() -> None:
    spec = OptimiserSpec(lr=2.0, warmup_frac=0.0)
    assert [lr_at(step, 4, spec) for step in range(4)] == [2.0, 1.5, 1.0, 0.5]
