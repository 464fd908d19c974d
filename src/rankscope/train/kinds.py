"""Which machinery trains a cell by itself: our decoder (`loop`), or transformers and PEFT (`reference`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rankscope.base.precision import PrecisionPlan
from rankscope.engine.prefix import PrefixCache
from rankscope.engine.switches import ALL_ON, Switches
from rankscope.lm.bases import Base
from rankscope.lm.read_decoder import read_decoder, why_not_decodable
from rankscope.lm.sites import resolve_sites
from rankscope.train.arms import Arm, build_arm
from rankscope.train.cell import Cell, FullSpec, LoraSpec
from rankscope.train.loop_arms import build_loop_arm
from rankscope.train.materials import Materials

ExecutorKind = Literal["reference", "loop"]
AskedKind = Literal["auto", "reference", "loop", "packed"]
"""`auto` packs cells where that saves work, and trains the others by `loop` where it can."""


def why_not_loop(base: Base, cell: Cell) -> str | None:
    """Why a cell has to go through `reference`, in a phrase; None when our decoder can train it."""
    if isinstance(cell.arm, LoraSpec) and cell.arm.dropout > 0:
        return "its adapter has dropout"
    return why_not_decodable(base.model)


def resolve_kind(asked: AskedKind, base: Base, cell: Cell) -> ExecutorKind:
    """For a cell alone: `reference` where that was asked for, or nothing else can train the cell; else `loop`."""
    return "reference" if asked == "reference" or why_not_loop(base, cell) else "loop"


def build_arm_of(
    kind: ExecutorKind, base: Base, cell: Cell, prefix: PrefixCache | None = None, switches: Switches = ALL_ON
) -> Arm:
    """The cell's arm on the machinery of that kind; both start at the same values."""
    if kind == "loop":
        return build_loop_arm(base, cell.arm, cell.seeds.init, prefix, switches, PrecisionPlan.of(cell.precision))
    return build_arm(base, cell.arm, cell.seeds.init)


def prefix_of(together: Sequence[Materials], folder: Path, switches: Switches = ALL_ON) -> PrefixCache | None:
    """A cache of what lies below the lowest adapted layer of cells that share their items.

    None where nothing does, where items never return, and where the cells have items of their own.
    """
    first = together[0]
    specs = [one.cell.arm for one in together]
    own_items = len({(one.items.content_hash, one.cell.seeds.order) for one in together}) > 1
    if not switches.prefix or own_items or first.cell.budget.n_epochs == 1:
        return None
    decoder = read_decoder(first.base.model).in_precision(PrecisionPlan.of(first.cell.precision))
    layer = min(
        0 if isinstance(spec, FullSpec) else decoder.lowest_layer(resolve_sites(first.base.model, spec.placement))
        for spec in specs
    )
    if layer == 0:
        return None
    identity = f"{first.base.content_hash}|{first.items.content_hash}|{first.cell.precision}"
    return PrefixCache(decoder, layer, first.items.tokens_NT, identity, folder)
