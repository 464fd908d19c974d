"""A toy skill on the tiny base, for the tests of training; as a script, trainings that may kill themselves."""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rankscope.base.seeds import Seeds, numpy_stream
from rankscope.base.vocabulary import ID, PAD, STOP, SYMBOL_IDS
from rankscope.tasks.encoded import EncodedItems
from rankscope.train import materials
from rankscope.train.cell import ArmSpec, Budget, Cell, DenseSpec, FullSpec, LoraSpec, OptimiserSpec

ARMS: dict[str, ArmSpec] = {
    "lora": LoraSpec(rank=2, placement=("*.c_fc", "*.c_proj")),
    "dropout": LoraSpec(rank=2, dropout=0.2),
    "dense": DenseSpec(placement=("*.mlp.c_proj",)),
    "full": FullSpec(),
}


def copy_items(task: str, split: str, n: int, data_seed: int, tokenizer: Any) -> EncodedItems:
    """N items: 2 to 5 symbols, `answer`, the same symbols, stop. Item i depends on (data seed, i)."""
    lengths_N, tokens_NT = np.zeros(n, dtype=np.int64), np.full((n, 12), ID[PAD], dtype=np.int64)
    for index in range(n):
        stream = numpy_stream("copy", split, data_seed, index)
        lengths_N[index] = stream.integers(2, 6)
        words = stream.choice(SYMBOL_IDS[:20], size=lengths_N[index])
        tokens_NT[index, : 2 * len(words) + 2] = [*words, ID["answer"], *words, ID[STOP]]
    return EncodedItems(
        task=task,
        split=split,
        tokens_NT=tokens_NT,
        n_prompt_N=lengths_N + 1,
        n_tokens_N=2 * lengths_N + 2,
        answer_start_N=lengths_N + 1,
        answer_end_N=2 * lengths_N + 1,
        item_ids_N=np.arange(n),
    )


def copy_cell(base: Path, arm: str, lr: float = 3e-3, n_items: int = 120, seed: int = 0) -> Cell:
    """A cell of the toy skill: 2 epochs of 15 steps of 8 items by default."""
    return Cell(
        base=str(base),
        task="copy",
        arm=ARMS[arm],
        optimiser=OptimiserSpec(lr=lr),
        budget=Budget(n_items=n_items, batch_size=8, n_epochs=2),
        seeds=Seeds.all(seed),
    )


def kill_at(point: str) -> None:
    """Makes this process send itself SIGKILL: `NAME:N` at the N-th call of what NAME stands for, half way through."""
    name, _, count = point.partition(":")
    module, function = places()[name]
    original, left = getattr(module, function), int(count)

    def killing(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            if name == "checkpoint":
                Path(args[1]).write_bytes(b"half a file")
            if name == "save":
                original(*args, **kwargs)
                next(Path(args[0]).iterdir()).write_bytes(b"half a file")
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(module, function, killing)


def places() -> dict[str, tuple[ModuleType, str]]:
    """Where a training can be cut: in a step, a checkpoint, a save, or just before `done.json`."""
    from rankscope.train import checkpoint, training

    return {
        "step": (training, "lr_at"),
        "checkpoint": (checkpoint, "save_file"),
        "save": (training, "write_arm"),
        "done": (training, "write_done"),
    }


def main() -> None:
    """Trains the arms given, in a root folder, with so many workers."""
    from rankscope.train.events import Progress
    from rankscope.train.local import LocalExecutor

    parser = argparse.ArgumentParser()
    parser.add_argument("base", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("arms", nargs="+")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--checkpoint-every-s", type=float, default=0.0)
    parser.add_argument("--kill-at", default=None)
    parser.add_argument("--n-items", type=int, default=120)
    asked = parser.parse_args()
    if asked.kill_at:
        kill_at(asked.kill_at)
    executor = LocalExecutor(
        asked.root, device="cpu", workers=asked.workers, checkpoint_every_s=asked.checkpoint_every_s
    )
    for event in executor.train([copy_cell(asked.base, arm, n_items=asked.n_items) for arm in asked.arms]):
        if not isinstance(event, Progress):
            sys.stdout.write(f"{type(event).__name__} {event.key}\n")


if __name__ in ("__main__", "__mp_main__"):
    materials.load_items = copy_items  # type: ignore[assignment]
if __name__ == "__main__":
    main()
