"""How cells are spread over a machine of a given size, with needs made up so that every case is told by hand."""

from pathlib import Path

import pytest
import tiny_training as tiny

from rankscope.base.errors import BadInput
from rankscope.lm.bases import load_base
from rankscope.train import threads
from rankscope.train.job import Job
from rankscope.train.memory import BatchShape
from rankscope.train.threads import choices, fastest_choice
from rankscope.train.work import GIB, USABLE, Fit, Room, Work, plan_workers, with_micro_batches

CELL = tiny.copy_cell(Path("x"), "lora")
CELL = CELL.override(budget=CELL.budget.model_dump() | {"batch_size": 24, "n_items": 48})


class MadeUp(Fit):
    """A process takes 1 GiB, and every item of a row another half; items have 128 tokens."""

    def need(self, cells, n_items):
        return GIB + len(cells) * n_items * GIB // 2

    def shape(self, cell):
        return BatchShape(cell.budget.batch_size, 128, 8)


def workers(gib, asked=None, most=4):
    return plan_workers(MadeUp(load_base), [CELL], Room(round(gib * GIB / USABLE), most), asked)


def test_workers_are_as_many_as_can_take_passes_of_512_tokens():
    # 4 items of 128 tokens: 3 GiB a worker
    assert workers(100) == 4
    assert workers(12.1) == 4
    assert workers(11.9) == 3
    assert workers(3.1) == 1
    assert workers(100, asked=2) == 2
    assert workers(5.9, asked=2) == 1
    assert workers(1.6) == 1  # one item at a time
    with pytest.raises(BadInput, match=r"rank 2 on x needs about 1.5 GiB even one item at a time, and 1.8 GiB are"):
        workers(1.4)


def test_passes_are_halved_until_they_fit():
    fit, job = MadeUp(load_base), Job((CELL,))
    for gib, n_items in ((13, None), (12.9, 12), (6.9, 6), (3.9, 3), (2.4, 2), (1.6, 1)):
        (made,) = with_micro_batches(fit, [job], gib * GIB)
        assert made == Job((CELL,), n_items)
    assert with_micro_batches(fit, [Job((CELL,), 5)], 100 * GIB) == (Job((CELL,), 5),)  # of an earlier plan


def test_a_pack_has_as_many_rows_as_fit():
    fit = MadeUp(load_base)
    assert [fit.most_rows([CELL] * 8, gib * GIB) for gib in (17.1, 16.9, 5.1, 4.9, 1)] == [8, 4, 2, 1, 1]
    assert fit.most_rows([CELL] * 7, 100 * GIB) == 7


def test_work_says_what_it_is():
    jobs = (Job((CELL,) * 3), Job((CELL,), 8), Job((CELL,), 4))
    assert Work(jobs, 2, 1, 3 * GIB, 8 * GIB).describe() == (
        "5 trainings, 3 of them in 1 pack, 2 in passes of 4 items or more; 2 workers of 1 thread, "
        "at most 3.0 GiB each of 8.0 free."
    )
    assert Work((Job((CELL,)),), 1, 2, GIB, 8 * GIB).describe() == (
        "1 training; 1 worker of 2 threads, at most 1.0 GiB of 8.0 free."
    )


def test_threads_are_chosen_by_what_was_measured_and_measured_once(tmp_path, monkeypatch):
    assert choices(4, 8) == [(4, 1), (2, 2), (1, 4)]
    assert choices(6, 2) == [(2, 1), (2, 2), (1, 4)]
    assert choices(2, 1) == [(1, 1), (1, 2)]
    asked = []

    def measured(build, jobs, n_workers):
        asked.append(n_workers)
        return iter([{2: slow_s, 1: 0.5}[n_workers]] * n_workers)

    monkeypatch.setattr(threads, "pool_events", measured)
    for slow_s, chosen in ((0.9, (2, 1)), (1.05, (2, 1)), (1.2, (1, 2))):
        folder = tmp_path / str(slow_s)
        assert fastest_choice(Job((CELL,)), 0.1, choices(2, 2), "cpu", "auto", folder) == chosen
        assert fastest_choice(Job((CELL,)), 0.1, choices(2, 2), "cpu", "auto", folder) == chosen
    assert asked == [2, 1] * 3
