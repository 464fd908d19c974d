"""The benchmark at a size that proves nothing but that it runs, and that every arm trains the same."""

import pytest
import torch

from rankscope.bench.arms import peft_with_trainer
from rankscope.bench.cases import CASES
from rankscope.bench.run import TRAINER, TUNED, Wanted, charged, run_case


@pytest.mark.slow
def test_every_arm_is_timed_beside_the_others():
    case = CASES["smoke"]
    rows = charged(run_case(case, n_rows=2, repeats=2), case)
    arms = [row.arm for row in rows]
    each = torch.get_num_threads()
    assert arms[:4] == [TRAINER, TUNED, f"A4 as A3, {each} processes", "ours, all switches off"]
    assert arms[-2:] == [f"ours, {each} processes", "ours, packed"]
    for row in rows:
        assert row.low <= row.seconds_per_step <= row.high
        assert row.ratio_to_A1 > 0
        assert row.charged_ratio_to_A1 > 0
        assert (row.roofline_fraction is not None) == row.arm.startswith("ours")
    assert rows[0].ratio_to_A1 == 1
    assert rows[1].ratio_to_A3 == 1


def test_arms_can_be_left_out():
    rows = run_case(CASES["smoke"], n_rows=2, repeats=2, wanted=Wanted(trainer=False, processes=False, ladder=False))
    found = [(row.arm, row.n_rows) for row in rows if row.arm != "ours + probed precision"]  # a matter of the machine
    assert found == [(TUNED, 1), ("ours, all switches on", 1), ("ours, packed", 2)]
    assert all(row.roofline_fraction for row in rows[1:])


def test_the_trainer_takes_a_step_when_it_is_told_to():
    with peft_with_trainer(CASES["smoke"], "eager") as step:
        step()
        threads = torch.get_num_threads()
        step()
    assert torch.get_num_threads() == threads
