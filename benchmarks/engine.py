"""The cases of the engine's benchmark at one and at eight adapters, as JSON with machine and commit.

At the shape of GPT-2-small eight adapters take an hour per case, so only those whose lowest site is high are run so;
`--adapters 8 --cases NAME --no-ladder` runs another in minutes. All maps of GPT-2-small with every arm at once take
more than 24 GiB; `--no-processes` leaves out the arms that hold models of their own.
"""

import argparse
from pathlib import Path

import torch

from rankscope.base.machine import git_state, machine_facts
from rankscope.bench.cases import CASES
from rankscope.bench.run import Wanted, charged, run_case, write_rows

HERE = Path(__file__).parent
LONG = ("gpt2-small c_proj", "gpt2-small all maps")


def main() -> None:
    """One file per case and number of adapters, so that an interrupted run keeps what it measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "engine", help="folder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="*", default=[name for name in CASES if name != "smoke"])
    parser.add_argument("--adapters", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--no-processes", dest="processes", action="store_false", help="no arms that hold models more")
    parser.add_argument("--no-ladder", dest="ladder", action="store_false", help="our switches all at once")
    asked = parser.parse_args()
    wanted = Wanted(processes=asked.processes, ladder=asked.ladder)
    for n_rows in asked.adapters:
        for name in asked.cases:
            if n_rows > 1 and name in LONG and len(asked.cases) > 1:
                continue
            rows = charged(run_case(CASES[name], n_rows, asked.repeats, wanted), CASES[name])
            facts: dict[str, object] = {**machine_facts(), "git": git_state(HERE), "threads": torch.get_num_threads()}
            write_rows(asked.out / f"{name.replace(' ', '_')}_x{n_rows}.json", rows, facts)


if __name__ == "__main__":
    main()
