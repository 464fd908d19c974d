"""What a training needs in memory, by formula: weights, trained state, what backward keeps, logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from rankscope.base.precision import PrecisionPlan
from rankscope.engine.pack import padded_rank
from rankscope.engine.prefix import MEMORY_BYTES
from rankscope.lm.bases import Base
from rankscope.lm.decoder import Block, Decoder, LinearMap
from rankscope.lm.read_decoder import read_decoder
from rankscope.lm.sites import linear_sites, resolve_sites
from rankscope.train.cell import Cell, FullSpec, LoraSpec
from rankscope.train.kinds import ExecutorKind, lowest_layer

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


def bytes_needed(base: Base, cells: Sequence[Cell], batch: BatchShape, kind: ExecutorKind) -> int:
    """Memory that one process needs to train the cells together, `batch.n_items` items per pass.

    What backward keeps, the largest part as a rule, is within a tenth of what autograd really keeps
    (tests/unit/train/test_memory.py).
    """
    decoder = None if kind == "reference" else read_decoder(base.model)
    lowest = 0 if decoder is None else min(lowest_layer(decoder, base, cell) for cell in cells)
    values = sum(STATE_COPIES * n_trained(base, cell) for cell in cells)
    per_token = _values_per_token(base, decoder, lowest) + batch.n_completion  # the mask of the last layer's queries
    values += len(cells) * batch.n_items * batch.n_tokens * per_token
    n_words = int(base.model.config.get_text_config().vocab_size)
    values += LOGIT_COPIES * len(cells) * batch.n_items * batch.n_completion * n_words
    budget = cells[0].budget
    cached = budget.n_items * batch.n_tokens * _width(base) if lowest > 0 and budget.n_epochs > 1 else 0
    return PROCESS_BYTES + _weight_bytes(base, cells[0]) + BYTES * values + min(BYTES * cached, MEMORY_BYTES)


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


def _values_per_token(base: Base, decoder: Decoder | None, lowest: int) -> int:
    """What one token of one cell keeps alive until backward has passed, and what passes by."""
    if decoder is None:
        n_layers = int(base.model.config.get_text_config().num_hidden_layers)
        return n_layers * round(16 * _width(base) * REFERENCE_SHARE) + PASSING * 4 * _width(base)
    kept = sum(kept_values(block) for block in decoder.blocks[lowest:])
    return kept + PASSING * max(_n_in(block.mlp_out) for block in decoder.blocks)


def _width(base: Base) -> int:
    return int(base.model.config.get_text_config().hidden_size)


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
