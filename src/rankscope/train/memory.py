"""What a training needs in memory, by formula: weights, trained state, what backward keeps, logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from rankscope.base.precision import PrecisionPlan
from rankscope.engine.pack import padded_rank
from rankscope.lm.bases import Base
from rankscope.lm.decoder import Block, Decoder, LinearMap
from rankscope.lm.read_decoder import read_decoder
from rankscope.lm.sites import linear_sites, resolve_sites
from rankscope.train.cell import Cell, FullSpec, LoraSpec

PROCESS_BYTES = 450 * 2**20
"""A process with torch and transformers imported, before it has loaded anything (resident, as seen on Linux)."""
BYTES = 4
"""Per value; what is computed in bf16 is counted as if it were fp32, so the formula is then an upper estimate."""
STATE_COPIES = 4
"""Of every trained value: itself, its gradient, and two moments."""
REFERENCE_SHARE = 28 / 16
"""Values that transformers keeps for backward, for each one that our decoder keeps (GPT-2 by hand: 28 d and 16 d)."""
LOGIT_COPIES = 4
"""Logits, their log-softmax, and the gradients of both."""
PASSING = 3
"""Tensors as wide as the widest map that are alive at once on top of what backward keeps."""


@dataclass(frozen=True)
class BatchShape:
    """Items of a step as a training sees them."""

    n_items: int
    n_tokens: int
    n_completion: int
    """Tokens of an item that the loss is on."""


def bytes_needed(base: Base, cells: Sequence[Cell], batch: BatchShape, decodable: bool = True) -> int:
    """Memory that one process needs to train the cells together, `batch.n_items` items per pass.

    `decodable` says whether our decoder trains them. Within a quarter of what is measured, tests/unit/train says.
    """
    decoder_or_none = read_decoder(base.model) if decodable else None
    values = sum(STATE_COPIES * n_trained(base, cell) for cell in cells)
    per_token = _values_per_token(base, cells, decoder_or_none) + batch.n_completion  # the last block's mask
    values += batch.n_items * batch.n_tokens * len(cells) * per_token
    values += LOGIT_COPIES * len(cells) * batch.n_items * batch.n_completion * base.model.config.vocab_size
    return PROCESS_BYTES + _weight_bytes(base, cells[0]) + BYTES * values


def n_trained(base: Base, cell: Cell) -> int:
    """Values that the cell trains; ranks of adapters as padded in a pack."""
    if isinstance(cell.arm, FullSpec):
        return sum(parameter.numel() for parameter in base.model.parameters())
    shapes = linear_sites(base.model)
    sites = resolve_sites(base.model, cell.arm.placement)
    if isinstance(cell.arm, LoraSpec):
        return padded_rank(cell.arm.rank) * sum(sum(shapes[site]) for site in sites)
    return sum(shapes[site][0] * shapes[site][1] for site in sites)


def _weight_bytes(base: Base, cell: Cell) -> int:
    """The base, and a copy of it where products are in bf16."""
    n_weights = sum(parameter.numel() for parameter in base.model.parameters())
    in_bf16 = PrecisionPlan.of(cell.precision).products == "bf16"
    return n_weights * (BYTES + (2 if in_bf16 else 0))


def _values_per_token(base: Base, cells: Sequence[Cell], decoder: Decoder | None) -> int:
    """What one token of one cell keeps alive until backward has passed, and what passes by."""
    if decoder is None:
        config = base.model.config.get_text_config()
        per_layer = round(16 * config.hidden_size * REFERENCE_SHARE)
        return int(config.num_hidden_layers * per_layer + PASSING * 4 * config.hidden_size)
    lowest = min(_lowest_layer(base, cell, decoder) for cell in cells)
    kept = sum(kept_values(block) for block in decoder.blocks[lowest:])
    return kept + PASSING * max(_n_in(block.mlp_out) for block in decoder.blocks)


def _lowest_layer(base: Base, cell: Cell, decoder: Decoder) -> int:
    if isinstance(cell.arm, FullSpec):
        return 0
    return decoder.lowest_layer(resolve_sites(base.model, cell.arm.placement))


def kept_values(block: Block) -> int:
    """Values per token that our decoder keeps of a block for backward.

    The inputs of both norms and of all maps; queries, keys and values, and attention's output; the MLP's activation
    before and after, and with a gate also both factors.
    """
    d_model = block.attention_norm.weight_D.numel()
    return 4 * d_model + 4 * _n_in(block.attention_out) + 2 * len(block.mlp_in) * _n_in(block.mlp_out)


def _n_in(linear: LinearMap) -> int:
    return linear.weight_OI(linear.weight.dtype).shape[1]


def free_bytes(device: torch.device) -> int:
    """Memory that a training could have now: of the accelerator, or of this machine within its container's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(int(psutil.virtual_memory().available), _container_bytes())


def _container_bytes() -> int:
    """What a container's limit leaves, droppable file pages not counted as used; unbounded outside of one."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = ((folder / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        return int(limit) - int(used) + int(stat["inactive_file"])
    except (OSError, ValueError, KeyError):
        return 2**63
