"""What a training says of its time before it starts."""

import pytest

from rankscope.base.seeds import Seeds
from rankscope.cli.train import tell_cost
from rankscope.train.cell import Budget, Cell, LoraSpec, OptimiserSpec


class FakeExecutor:
    """Says how long a step takes."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s

    def plan(self, cells: list[Cell]) -> list[Cell]:
        return cells

    def estimate_seconds(self, work: list[Cell]) -> float:
        return self.step_s * sum(cell.budget.n_steps for cell in work)


@pytest.mark.parametrize(("step_s", "said"), [(7.2, "100 steps: about 12 min.\n"), (0.5, "")])
def test_only_what_takes_over_a_minute_is_told(capsys, step_s, said):
    cell = Cell(
        base="b",
        task="hashhop",
        arm=LoraSpec(),
        optimiser=OptimiserSpec(lr=1e-3),
        budget=Budget(n_items=6400),
        seeds=Seeds.all(0),
    )
    tell_cost(FakeExecutor(step_s), cell)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", said)
