"""The one score table: a row per item for base, adapted, truncated, ablated and steered models alike."""

import hashlib
import json
from typing import Any

import polars as pl

from rankscope.base.errors import BadInput

SCHEMA: dict[str, Any] = {
    "cell": pl.String,  # cell key, or "base"
    "seed": pl.Int32,  # the study's seed of the cell; -1 for the base
    "step": pl.Int32,  # optimiser steps done
    "split": pl.String,  # validation or test
    "item": pl.Int64,  # index in the item stream
    "variant": pl.String,  # hash of the intervention; "trained" when there is none
    "exact_output": pl.Boolean,  # greedy decoding gives exactly trace + answer + stop
    "answer_correct": pl.Boolean,  # the answer after the model's own trace; null where not generated
    "answer_given_trace": pl.Boolean,  # greedy answer after the gold trace
    "forced_choice": pl.Boolean,  # the true candidate has the highest log-probability; null without candidates
    "margin": pl.Float32,  # smallest top-1 minus top-2 logit over the completion; sign < 0: not greedy
    "nats": pl.Float32,  # log-probability of the completion; -KL(teacher || student) for planted skills
    "answer_nats": pl.Float32,  # log-probability of the answer given the gold trace
    "n_decisions": pl.Int32,  # completion tokens
    "n_right": pl.Int32,  # completion tokens that are the argmax given the gold prefix
    "chance": pl.Float32,  # chance level of forced choice; null without candidates
}
KEYS = ("cell", "seed", "step", "split", "item", "variant")
SCORES = {name: dtype for name, dtype in SCHEMA.items() if name not in KEYS}
TRAINED = "trained"


def variant_hash(intervention: dict[str, Any]) -> str:
    """16 hex digits for an intervention such as {"truncate": 2, "order": "energy"}; {} is TRAINED."""
    if not intervention:
        return TRAINED
    return hashlib.sha256(json.dumps(intervention, sort_keys=True).encode()).hexdigest()[:16]


def validated(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the schema's columns, order and types; absent score columns become null.

    Raises: BadInput for unknown or missing columns, empty keys, an item scored twice, or scores that are not finite.
    """
    unknown = [name for name in frame.columns if name not in SCHEMA]
    missing = [name for name in KEYS if name not in frame.columns]
    if unknown or missing:
        raise BadInput(f"A score table needs the keys {KEYS} and known scores; missing {missing}, unknown {unknown}.")
    absent = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in SCORES.items() if name not in frame.columns]
    whole = frame.with_columns(absent).select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
    if sum(whole.select(KEYS).null_count().row(0)):
        raise BadInput(f"Every row of a score table needs {KEYS}; some are empty.")
    if whole.select(KEYS).is_duplicated().any():
        raise BadInput("A score table holds each item once per cell, step and variant; some rows stand twice.")
    floats = whole.select(pl.col(pl.Float32).is_finite().all())
    if not all(floats.row(0)):
        raise BadInput("Scores must be finite numbers or empty. The weights have diverged; leave this cell out.")
    return whole
