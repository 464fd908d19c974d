"""Which machinery trains a cell by itself: our decoder (`loop`), or transformers and PEFT (`reference`)."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from rankscope.base.precision import FP32, PrecisionPlan
from rankscope.engine.passes import Passes
from rankscope.engine.prefix import KEPT_BYTES, MEMORY_BYTES, RECENT, PrefixCache, prefix_bytes
from rankscope.engine.switches import ALL_ON, Switches
from rankscope.lm.bases import Base
from rankscope.lm.decoder import Decoder
from rankscope.lm.read_decoder import read_decoder, why_not_decodable
from rankscope.lm.sites import resolve_sites
from rankscope.tasks.encoded import EncodedItems
from rankscope.train.arms import Arm, build_arm
from rankscope.train.cell import Cell, FullSpec, LoraSpec
from rankscope.train.loop_arms import build_loop_arm
from rankscope.train.materials import Materials

ExecutorKind = Literal["reference", "loop"]
AskedKind = Literal["auto", "reference", "loop", "packed"]
"""`auto` packs cells where that saves work, and trains the others by `loop` where it can."""
NO_PREFIXES: Mapping[str, PrefixCache] = {}


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


def passes_of(
    kind: ExecutorKind | Literal["packed"], device: torch.device, most_items: int | None, switches: Switches = ALL_ON
) -> Passes:
    """How a step's batch goes through: our decoder cuts by length too, but not on an accelerator."""
    by_length = switches.by_length and kind != "reference" and device.type == "cpu"
    return Passes(most_items, by_length)


def prefixes_of(together: Sequence[Materials], folder: Path, switches: Switches = ALL_ON) -> dict[str, PrefixCache]:
    """Items' hash -> a cache of what lies below the lowest adapted layer of all these cells.

    Empty where nothing does, and where no item returns: neither in another epoch, nor in another order, nor, being few
    enough to be kept in memory from one training to the next, in a later one.
    """
    first = together[0]
    items_of = {one.items.content_hash: one.items for one in together}
    n_streams = len({(one.items.content_hash, one.cell.seeds.order) for one in together})
    returns = first.cell.budget.n_epochs > 1 or n_streams > len(items_of)
    decoder = read_decoder(first.base.model).in_precision(PrecisionPlan.of(first.cell.precision))
    layer = min(lowest_layer(decoder, one.base, one.cell) for one in together)
    if not switches.prefix or layer == 0:
        return {}
    model = first.base.model
    identity = f"{first.base.content_hash}|{first.cell.precision}|{decoder.embedding_VD.dtype}|{model.device}"

    def cache_of(items: EncodedItems) -> PrefixCache:
        memory_bytes = MEMORY_BYTES // len(items_of)
        return PrefixCache(decoder, layer, items.tokens_NT, f"{identity}|{items.tokens_hash}", folder, memory_bytes)

    return {
        content_hash: RECENT.of(model, f"{identity}|{items.tokens_hash}|{layer}", partial(cache_of, items))
        for content_hash, items in items_of.items()
        if returns or prefix_bytes(items.tokens_NT.size, decoder) <= KEPT_BYTES
    }


def prefix_of(alone: Materials, folder: Path, switches: Switches = ALL_ON) -> PrefixCache | None:
    """The cache of a cell that trains by itself, if it has use for one."""
    return prefixes_of([alone], folder, switches).get(alone.items.content_hash)


def in_full_precision(prefix: PrefixCache | None, cell: Cell) -> PrefixCache | None:
    """The prefix if it was computed as a teacher computes, in fp32 throughout."""
    return prefix if PrecisionPlan.of(cell.precision).name == FP32.name else None


def lowest_layer(decoder: Decoder, base: Base, cell: Cell) -> int:
    """The first layer in which the cell changes anything."""
    if isinstance(cell.arm, FullSpec):
        return 0
    return decoder.lowest_layer(resolve_sites(base.model, cell.arm.placement))
