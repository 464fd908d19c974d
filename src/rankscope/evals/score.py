"""Score tables of whole variants and trained cells, and their pivot for the statistics."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from torch import nn

from rankscope.adapters.dense import read_dense, with_parameters
from rankscope.adapters.read import read_adapter
from rankscope.base.errors import BadFile, BadInput
from rankscope.engine.model import adapted, decoded
from rankscope.engine.prefix import PrefixCache, recent_prefix
from rankscope.evals.score_table import KEYS, SCHEMA, TRAINED, validated
from rankscope.evals.teacher_forced import Teacher, score_teacher_forced, with_answers
from rankscope.lm.bases import Base
from rankscope.lm.read_decoder import read_decoder, why_not_decodable
from rankscope.tasks.encoded import EncodedItems

Snapshot = Literal["adapter", "early"]
"""Folder of trained weights below a cell: at the end of training, or before its last fifth."""


def score_variant(
    model: nn.Module,
    items: EncodedItems,
    *,
    cell: str,
    seed: int,
    step: int,
    variant: str = TRAINED,
    generate: bool = False,
    teacher: Teacher | None = None,
    batch_size: int = 256,
) -> pl.DataFrame:
    """The score table of one model on one item set; `generate` fills answer_correct by free generation.

    A transformers model is run by our decoder where that can, so that bases and variants are scored alike.
    """
    model = decoded(model)
    scores = score_teacher_forced(model, items, batch_size, teacher)
    if generate and items.objective == "answer":
        scores = with_answers(scores, model, items, batch_size)
    keys = {"cell": cell, "seed": seed, "step": step, "split": items.split, "variant": variant}
    return validated(scores.with_columns(pl.lit(value, dtype=SCHEMA[name]).alias(name) for name, value in keys.items()))


def score_cell(
    base: Base,
    folder: Path,
    items: EncodedItems,
    *,
    cell: str,
    seed: int,
    step: int,
    snapshot: Snapshot = "adapter",
    generate: bool = False,
    teacher: Teacher | None = None,
    batch_size: int = 256,
) -> pl.DataFrame:
    """The score table of a trained cell (LoRA, dense or full), read from its folder. The base is left as it was."""
    with trained(base, folder, snapshot, items) as model:
        return score_variant(
            model, items, cell=cell, seed=seed, step=step, generate=generate, teacher=teacher, batch_size=batch_size
        )


@contextmanager
def trained(
    base: Base, folder: Path, snapshot: Snapshot = "adapter", items: EncodedItems | None = None
) -> Iterator[nn.Module]:
    """The base with a cell's trained weights in it, until the block ends.

    With `items`, what the base computes for them below the first trained site is kept for the next cell.
    """
    weights = folder / snapshot
    if not weights.is_dir():
        raise BadFile(
            f"{weights} is missing: this cell diverged or has not been trained that far. Run the study again."
        )
    if (weights / "adapter_config.json").exists():
        adapter = read_adapter(weights)
        with adapted(base.model, adapter, _prefix(base, items, adapter)) as model:
            yield model
    else:
        with with_parameters(base.model, read_dense(weights).tensors):
            yield base.model


def _prefix(base: Base, items: EncodedItems | None, sites: Iterable[str]) -> PrefixCache | None:
    if items is None or why_not_decodable(base.model) is not None:
        return None
    decoder = read_decoder(base.model)
    return recent_prefix(base.model, decoder, decoder.lowest_layer(list(sites)), items.tokens_NT, items.tokens_hash)


def wide(frame: pl.DataFrame, column: str) -> tuple[tuple[int, ...], Int[np.ndarray, " N"], Float[np.ndarray, "S N"]]:
    """Seeds (ascending), items, and one score as [seeds, items], from the rows of one variant over its seeds.

    Raises: BadInput when seeds differ in their items or the items' order, a seed is there twice, or a value is null.
    """
    _check_one_table_per_seed(frame, column)
    by_seed = {int(part["seed"][0]): part for part in frame.partition_by("seed", maintain_order=True)}
    seeds = tuple(sorted(by_seed))
    items = by_seed[seeds[0]]["item"].to_numpy()
    for seed in seeds:
        if not np.array_equal(by_seed[seed]["item"].to_numpy(), items):
            raise BadInput(
                f"Seeds {seeds[0]} and {seed} are not scored on the same items in the same order. "
                "Score every seed on the same item set."
            )
    return seeds, items, np.stack([by_seed[seed][column].cast(pl.Float64).to_numpy() for seed in seeds])


def _check_one_table_per_seed(frame: pl.DataFrame, column: str) -> None:
    if column not in SCHEMA or column in KEYS:
        raise BadInput(f"{column!r} is no score column; use one of {', '.join(n for n in SCHEMA if n not in KEYS)}.")
    if frame.is_empty():
        raise BadInput("There are no scores to pivot: the table is empty. Score the cells first.")
    if frame[column].null_count():
        raise BadInput(f"{frame[column].null_count()} rows have no {column}. Score those rows, or use another column.")
    if frame.select("seed", "item").is_duplicated().any():
        raise BadInput("Some (seed, item) stand twice. Filter the table to one cell, step, split and variant per seed.")
