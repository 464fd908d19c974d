"""Times the arms of a case side by side and says what each is worth against today's practice."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from rankscope.base.atomic import write_json
from rankscope.base.machine import machine_facts
from rankscope.base.paths import cache_root
from rankscope.base.precision import FP32, PrecisionPlan
from rankscope.base.timing import seconds
from rankscope.bench.arms import Step, in_processes, our_loop, our_pack, pass_items, peft_with_trainer, tuned_peft
from rankscope.bench.cases import Case
from rankscope.engine.prefix import RECENT
from rankscope.engine.probe import Shape, cached_probe
from rankscope.engine.switches import ALL_ON, Switches
from rankscope.lm.read_decoder import read_decoder

Choice = TypeVar("Choice")
TRAINER, TUNED = "A1 PEFT + Trainer", "A3 tuned PEFT loop"
OFF = Switches(head_rows=False, trim=False, prefix=False, own_backward=False, stop=False)
LADDER = ("stop", "head_rows", "trim", "own_backward", "prefix")
"""Our switches in the order in which the benchmark adds them."""


@dataclass(frozen=True)
class Wanted:
    """Which arms are timed."""

    trainer: bool = True
    processes: bool = True
    """Those in processes of their own, which hold as many models more."""
    ladder: bool = True
    """Our switches one by one; else all at once, and of adapters that train one after another only the first."""


EVERY_ARM = Wanted()


@dataclass(frozen=True)
class Row:
    """One arm of one case. Seconds are per step of one adapter."""

    case: str
    arm: str
    n_rows: int
    seconds_per_step: float
    low: float
    high: float
    """Quartiles over repetitions."""
    ratio_to_A1: float | None
    ratio_to_A3: float | None
    """Medians of ratios within a repetition."""
    charged_ratio_to_A1: float | None
    """With set-up and cache-building, over the case's epochs."""
    break_even_steps: float | None
    """Steps after which set-up and cache-building have paid off against the Trainer; None if they never do."""
    roofline_fraction: float | None
    """Arithmetic of the step over what the matrix rate measured here would do in its time."""
    setup_s: float
    first_pass_s: float
    """Extra seconds of the first pass over the items, when caches are filled."""
    note: str
    machine: str


@dataclass(frozen=True)
class Timed:
    """An arm with what it took."""

    name: str
    n_rows: int
    step: Step
    setup_s: float
    note: str = ""
    elsewhere: bool = False
    """In processes of its own, where nothing can be counted."""


def run_case(case: Case, n_rows: int, repeats: int = 5, wanted: Wanted = EVERY_ARM) -> list[Row]:
    """Times arms of a case for `n_rows` adapters, one step of each in turn, `repeats` times after a first pass."""
    with contextlib.ExitStack() as stack:
        arms = list(_arms(case, n_rows, wanted, stack))
        first = {arm.name: [seconds(arm.step) for _ in range(case.n_batches)] for arm in arms}
        rounds: list[dict[str, float]] = []
        for number in range(repeats):
            turn = arms if number % 2 == 0 else arms[::-1]
            rounds.append({arm.name: seconds(arm.step) / arm.n_rows for arm in turn})
        rate = matrix_rate(case)
        flops = 0.0
        rows = []
        for arm in arms:
            if arm.name.startswith("ours") and not arm.elsewhere:  # processes do what the arm before them does
                flops = _flops(arm.step) / arm.n_rows
            rows.append(_row(case, arm, rounds, sum(first[arm.name]), flops, rate))
        return rows


def _arms(case: Case, n_packed: int, wanted: Wanted, stack: contextlib.ExitStack) -> Iterator[Timed]:
    n_rows = n_packed if wanted.ladder else 1
    if wanted.trainer:
        kernel = _fastest(("eager", "sdpa"), lambda kernel: tuned_peft(case, 1, kernel, autocast=False))
        held = peft_with_trainer(case, kernel)
        yield _timed(TRAINER, 1, lambda: stack.enter_context(held), f"{kernel} attention, one adapter at a time")
    choices = [(kernel, autocast) for kernel in ("eager", "sdpa") for autocast in (False, True)]
    kernel, autocast = _fastest(choices, lambda choice: tuned_peft(case, 1, *choice))
    note = f"{kernel} attention, {'bf16' if autocast else 'fp32'}"
    yield _timed(TUNED, n_rows, lambda: tuned_peft(case, n_rows, kernel, autocast), note)
    if wanted.processes:
        yield _crew("A4 as A3", partial(tuned_peft, kernel=kernel, autocast=autocast), case, note, stack)
    for name, switches in _rungs(wanted.ladder):
        yield _timed(name, n_rows, partial(our_loop, case, n_rows, switches), "fp32")
    plan = _plan(case)
    if plan != FP32:
        yield _timed("ours + probed precision", n_rows, lambda: our_loop(case, n_rows, plan=plan), plan.name)
    if wanted.processes:
        yield _crew("ours", partial(our_loop, plan=plan), case, plan.name, stack)
    if n_packed > 1:
        n_items = pass_items(case, n_packed)
        note = "fp32" if n_items == case.batch_size else f"fp32, passes of {n_items} items of each adapter"
        yield _timed("ours, packed", n_packed, lambda: our_pack(case, n_packed, n_items), note)


