"""Seconds of recording an adapter's state against the forward pass of the same adapted model and batch, as JSON.

The forward pass is timed with its head, as scoring runs it, and without. Recording runs no head, takes all scalars and
puts them in place (`recorded`), and writes them as a shard too (`recorded to disk`). Arms take turns within a round,
and ratios are taken within a round. The aim: recorded to disk at most 1.2 x the forward pass.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.atomic import write_json
from rankscope.base.machine import git_state, machine_facts
from rankscope.base.timing import seconds
from rankscope.bench.cases import CASES, Case
from rankscope.capture.channels import adapter_channels
from rankscope.capture.recorder import capture_spec, reading, shard_state
from rankscope.capture.store import write_shard
from rankscope.capture.tokens import item_names, tokens_of
from rankscope.engine.model import adapted, adapter_ops
from rankscope.lm.read_decoder import read_decoder
from rankscope.lm.sites import linear_sites

HERE = Path(__file__).parent
FORWARD, BARE, RECORDED, WRITTEN = "forward with head", "forward without head", "recorded", "recorded to disk"
NAMES = ("tiny-gpt2 all maps", "gpt2-small all maps")
Arm = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One arm of one case; seconds per batch."""

    case: str
    arm: str
    n_tokens: int
    n_columns: int
    seconds: float
    low: float
    high: float
    """Quartiles over rounds."""
    ratio_to_forward: float
    """Median over rounds, to the pass with its head."""
    ratio_to_bare: float
    """To the pass without it."""


def main() -> None:
    """Times every case and writes one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "capture.json")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--rank", type=int, default=1)
    parser.add_argument("--items", type=int, help="items of a batch; the case's own by default")
    parser.add_argument("--cases", nargs="*", default=list(NAMES))
    asked = parser.parse_args()
    rows = [row for name in asked.cases for row in run_case(CASES[name], asked.rank, asked.repeats, asked.items)]
    facts: dict[str, object] = {**machine_facts(), "git": git_state(HERE), "threads": torch.get_num_threads()}
    write_json(asked.out, {"facts": facts, "rank": asked.rank, "rows": [vars(row) for row in rows]})


def run_case(case: Case, rank: int, repeats: int, n_items: int | None = None) -> list[Row]:
    """All arms of one case, in turns, after a first pass of each; on the case's batch unless told how many items."""
    n_items = case.batch_size if n_items is None else min(n_items, len(case.items))
    with tempfile.TemporaryDirectory() as folder, arms_of(case, rank, n_items, Path(folder)) as arms:
        for arm in arms.values():
            arm()
        rounds = []
        for number in range(repeats):
            names = list(arms) if number % 2 == 0 else list(arms)[::-1]
            rounds.append({name: seconds(arms[name]) for name in names})
    n_columns = rank * len(linear_sites(case.base.model))
    return [_row(case, name, rounds, n_items, n_columns) for name in arms]


@contextmanager
def arms_of(case: Case, rank: int, n_items: int, folder: Path) -> Iterator[dict[str, Arm]]:
    """What is timed, on one batch of the case."""
    model, items = case.base.model, case.items.take(slice(n_items))
    weights = random_adapter(case, rank)
    channels = adapter_channels(model, weights)
    spec = capture_spec(case.base, weights, items, None, channels, "adapter", 0, "float32")
    ids_NT = torch.from_numpy(items.tokens_NT.astype(np.int64))
    decoder, ops = read_decoder(model), adapter_ops(weights, next(model.parameters()))
    with torch.no_grad(), adapted(model, weights) as with_head, reading(model, weights, channels) as read:
        record = partial(shard_state, read, items, spec)
        count = iter(range(10**9))
        yield {
            FORWARD: lambda: with_head(input_ids=ids_NT),
            BARE: lambda: decoder.forward(ids_NT, site_ops=ops),
            RECORDED: record,
            WRITTEN: lambda: write_shard(folder, next(count), record(), tokens_of(items, None, item_names(items))),
        }


def random_adapter(case: Case, rank: int) -> AdapterWeights:
    """Random factors at every map."""
    draw = torch.Generator().manual_seed(0)
    shapes = linear_sites(case.base.model)
    return AdapterWeights(
        {
            site: Factors(torch.randn(rank, n_in, generator=draw), 0.01 * torch.randn(n_out, rank, generator=draw), 1.0)
            for site, (n_out, n_in) in shapes.items()
        }
    )


def _row(case: Case, name: str, rounds: list[dict[str, float]], n_items: int, n_columns: int) -> Row:
    times = sorted(one[name] for one in rounds)
    return Row(
        case=case.name,
        arm=name,
        n_tokens=n_items * case.n_tokens,
        n_columns=n_columns,
        seconds=statistics.median(times),
        low=times[len(times) // 4],
        high=times[-1 - len(times) // 4],
        ratio_to_forward=statistics.median(one[name] / one[FORWARD] for one in rounds),
        ratio_to_bare=statistics.median(one[name] / one[BARE] for one in rounds),
    )


if __name__ == "__main__":
    main()
