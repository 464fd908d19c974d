"""What interventions do to an adapted model: KL and scores per item, each run from the first layer that it changes.

Everything is teacher-forced and read at completion positions; a position belongs to the token that it predicts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from rankscope.adapters.attach import attached
from rankscope.adapters.weights import AdapterWeights
from rankscope.base.errors import BadInput
from rankscope.engine.model import adapter_ops
from rankscope.engine.variants import Variants
from rankscope.evals.completion_pass import (
    CompletionBatch,
    CompletionLogits,
    check_completions,
    length_batches,
    model_device,
    n_words,
)
from rankscope.evals.teacher_forced import VARIANTS_PER_PASS, batch_scores
from rankscope.interpret.interventions import Intervention
from rankscope.interpret.role_masks import RoleMasks
from rankscope.lm.read_decoder import read_decoder, why_not_decodable
from rankscope.tasks.encoded import EncodedItems

Tell = Callable[[int, int], None]
"""(items done, items in all)."""


HELD_AT_ONCE = 2**22
"""Logits in float64 at a time."""
HELD_FACTORS = 2**27
"""Numbers in the factors of all passes that are kept from batch to batch; with more, every pass makes its own."""


@dataclass(frozen=True)
class Effects:
    """V interventions on N items; row 0 of the scores is the whole adapter, the others follow in the order given."""

    kl_VN: Float[np.ndarray, "V N"]
    """KL(whole || changed) in nats, mean over an item's completion."""
    exact_WN: Bool[np.ndarray, "W N"]
    """Whether every gold token is the likeliest one; W = V + 1."""
    nats_WN: Float[np.ndarray, "W N"]
    """Log-probability of the completion."""
    role_kl_VNG: Float[np.ndarray, "V N G"]
    """KL summed over the positions of each role."""
    role_count_NG: Int[np.ndarray, "N G"]
    """Positions of each role."""

    @property
    def nats_loss_VN(self) -> Float[np.ndarray, "V N"]:
        """By how much the completion became less likely."""
        return self.nats_WN[:1] - self.nats_WN[1:]

    def first(self, n: int) -> "Effects":
        """The first n interventions."""
        return replace(
            self,
            kl_VN=self.kl_VN[:n],
            exact_WN=self.exact_WN[: n + 1],
            nats_WN=self.nats_WN[: n + 1],
            role_kl_VNG=self.role_kl_VNG[:n],
        )


