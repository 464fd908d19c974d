"""A cell: one training, and the key that identifies its result."""

import hashlib
import json
import math
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from rankscope.base.config import Config
from rankscope.base.precision import Precision
from rankscope.base.seeds import Seeds

SEMANTICS = 1
"""Raised whenever the same cell would give another result."""


class LoraSpec(Config):
    """A LoRA (or rsLoRA) adapter on a placement."""

    kind: Literal["lora", "rslora", "paper"] = "lora"
    """`lora` scales by alpha / rank, `rslora` by alpha / sqrt(rank); `paper` is LoRA with the start that
    arXiv 2412.00029 gives it: A normal with standard deviation 1 / rank."""
    rank: PositiveInt = 8
    """Nominal rank R, the same at every site."""
    alpha: PositiveFloat | None = None
    """Scale numerator; by default 2 * rank for lora (scale 2 at every rank), 16 for rslora, rank / 2 for paper."""
    placement: tuple[str, ...] = ("*",)
    """Globs over module paths of the base's linear maps (the head excluded)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapter's input."""

    @property
    def label(self) -> str:
        """Short name of the arm, such as `rank 4`."""
        return f"rslora {self.rank}" if self.kind == "rslora" else f"rank {self.rank}"

    @property
    def resolved_alpha(self) -> float:
        """alpha, or its default."""
        return self.alpha or {"lora": 2.0 * self.rank, "rslora": 16.0, "paper": self.rank / 2}[self.kind]

    @property
    def scale(self) -> float:
        """Scale s of the update s B A."""
        return self.resolved_alpha / (math.sqrt(self.rank) if self.kind == "rslora" else self.rank)


class DenseSpec(Config):
    """Full-rank training of the same sites."""

    kind: Literal["dense"] = "dense"
    placement: tuple[str, ...] = ("*",)
    """Globs over module paths of the base's linear maps (the head excluded)."""

    @property
    def label(self) -> str:
        """Short name of the arm."""
        return "dense"


class FullSpec(Config):
    """Fine-tuning of all parameters."""

    kind: Literal["full"] = "full"

    @property
    def label(self) -> str:
        """Short name of the arm."""
        return "full"


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ArmSpec = Annotated[LoraSpec | DenseSpec | FullSpec, Field(discriminator="kind")]


class OptimiserSpec(Config):
    """AdamW with linear warm-up, linear decay to zero, and gradient clipping."""

    lr: Positive
    """Peak learning rate, part of the method: tuned per (task, arm)."""
    warmup_frac: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps over which the rate rises linearly."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    eps: Positive = 1e-8
    clip: Positive = 1.0
    """Largest global gradient norm."""


class Budget(Config):
    """How much a cell trains on: n_items items for n_epochs epochs, in batches."""

    n_items: PositiveInt
    """Distinct training items; a fresh stream is n_epochs = 1."""
    batch_size: PositiveInt = 64
    n_epochs: PositiveInt = 1

    @property
    def n_steps(self) -> int:
        """Optimiser steps: whole batches only."""
        return (self.n_items // self.batch_size) * self.n_epochs


class Cell(Config):
    """One training: base, task, arm, optimiser, budget, seeds, precision."""

    base: str
    """Name or path of the base, as in `--base`."""
    task: str
    """Task name with knobs, such as `hashhop:mode=matched`, or a JSONL path."""
    arm: ArmSpec
    optimiser: OptimiserSpec
    budget: Budget
    seeds: Seeds = Seeds()
    precision: Precision = "fp32"
    """Resolved precision plan: `fp32`, `bf16`, or a format per kind of operation."""


def cell_key(cell: Cell, base_hash: str, items_hash: str) -> str:
    """20 hex digits that identify a cell's result.

    Hashes what decides the numbers: the cell, the base's weights and tokenizer, the training items and
    SEMANTICS. Executor, workers, device and commit are provenance, not identity; so is the name under which
    the base was given.
    """
    identity = {
        "semantics": SEMANTICS,
        "base": base_hash,
        "items": items_hash,
        "cell": cell.model_dump(mode="json", exclude={"base"}),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]
