"""Skills whose rank is known: a teacher that is the base plus a planted update of rank k."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from rankscope.adapters.attach import attached
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.base.seeds import torch_stream
from rankscope.lm.bases import Base
from rankscope.lm.sites import is_transposed, linear_sites, resolve_sites
from rankscope.spectra.low_rank_svd import low_rank_svd, square_root
from rankscope.tasks.catalog import load_items, split_name
from rankscope.tasks.planted import teacher_knobs
from rankscope.tasks.planted_spec import PlantedSpec

__all__ = ["PlantedSpec", "oracle_truncation", "planted_sites", "planted_update", "second_moments", "teacher_of"]

MOMENT_ITEMS, MOMENT_SEED = 512, 0
"""Maps on which a site's input is measured before an update is planted there."""
_BATCH = 64
_CALIBRATION = 64
_ENERGY_SHARE = 0.5
_STRENGTHS = tuple(2.0 ** (quarter / 4) for quarter in range(-24, 25))


def planted_sites(model: PreTrainedModel, spec: PlantedSpec) -> list[str]:
    """The sites that carry the planted update, in model order."""
    return list(linear_sites(model))[-1:] if spec.placement is None else resolve_sites(model, spec.placement)


def second_moments(
    model: PreTrainedModel,
    sites: Sequence[str],
    tokens_NT: Int[np.ndarray, "N T"],
    n_tokens_N: Int[np.ndarray, " N"],
) -> dict[str, Float[Tensor, "I I"]]:
    """Mean of x x^T over the site's inputs, per site, at all tokens but padding, in float64 on the CPU.

    Tokens are right-padded, so padding can not reach the others.
    """
    device = next(model.parameters()).device
    sums: dict[str, Tensor] = {}
    for start in range(0, len(tokens_NT), _BATCH):
        rows = slice(start, start + _BATCH)
        tokens = torch.as_tensor(np.ascontiguousarray(tokens_NT[rows]), dtype=torch.long, device=device)
        lengths = torch.as_tensor(np.ascontiguousarray(n_tokens_N[rows]), device=device)
        real_NT = torch.arange(tokens.shape[1], device=device) < lengths[:, None]
        with torch.no_grad(), _inputs(model, sites) as inputs:
            model(input_ids=tokens, use_cache=False)
        for site, x_NTI in inputs.items():
            x_PI = x_NTI[real_NT].double()
            sums[site] = sums.get(site, 0) + (x_PI.T @ x_PI).cpu()
    n_tokens = int(np.sum(n_tokens_N))
    if n_tokens == 0:
        raise BadInput("Second moments need at least one token.")
    return {site: sums[site] / n_tokens for site in sites}


def planted_update(
    model: PreTrainedModel,
    spec: PlantedSpec,
    tokens_NT: Int[np.ndarray, "N T"],
    n_tokens_N: Int[np.ndarray, " N"],
    scored_NT: Bool[np.ndarray, "N T"] | None = None,
) -> AdapterWeights:
    """The teacher's update: k directions per site, in float32, a function of spec, base and tokens alone.

    Rows of A are orthonormal under the second moment of the site's input (over these tokens), columns of B are
    orthogonal with the strengths as lengths, so equal strength means equal output energy. Right directions lie in
    the span of the input's leading eigenvectors (half of its energy): in the rest, training is too slow to tell rank.
    scored_NT: tokens over which `nats` is meant, such as an item's completion; by default all but padding.
    Raises: BadInput when no strength up to 64 reaches `nats`, or the site has too few dimensions for k.
    """
    sites = planted_sites(model, spec)
    moments = second_moments(model, sites, tokens_NT, n_tokens_N)
    unit = AdapterWeights({site: _planted_factors(model, site, spec, moments[site]) for site in sites})
    if spec.strength is not None:
        return _scaled(unit, spec.strength)
    if scored_NT is None:
        scored_NT = np.arange(tokens_NT.shape[1]) < n_tokens_N[:, None]

    def nats_at(strength: float) -> float:
        return _kl_nats(model, _scaled(unit, strength), tokens_NT[:_CALIBRATION], scored_NT[:_CALIBRATION])

    place = bisect_left(_STRENGTHS, spec.nats, key=nats_at)
    if place == len(_STRENGTHS):
        raise BadInput(
            f"No planted update up to strength {_STRENGTHS[-1]:g} at {', '.join(sites)} moves this base by "
            f"{spec.nats:g} nats a token; ask for fewer nats, or another placement."
        )
    return _scaled(unit, _STRENGTHS[place])


def oracle_truncation(
    update: AdapterWeights, r: int, second_moments: Mapping[str, Float[Tensor, "I I"]]
) -> AdapterWeights:
    """The best r directions per site: the rank-r update with the smallest mean squared output error.

    Directions whose output energies agree to 1e-4 are taken in the order of the factors when these are already
    orthogonal, as a planted update's are, so that equal strengths do not leave the choice to rounding.
    """
    if r < 0:
        raise BadInput(f"The number of directions must be 0 or more, not {r}.")
    return AdapterWeights({site: _best(factors, r, second_moments[site]) for site, factors in update.items()})


def _scaled(unit: AdapterWeights, strength: float) -> AdapterWeights:
    return AdapterWeights({site: Factors(f.A_RI, f.B_OR * strength, f.s) for site, f in unit.items()})


