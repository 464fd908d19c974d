"""How much arithmetic a pack saves: what its rows share, against what each has to compute for itself.

Counted are products with the base's weights, per token. Rows share the forward pass up to the lowest adapted map, those
maps included that read the same input as it; where items are cached below a layer, only what lies above that.
Everything after it is a row's own, forward and backward. In the last layer all maps but those of queries, keys and
values, and the head, see tokens of the completion alone. Attention itself, which has no weights, is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rankscope.engine.prefix import KEPT_BYTES
from rankscope.lm.bases import Base
from rankscope.lm.decoder import Decoder, LinearMap
from rankscope.lm.sites import resolve_sites
from rankscope.train.cell import Cell, LoraSpec
from rankscope.train.memory import BYTES, BatchShape


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
    first_layer = stages[lowest].layer if keeps_prefix(decoder, cells[0], batch) else 0
    shared = sum(stage.products for stage in stages[: lowest + 1] if stage.layer >= first_layer)
    own = sum(2 * stage.products for stage in stages[lowest + 1 :])
    return len(cells) * (shared + own) / (shared + own * len(cells))


def lowest_stage(base: Base, stages: Sequence[Stage], cell: Cell) -> int:
    """Which stage is the first with a map that a LoRA cell adapts."""
    assert isinstance(cell.arm, LoraSpec)
    sites = set(resolve_sites(base.model, cell.arm.placement))
    return next(i for i, stage in enumerate(stages) if any(linear.path in sites for linear in stage.maps))


def keeps_prefix(decoder: Decoder, cell: Cell, batch: BatchShape) -> bool:
    """Whether a training by itself has what lies below its lowest layer cached (`kinds.prefixes_of`)."""
    n_bytes = cell.budget.n_items * batch.n_tokens * decoder.embedding_VD.shape[1] * BYTES
    return cell.budget.n_epochs > 1 or n_bytes <= KEPT_BYTES


def stages_of(decoder: Decoder, batch: BatchShape) -> list[Stage]:
    """Every stage, in the order in which a forward pass reaches it, the head last."""
    read = batch.n_completion / batch.n_tokens
    stages = []
    for number, block in enumerate(decoder.blocks):
        after = read if number == decoder.n_layers - 1 else 1.0
        stages += [
            _stage(number, block.qkv, 1.0),
            _stage(number, (block.attention_out,), after),
            _stage(number, block.mlp_in, after),
            _stage(number, (block.mlp_out,), after),
        ]
    return [*stages, _stage(decoder.n_layers, (decoder.head,), read)]


def _stage(layer: int, maps: tuple[LinearMap, ...], share: float) -> Stage:
    return Stage(layer, maps, share * sum(linear.weight.numel() for linear in maps))
