"""Every case of the engine's benchmark at one and at eight adapters, as JSON with machine and commit."""

import argparse
from pathlib import Path

import torch

from rankscope.base.machine import git_state, machine_facts
from rankscope.bench.cases import CASES
from rankscope.bench.run import charged, run_case, write_rows

HERE = Path(__file__).parent


def main() -> None:
    """Writes after every case, so that an interrupted run keeps what it measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "engine.json")
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    facts: dict[str, object] = {**machine_facts(), "git": git_state(HERE), "threads": torch.get_num_threads()}
    rows = []
    for name, case in CASES.items():
        if name == "smoke":
            continue
        for n_rows in (1, 8):
            rows += charged(run_case(case, n_rows, asked.repeats), case)
            write_rows(asked.out, rows, facts)


if __name__ == "__main__":
    main()