def _kl_nats(model: PreTrainedModel, update: AdapterWeights, tokens_NT: np.ndarray, scored_NT: np.ndarray) -> float:
    """Mean KL(teacher || base) over scored tokens, each predicted from the position before."""
    device, total, count = next(model.parameters()).device, 0.0, int(scored_NT[:, 1:].sum())
    if count == 0:
        raise BadInput("The strength of a planted update needs at least one scored token after the first.")
    for start in range(0, len(tokens_NT), _BATCH):
        tokens = torch.as_tensor(tokens_NT[start : start + _BATCH], dtype=torch.long, device=device)
        scored = torch.as_tensor(scored_NT[start : start + _BATCH, 1:], device=device)
        with torch.no_grad():
            base = model(input_ids=tokens, use_cache=False).logits[:, :-1][scored].log_softmax(-1)
            with attached(model, update):
                teacher = model(input_ids=tokens, use_cache=False).logits[:, :-1][scored].log_softmax(-1)
        total += float((teacher.exp() * (teacher - base)).sum())
    return total / count


@contextmanager
def _inputs(model: PreTrainedModel, sites: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Inputs by site, filled by the next forward pass."""
    seen: dict[str, Tensor] = {}

    def keep(site: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen[site] = inputs[0]

        return hook

    handles = [model.get_submodule(site).register_forward_pre_hook(keep(site)) for site in sites]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _planted_factors(model: PreTrainedModel, site: str, spec: PlantedSpec, M_II: Tensor) -> Factors:
    weight = model.get_submodule(site).get_parameter("weight").detach().double().cpu()
    W_OI = weight.T if is_transposed(model, site) else weight
    if spec.k > min(W_OI.shape):
        raise BadInput(f"{site} maps {W_OI.shape[1]} to {W_OI.shape[0]} values, too few for a planted rank {spec.k}.")
    generator = torch_stream("planted", spec.seed, site)
    right_IK = torch.randn(W_OI.shape[1], spec.k, generator=generator, dtype=torch.float64)
    left_OK = torch.randn(W_OI.shape[0], spec.k, generator=generator, dtype=torch.float64)
    energy = float(torch.einsum("oi,ij,oj->", W_OI, M_II, W_OI))
    B_OK = _orthonormal(left_OK) * _lengths(spec, energy)
    return Factors(_moment_orthonormal(right_IK, M_II).T.float().contiguous(), B_OK.float(), 1.0)


def _lengths(spec: PlantedSpec, energy: float) -> Tensor:
    """One per direction, for strength 1; their squares sum to the map's own output energy."""
    ratio = 1.0 if spec.decay == "equal" else spec.decay
    relative = ratio ** torch.arange(spec.k, dtype=torch.float64)
    scaled: Tensor = relative / relative.norm() * energy**0.5
    return scaled


def _orthonormal(columns_MK: Tensor) -> Tensor:
    """Gram-Schmidt by QR, with the sign fixed so that it is one function of its input on every machine."""
    Q, R = torch.linalg.qr(columns_MK)
    signed: Tensor = Q * torch.where(R.diagonal() < 0, -1.0, 1.0)
    return signed


def _moment_orthonormal(columns_IK: Tensor, M_II: Tensor) -> Tensor:
    """Columns V with V^T M V = 1 inside the leading eigenspace of M; does not depend on eigenvectors' signs."""
    values, vectors = torch.linalg.eigh(M_II)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    share = values.cumsum(0) / values.sum()
    n_kept = min(max(int((share < _ENERGY_SHARE).sum()) + 1, columns_IK.shape[1]), len(values))
    if not float(values[n_kept - 1]) > 1e-12 * float(values[0]):
        raise BadInput(
            f"The site's inputs span fewer than {columns_IK.shape[1]} dimensions on these tokens, too few for the "
            "planted rank; give more items or a smaller k."
        )
    E_IM, values = vectors[:, :n_kept], values[:n_kept]
    inside_IK = _orthonormal(E_IM @ (E_IM.T @ columns_IK))
    whitened: Tensor = (E_IM / values.sqrt()) @ (E_IM.T @ inside_IK)
    return whitened


def _best(factors: Factors, r: int, M_II: Tensor) -> Factors:
    if r >= factors.rank:
        return factors
    A_RI, B_OR = factors.A_RI.double().cpu(), factors.B_OR.double().cpu()
    gram_A, gram_B = A_RI @ M_II @ A_RI.T, B_OR.T @ B_OR
    if _is_diagonal(gram_A) and _is_diagonal(gram_B):
        energies = gram_A.diagonal() * gram_B.diagonal()
        ranked = (-(energies / energies.max()).round(decimals=4)).argsort(stable=True)[:r].to(factors.A_RI.device)
        return Factors(factors.A_RI[ranked], factors.B_OR[:, ranked], factors.s)
    U_OR, _, _ = low_rank_svd(A_RI @ square_root(M_II), B_OR, factors.s)
    best_OK = U_OR[:, :r]
    return Factors((best_OK.T @ B_OR @ A_RI).to(factors.A_RI), best_OK.to(factors.B_OR), factors.s)


def _is_diagonal(gram_RR: Tensor) -> bool:
    lengths = gram_RR.diagonal().clamp(min=torch.finfo(gram_RR.dtype).tiny).sqrt()
    cosines_RR = gram_RR / lengths[:, None] / lengths
    return float(cosines_RR.fill_diagonal_(0).abs().max()) < 1e-4


@lru_cache(maxsize=64)
def teacher_of(base: Base, task: str) -> AdapterWeights | None:
    """The planted update of a `planted:...` task on that base; None for every other task.

    A function of the base and the task name alone: second moments come from maps of the task's own, data seed 0.
    """
    kind, knobs = split_name(task)
    if kind != "planted":
        return None
    items = load_items(task, "train", MOMENT_ITEMS, MOMENT_SEED, base.tokenizer)
    return planted_update(base.model, PlantedSpec.parse(teacher_knobs(knobs)), items.tokens_NT, items.n_tokens_N)
