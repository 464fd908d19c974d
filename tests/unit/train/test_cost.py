from pathlib import Path

import pytest
import tiny_training as tiny

from rankscope.train.cost import estimate_seconds, job_shape, measure_step_seconds
from rankscope.train.job import Job


def test_steps_of_a_shape_take_equally_long() -> None:
    same = [tiny.copy_cell(Path("x"), "lora", seed=seed, lr=lr) for seed, lr in ((0, 1e-3), (1, 1e-2))]
    jobs = [Job((cell,)) for cell in (*same, tiny.copy_cell(Path("x"), "full"))]
    shapes = [job_shape(job) for job in jobs]
    assert shapes[0] == shapes[1] != shapes[2]
    assert job_shape(Job((same[0],), 4)) != shapes[0]
    # 30 steps each
    assert estimate_seconds(jobs, {shapes[0]: 0.5, shapes[2]: 1.0}) == pytest.approx(60.0)


@pytest.mark.usefixtures("toy_skill")
@pytest.mark.parametrize(("arm", "micro_batch"), [("lora", None), ("full", 3)])
def test_measuring_runs_real_steps(base_folder: Path, arm: str, micro_batch: int | None) -> None:
    assert 0 < measure_step_seconds(Job((tiny.copy_cell(base_folder, arm),), micro_batch)) < 5


@pytest.mark.usefixtures("toy_skill")
def test_a_pack_is_measured_as_a_whole(base_folder: Path) -> None:
    cells = tuple(tiny.copy_cell(base_folder, "lora", lr=lr) for lr in (1e-3, 1e-2))
    assert 0 < measure_step_seconds(Job(cells)) < 5
