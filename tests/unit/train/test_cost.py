from pathlib import Path

import pytest
import tiny_training as tiny

from rankscope.train.cost import estimate_seconds, measure_step_seconds


def test_a_shape_is_measured_once_and_counts_all_its_steps() -> None:
    asked = []

    def seconds(job: object) -> float:
        asked.append(job)
        return 0.5

    same = [tiny.copy_cell(Path("x"), "lora", seed=seed, lr=lr) for seed, lr in ((0, 1e-3), (1, 1e-2))]
    other = tiny.copy_cell(Path("x"), "full")
    # 30 steps each at half a second
    assert estimate_seconds([(same[0],), (other,), (same[1],)], seconds) == pytest.approx(45.0)
    assert len(asked) == 2
    assert estimate_seconds([(same[0],), (other,), (same[1],)], seconds, n_workers=2) == pytest.approx(22.5)


@pytest.mark.usefixtures("toy_skill")
@pytest.mark.parametrize("arm", ["lora", "full"])
def test_measuring_runs_real_steps(base_folder: Path, arm: str) -> None:
    assert 0 < measure_step_seconds((tiny.copy_cell(base_folder, arm),)) < 5


@pytest.mark.usefixtures("toy_skill")
def test_a_pack_is_measured_as_a_whole(base_folder: Path) -> None:
    cells = tuple(tiny.copy_cell(base_folder, "lora", lr=lr) for lr in (1e-3, 1e-2))
    assert 0 < measure_step_seconds(cells) < 5