def _crew(name: str, build: Callable[[Case, int], Step], case: Case, note: str, stack: contextlib.ExitStack) -> Timed:
    """An arm in as many one-thread processes as there are threads."""
    each = torch.get_num_threads()
    held = in_processes(build, case, each)
    timed = _timed(f"{name}, {each} processes", each, lambda: stack.enter_context(held), f"{note}, one thread each")
    return replace(timed, elsewhere=True)


def _rungs(ladder: bool) -> Iterator[tuple[str, Switches]]:
    """Our switches added one by one, or all of them at once."""
    if not ladder:
        yield "ours, all switches on", ALL_ON
        return
    switches = OFF
    yield "ours, all switches off", OFF
    for switch in LADDER:
        switches = Switches(**asdict(switches) | {switch: True})
        yield f"ours + {switch}", switches


def _timed(name: str, n_rows: int, build: Callable[[], Step], note: str) -> Timed:
    RECENT.forget()  # every arm pays for its own caches
    started = time.perf_counter()
    step = build()
    return Timed(name, n_rows, step, time.perf_counter() - started, note)


def _fastest(choices: Sequence[Choice], build: Callable[[Choice], Step]) -> Choice:
    """The choice whose second step is the shortest."""
    found: dict[Choice, float] = {}
    for choice in choices:
        step = build(choice)
        step()
        found[choice] = seconds(step)
    return min(found, key=lambda choice: found[choice])


def _plan(case: Case) -> PrecisionPlan:
    shape = Shape.of(read_decoder(case.base.model), case.batch_size, case.n_tokens)
    return cached_probe(shape, torch.device("cpu"), cache_root()).plan


def _flops(step: Step) -> int:
    """Multiplications and additions of a step's matrix products."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def matrix_rate(case: Case, repeats: int = 5) -> float:
    """Operations per second of the MLP's product in the fastest format here."""
    rates = []
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(case.batch_size * case.n_tokens, case.d_model).to(dtype)
        weight = torch.randn(4 * case.d_model, case.d_model).to(dtype)
        times_s = [seconds(partial(F.linear, x, weight)) for _ in range(repeats)]
        rates.append(2 * x.numel() * len(weight) / statistics.median(times_s))
    return max(rates)


def _row(case: Case, arm: Timed, rounds: list[dict[str, float]], first_pass_s: float, flops: float, rate: float) -> Row:
    times = sorted(one[arm.name] for one in rounds)
    median = statistics.median(times)
    first_extra_s = max(0.0, first_pass_s / arm.n_rows - case.n_batches * median)
    return Row(
        case=case.name,
        arm=arm.name,
        n_rows=arm.n_rows,
        seconds_per_step=median,
        low=times[len(times) // 4],
        high=times[-1 - len(times) // 4],
        ratio_to_A1=_ratio(rounds, TRAINER, arm.name),
        ratio_to_A3=_ratio(rounds, TUNED, arm.name),
        charged_ratio_to_A1=None,
        break_even_steps=None,
        roofline_fraction=flops / (median * rate) if arm.name.startswith("ours") else None,
        setup_s=arm.setup_s / arm.n_rows,
        first_pass_s=first_extra_s,
        note=arm.note,
        machine=str(machine_facts()["cpu"]),
    )


def _ratio(rounds: list[dict[str, float]], against: str, name: str) -> float | None:
    if against not in rounds[0]:
        return None
    return statistics.median(one[against] / one[name] for one in rounds)


def charged(rows: Sequence[Row], case: Case) -> list[Row]:
    """The rows with set-up and first pass charged over the case's epochs, and when they have paid off.

    Not those of ours that were timed for one adapter of several: the others would find its caches filled.
    """
    today = next((row for row in rows if row.arm == TRAINER), None)
    if today is None:
        return list(rows)
    n_steps, most = case.n_batches * case.n_epochs, max(row.n_rows for row in rows)
    return [
        row
        if _is_one_of_several(row, most)
        else replace(
            row,
            charged_ratio_to_A1=_total_s(today, n_steps) / _total_s(row, n_steps),
            break_even_steps=_break_even(row, today),
        )
        for row in rows
    ]


def _is_one_of_several(row: Row, most: int) -> bool:
    return row.arm.startswith("ours") and "processes" not in row.arm and row.n_rows < most


def _total_s(row: Row, n_steps: float) -> float:
    return row.setup_s + row.first_pass_s + n_steps * row.seconds_per_step


def _break_even(row: Row, today: Row) -> float | None:
    ahead_s = _total_s(today, 0) - _total_s(row, 0)
    saved_s = today.seconds_per_step - row.seconds_per_step
    if ahead_s >= 0:
        return 0.0 if saved_s >= 0 else None
    return -ahead_s / saved_s if saved_s > 0 else None


def write_rows(path: Path, rows: Sequence[Row], facts: dict[str, object]) -> None:
    """Rows with machine and commit, as JSON."""
    write_json(path, {"facts": facts, "rows": [asdict(row) for row in rows]})
