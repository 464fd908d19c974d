"""Which machinery trains a cell by itself: our decoder (`loop`), or transformers and PEFT (`reference`)."""

from typing import Literal

from rankscope.lm.bases import Base
from rankscope.lm.read_decoder import why_not_decodable
from rankscope.train.arms import Arm, build_arm
from rankscope.train.cell import Cell, LoraSpec
from rankscope.train.loop_arms import build_loop_arm

ExecutorKind = Literal["reference", "loop"]
AskedKind = Literal["auto", "reference", "loop", "packed"]
"""`auto` packs cells where that saves work, and trains the others by `loop` where it can."""


def why_not_loop(base: Base, cell: Cell) -> str | None:
    """Why a cell has to go through `reference`, in a phrase; None when our decoder can train it."""
    if isinstance(cell.arm, LoraSpec) and cell.arm.dropout > 0:
        return "its adapter has dropout"
    if cell.precision != "fp32":
        return f"its precision is {cell.precision}"
    return why_not_decodable(base.model)


def resolve_kind(asked: AskedKind, base: Base, cell: Cell) -> ExecutorKind:
    """For a cell alone: `reference` where that was asked for, or nothing else can train the cell; else `loop`."""
    return "reference" if asked == "reference" or why_not_loop(base, cell) else "loop"


def build_arm_of(kind: ExecutorKind, base: Base, cell: Cell) -> Arm:
    """The cell's arm on the machinery of that kind; both start at the same values."""
    build = build_loop_arm if kind == "loop" else build_arm
    return build(base, cell.arm, cell.seeds.init)
