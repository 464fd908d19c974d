"""Seconds of a training step by passes of like length, and of the whole batch at once, as JSON.

Batches of our mix of reasoning traces, whose items differ in length, and of twin prompts, whose items hardly do; and of
random tokens for GPT-2-small's shape, with the spread of lengths that text has. On one thread, as studies train. Both
ways run the same arm on the same batch, one after the other, and ratios are taken batch by batch.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from rankscope.base.atomic import write_json
from rankscope.base.machine import git_state, machine_facts
from rankscope.base.timing import seconds
from rankscope.bench.cases import CASES
from rankscope.engine.switches import ALL_ON
from rankscope.lm.bases import Base, load_base
from rankscope.tasks.catalog import load_items
from rankscope.tasks.encoded import EncodedItems
from rankscope.train.batches import Batch, batch_stream
from rankscope.train.cell import ArmSpec, Budget, FullSpec, LoraSpec
from rankscope.train.kinds import passes_of
from rankscope.train.loop_arms import build_loop_arm
from rankscope.train.loss import answer_loss
from rankscope.train.training import add_gradients

HERE = Path(__file__).parent
CPU = torch.device("cpu")
ARMS: tuple[ArmSpec, ...] = (LoraSpec(rank=1), FullSpec())
TEXT_LENGTHS = "log-normal lengths: median 140, one standard deviation a factor of 1.5, 32 to 512"


@dataclass(frozen=True)
class Setting:
    """A base and items for it, as many as asked for."""

    base: Base
    items: Callable[[int], EncodedItems]
    task: str
    batch_size: int
    arms: tuple[ArmSpec, ...]


def settings() -> Iterator[Setting]:
    """What is timed, in turn."""
    for name, task in (
        ("tiny-qwen2", "reasoning"),
        ("tiny-gpt2", "hashchain:mode=matched,asked=path,lines=8,chains=2,max_length=5,hops=2"),
    ):
        base = load_base(name)
        yield Setting(base, partial(load_items, task, "train", data_seed=0, tokenizer=base.tokenizer), task, 64, ARMS)
    small = replace(CASES["gpt2-small all maps"], n_tokens=512).base
    yield Setting(small, random_text, TEXT_LENGTHS, 16, ARMS[:1])


def random_text(n_items: int) -> EncodedItems:
    """Random tokens; a quarter of each item is its completion."""
    rng = np.random.default_rng(0)
    length_N = np.exp(rng.normal(np.log(140), np.log(1.5), n_items)).clip(32, 512).astype(int)
    tokens_NT = rng.integers(0, 50257, (n_items, 512))
    return EncodedItems(TEXT_LENGTHS, "train", tokens_NT, length_N * 3 // 4, length_N, length_N - 2, length_N - 1)


@dataclass(frozen=True)
class Row:
    """One arm on one task; medians over batches."""

    base: str
    task: str
    arm: str
    n_items: int
    tokens_whole: float
    """Read at once, padding included."""
    tokens_by_length: float
    passes: float
    seconds_whole: float
    seconds_by_length: float
    ratio: float
    """Whole / by length."""
    low: float
    high: float
    """Quartiles over batches."""


def main() -> None:
    """Times every arm on every task and writes one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "by_length.json")
    parser.add_argument("--repeats", type=int, default=9, help="batches")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = [run(setting, arm, asked.repeats) for setting in settings() for arm in setting.arms]
    facts: dict[str, object] = {**machine_facts(), "git": git_state(HERE), "threads": torch.get_num_threads()}
    write_json(asked.out, {"facts": facts, "rows": [vars(row) for row in rows]})


def run(setting: Setting, spec: ArmSpec, repeats: int) -> Row:
    """Both ways, batch by batch, after one step of each."""
    budget = Budget(n_items=setting.batch_size * (repeats + 1), batch_size=setting.batch_size)
    batch_at = batch_stream(setting.items(budget.n_items), budget, 0, CPU)
    arm = build_loop_arm(setting.base, spec, 0)
    whole, apart = (passes_of("loop", CPU, None, switches) for switches in (replace(ALL_ON, by_length=False), ALL_ON))

    def step(batch: Batch, *, cut: bool) -> Callable[[], object]:
        return lambda: add_gradients(arm, batch, answer_loss, nullcontext(), apart if cut else whole)

    times = []
    for number in range(repeats + 1):
        batch = batch_at(number)
        order = (False, True) if number % 2 else (True, False)
        times.append({cut: seconds(step(batch, cut=cut)) for cut in order})
    batches = [batch_at(number) for number in range(1, repeats + 1)]
    ratios = [one[False] / one[True] for one in times[1:]]
    low, middle, high = statistics.quantiles(ratios, n=4)
    parts = [[part for part, _ in batch.parts(apart)] for batch in batches]
    return Row(
        setting.base.name,
        setting.task,
        spec.label,
        setting.batch_size,
        tokens_whole=statistics.median(batch.tokens_NT.numel() for batch in batches),
        tokens_by_length=statistics.median(sum(part.tokens_NT.numel() for part in cut) for cut in parts),
        passes=statistics.median(len(cut) for cut in parts),
        seconds_whole=statistics.median(one[False] for one in times[1:]),
        seconds_by_length=statistics.median(one[True] for one in times[1:]),
        ratio=middle,
        low=low,
        high=high,
    )


if __name__ == "__main__":
    main()
