"""How much arithmetic a pack saves: what its rows share, against what each has to compute for itself.

Counted are products with the base's weights, per token. Rows share the forward pass up to the lowest adapted map, those
maps included that read the same input as it. What lies below the lowest layer counts as often as a training by itself
would compute it, by what is cached. Everything else is a row's own, forward and backward. In the last layer all maps
but keys and values, and the head, see tokens of the completion alone. Attention itself, without weights, is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rankscope.engine.prefix import KEPT_BYTES, MEMORY_BYTES, prefix_bytes
from rankscope.lm.bases import Base
from rankscope.lm.decoder import Decoder, LinearMap
from rankscope.lm.sites import resolve_sites
from rankscope.train.cell import Cell, LoraSpec
from rankscope.train.memory import BatchShape


@dataclass(frozen=True)
class Stage:
    """Maps that read the same input."""

    layer: int
    """The head's is one above the last."""
    maps: tuple[LinearMap, ...]
    products: float
    """Multiplications of a forward pass through the base's weights, per token of an item."""


def pack_gain(base: Base, decoder: Decoder, cells: Sequence[Cell], batch: BatchShape) -> float:
    """How many times less arithmetic a pack of LoRA cells that see the same batches needs than the cells one by one."""
    stages = stages_of(decoder, batch)
    lowest = min(lowest_stage(base, stages, cell) for cell in cells)
    layer = stages[lowest].layer
    below = sum(stage.products for stage in stages if stage.layer < layer)
    shared = sum(stage.products for stage in stages[: lowest + 1] if stage.layer == layer)
    shared += below * passes_below(decoder, cells[0], batch)
    own = sum(2 * stage.products for stage in stages[lowest + 1 :])
    return len(cells) * (shared + own) / (shared + own * len(cells))


def lowest_stage(base: Base, stages: Sequence[Stage], cell: Cell) -> int:
    """Which stage is the first with a map that a LoRA cell adapts."""
    assert isinstance(cell.arm, LoraSpec)
    sites = set(resolve_sites(base.model, cell.arm.placement))
    return next(i for i, stage in enumerate(stages) if any(linear.path in sites for linear in stage.maps))


def passes_below(decoder: Decoder, cell: Cell, batch: BatchShape) -> float:
    """In which share of its steps a training by itself computes what lies below its lowest layer (`kinds.prefixes_of`).

    None where that is small enough to be kept from one training to the next, or so large that a file is kept; else in
    the first epoch.
    """
    n_bytes = prefix_bytes(cell.budget.n_items * batch.n_tokens, decoder)
    is_kept = n_bytes <= KEPT_BYTES or (n_bytes > MEMORY_BYTES and cell.budget.n_epochs > 1)
    return 0.0 if is_kept else 1 / cell.budget.n_epochs


def stages_of(decoder: Decoder, batch: BatchShape) -> list[Stage]:
    """Every stage, in the order in which a forward pass reaches it, the head last."""
    read = batch.n_completion / batch.n_tokens
    stages = []
    for number, block in enumerate(decoder.blocks):
        after = read if number == decoder.n_layers - 1 else 1.0
        queries = 1.0 if len(block.qkv) == 1 else after  # a fused map sees every token, for its keys and values
        stages += [
            _stage(number, block.qkv, queries, 1.0),
            _stage(number, (block.attention_out,), after),
            _stage(number, block.mlp_in, after),
            _stage(number, (block.mlp_out,), after),
        ]
    return [*stages, _stage(decoder.n_layers, (decoder.head,), read)]


def _stage(layer: int, maps: tuple[LinearMap, ...], first: float, others: float | None = None) -> Stage:
    """With the share of tokens that the first map sees, and the others where that differs."""
    sizes = [linear.weight.numel() for linear in maps]
    return Stage(layer, maps, first * sizes[0] + (first if others is None else others) * sum(sizes[1:]))