@torch.no_grad()
def effects(
    model: PreTrainedModel,
    full: AdapterWeights,
    interventions: Sequence[Intervention],
    items: EncodedItems,
    roles: RoleMasks,
    batch_size: int = 256,
    tell: Tell | None = None,
) -> Effects:
    """Runs every intervention on every item. The model is the base, and is left as it was.

    Raises: BadInput for items without a completion, an adapter that does not fit, or a logit that is not finite.
    """
    check_completions(items)
    n_all, n_items = len(interventions), len(items)
    kl_VN = np.zeros((n_all, n_items))
    exact_WN, nats_WN = np.zeros((n_all + 1, n_items), dtype=bool), np.zeros((n_all + 1, n_items))
    role_kl_VNG = np.zeros((n_all, n_items, len(roles.names)))
    role_count_NG = np.zeros((n_items, len(roles.names)), dtype=np.int64)
    run = _restarting if why_not_decodable(model) is None else _hooked
    passes = run(model, full, interventions)
    done = 0
    for rows_M in length_batches(items, max(1, batch_size // VARIANTS_PER_PASS), n_words(model) * VARIANTS_PER_PASS):
        batch = CompletionBatch.of(items, rows_M)
        reference: CompletionLogits | None = None
        for place, logits_PV in passes(batch):
            found = batch.with_logits(logits_PV.float(), model_device(model))
            scores = batch_scores(found, items, single_token_candidates=False)
            exact_WN[place + 1, rows_M], nats_WN[place + 1, rows_M] = scores["margin"] > 0, scores["nats"]
            if place == WHOLE:
                reference = found
                at_PG = roles.at(rows_M[found.owner_P], found.position_P)
                role_count_NG[rows_M] = np.add.reduceat(at_PG, found.starts_M, dtype=np.int64)
                continue
            assert reference is not None
            kl_P = _kl(reference, found)
            kl_VN[place, rows_M] = np.add.reduceat(kl_P, found.starts_M) / found.n_completion_M
            role_kl_VNG[place, rows_M] = np.add.reduceat(kl_P[:, None] * at_PG, found.starts_M)
        done += len(rows_M)
        if tell is not None:
            tell(done, n_items)
    if not (np.isfinite(nats_WN).all() and np.isfinite(kl_VN).all()):
        raise BadInput(f"Log-probabilities on {items.task} are not finite: the adapter has diverged.")
    return Effects(kl_VN, exact_WN, nats_WN, role_kl_VNG, role_count_NG)


def _kl(reference: CompletionLogits, found: CompletionLogits) -> Float[np.ndarray, " P"]:
    """KL(reference || found) at each position, in nats, in float64: float32 would add a bias of 1e-8 of its own."""
    n_rows = max(1, HELD_AT_ONCE // reference.logits_PV.shape[-1])
    parts = []
    for whole_QV, changed_QV in zip(reference.logits_PV.split(n_rows), found.logits_PV.split(n_rows), strict=True):
        whole_QV, changed_QV = whole_QV.double().log_softmax(-1), changed_QV.double().log_softmax(-1)
        parts.append((whole_QV.exp() * (whole_QV - changed_QV)).sum(-1))
    return np.asarray(torch.cat(parts).cpu().numpy())


Pass = Callable[[CompletionBatch], Iterator[tuple[int, Float[Tensor, "P V"]]]]
"""A batch -> (place of the intervention, its logits); the whole adapter, as place WHOLE, before those that are
compared with it."""
WHOLE = -1


def _restarting(model: PreTrainedModel, full: AdapterWeights, interventions: Sequence[Intervention]) -> Pass:
    """Several interventions at a time through our decoder, from the first layer that they change.

    The whole adapter runs beside them in every pass, so that what is unchanged is computed alike to the last bit.
    """
    decoder, device = read_decoder(model), model_device(model)
    starts = [decoder.lowest_layer(one.changed(full)) for one in interventions]
    ops = adapter_ops(full, next(model.parameters()))
    groups = [
        (layer, places)
        for layer in sorted(set(starts))
        for places in _chunks([place for place, start in enumerate(starts) if start == layer])
    ]

    def made(places: list[int]) -> Variants:
        return _variants(model, [Intervention(full), *(interventions[place] for place in places)])

    n_numbers = sum(f.A_RI.numel() + f.B_OR.numel() for f in full.values()) * VARIANTS_PER_PASS * len(groups)
    held = [made(places) for _, places in groups] if n_numbers <= HELD_FACTORS else None

    def passes(batch: CompletionBatch) -> Iterator[tuple[int, Tensor]]:
        tokens, wanted = batch.read_MT.to(device), batch.wanted_MT.to(device)
        reached, residual = 0, decoder.embed(tokens)
        for number, (layer, places) in enumerate(groups):
            variants = made(places) if held is None else held[number]
            residual = decoder.below(None, layer, start_layer=reached, residual=residual, site_ops=ops)
            reached = layer
            yield from zip([WHOLE, *places], variants.logits(tokens, wanted, layer, residual), strict=True)

    return passes


def _variants(model: PreTrainedModel, some: Sequence[Intervention]) -> Variants:
    offsets = [one.offsets for one in some]
    return Variants(model, [one.weights for one in some], offsets if any(offsets) else ())


def _chunks(places: list[int]) -> list[list[int]]:
    size = VARIANTS_PER_PASS - 1
    return [places[first : first + size] for first in range(0, len(places), size)]


def _hooked(model: PreTrainedModel, full: AdapterWeights, interventions: Sequence[Intervention]) -> Pass:
    """One intervention at a time through the model itself."""
    device = model_device(model)

    def logits(one: Intervention, batch: CompletionBatch) -> Tensor:
        with attached(model, one.weights), ExitStack() as stack:
            for site, offset_O in one.offsets.items():
                handle = model.get_submodule(site).register_forward_hook(_adding(offset_O))
                stack.callback(handle.remove)
            found: Tensor = model(input_ids=batch.read_MT.to(device), use_cache=False).logits
        return found[batch.wanted_MT.to(device)]

    def passes(batch: CompletionBatch) -> Iterator[tuple[int, Tensor]]:
        yield WHOLE, logits(Intervention(full), batch)
        for place, one in enumerate(interventions):
            yield place, logits(one, batch)

    return passes


def _adding(offset_O: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    return lambda _module, _inputs, output: output + offset_O.to(output)
