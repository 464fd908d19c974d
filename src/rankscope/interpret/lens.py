"""What a direction reads and writes, in terms of tokens, where its site stands next to the residual stream.

A direction's value is sigma (v . x), and it writes value * u into its site's output. Where that output is added to the
residual stream, the final norm and the head turn it into logits: with a typical value a and a last residual of
root-mean-square r, the logits move by about a * W_U (gain * u) / r, u centred first where the norm centres. It reads
v . norm(h); for a token whose embedding e were all there is, that is v . norm(e). Blocks in between are left out: a
lens shows what is written there, not what becomes of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.adapters.truncate import Directions, signed_directions
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.engine.model import adapter_ops
from rankscope.evals.completion_pass import CompletionBatch, length_batches, model_device
from rankscope.interpret.look_records import Lens, LensToken
from rankscope.lm.decoder import Decoder, LinearMap, Norm
from rankscope.lm.read_decoder import read_decoder
from rankscope.tasks.encoded import EncodedItems

SHOWN = 8
INNER_READ = "It reads {what}, not the residual stream, so no token's embedding stands at its input."
INNER_WRITE = "It writes {what}, not the residual stream, so the head does not see it directly."


@dataclass(frozen=True)
class _Beside:
    """What stands before and behind a site."""

    norm: Norm | None
    """The norm whose output the site reads; None where it reads something else."""
    reads: str
    is_added: bool
    """Whether the site's output is added to the residual stream."""
    writes: str


def lens(
    decoder: Decoder, site: str, factors: Factors, index: int, rms: float, residual_rms: float, words: Sequence[str]
) -> Lens:
    """The lens of one direction. `rms`: its typical value; `residual_rms`: the last residual's typical size per dim."""
    beside = _beside(decoder, site)
    found = signed_directions(factors)
    missing = []
    writes = reads = None
    if beside.is_added:
        writes = written_logits(decoder, found, index, rms, residual_rms)
    else:
        missing.append(INNER_WRITE.format(what=beside.writes))
    if beside.norm is not None:
        reads = read_embeddings(decoder, found, index, beside.norm)
    else:
        missing.append(INNER_READ.format(what=beside.reads))
    return Lens(
        writes_up=_top(writes, words, largest=True),
        writes_down=_top(writes, words, largest=False),
        reads_up=_top(reads, words, largest=True),
        reads_down=_top(reads, words, largest=False),
        missing=tuple(missing),
    )


@torch.no_grad()
def written_logits(
    decoder: Decoder, found: Directions, index: int, rms: float, residual_rms: float
) -> Float[Tensor, " V"]:
    """Logits that the direction's typical value adds by itself, the residual's size held as it is."""
    u_D = found.U_OR[:, index].to(decoder.head.weight)
    if decoder.norm.kind == "layer":
        u_D = u_D - u_D.mean()
    head_VD = decoder.head.weight_OI(u_D.dtype)
    return (rms / residual_rms) * (head_VD @ (decoder.norm.weight_D * u_D))


@torch.no_grad()
def read_embeddings(decoder: Decoder, found: Directions, index: int, norm: Norm) -> Float[Tensor, " V"]:
    """The direction's value sigma (v . norm(e)) for every token's embedding e, positions left out."""
    v_D = found.V_RI[index].to(decoder.embedding_VD)
    return float(found.S_R[index]) * (norm(decoder.embedding_VD) @ v_D)


@torch.no_grad()
def residual_rms(model: PreTrainedModel, weights: AdapterWeights, items: EncodedItems) -> float:
    """`last_residual_rms` of the adapted model over the items' tokens."""
    decoder, ops = read_decoder(model), adapter_ops(weights, next(model.parameters()))
    total, n_tokens = 0.0, 0
    for rows_M in length_batches(items, 64, 1):
        batch = CompletionBatch.of(items, rows_M)
        residual = decoder.below(batch.read_MT.to(model_device(model)), decoder.n_layers, site_ops=ops)
        kept = residual[torch.from_numpy(batch.reads_MS).to(residual.device)]
        total, n_tokens = total + last_residual_rms(decoder, kept) ** 2 * len(kept), n_tokens + len(kept)
    return float((total / n_tokens) ** 0.5)


def last_residual_rms(decoder: Decoder, residual_ND: Float[Tensor, "*N D"]) -> float:
    """Root mean square, per dimension, of the residual below the final norm; centred where the norm centres."""
    if decoder.norm.kind == "layer":
        residual_ND = residual_ND - residual_ND.mean(-1, keepdim=True)
    return float(residual_ND.double().square().mean().sqrt())


def _beside(decoder: Decoder, site: str) -> _Beside:
    for block in decoder.blocks:
        if site in _paths(block.qkv):
            return _Beside(block.attention_norm, "", is_added=False, writes="queries, keys or values")
        if site in _paths(block.mlp_in):
            return _Beside(block.mlp_norm, "", is_added=False, writes="the MLP's hidden units")
        if site == block.attention_out.path:
            return _Beside(None, "what attention gathered", is_added=True, writes="")
        if site == block.mlp_out.path:
            return _Beside(None, "the MLP's hidden units", is_added=True, writes="")
    raise AssertionError(site)


def _paths(maps: Sequence[LinearMap]) -> list[str]:
    return [linear.path for linear in maps]


def _top(values_V: Float[Tensor, " V"] | None, words: Sequence[str], *, largest: bool) -> tuple[LensToken, ...]:
    if values_V is None:
        return ()
    best = values_V[: len(words)].topk(min(SHOWN, len(words)), largest=largest)
    return tuple(
        LensToken(word=words[int(place)], logit=float(value))
        for value, place in zip(best.values, best.indices, strict=True)
    )
