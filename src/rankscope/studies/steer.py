"""One direction of an adapter scaled or pushed on held-out items: what becomes of scores and texts."""

from collections.abc import Sequence

import numpy as np
import torch

from rankscope.adapters.truncate import signed_directions
from rankscope.adapters.weights import AdapterWeights
from rankscope.base.config import Config
from rankscope.base.errors import BadInput, NotSupported, UnknownName, near_matches
from rankscope.capture.scalar_moments import scalar_moments
from rankscope.capture.views import Direction, canonical_view
from rankscope.interpret.causal import FACTORS, PUSHES, causal_checks, usual_changes
from rankscope.interpret.look_records import CausalCheck
from rankscope.interpret.slugs import slug_of
from rankscope.lm.bases import Base
from rankscope.lm.read_decoder import why_not_decodable
from rankscope.tasks.encoded import EncodedItems


class Steering(Config):
    """What was done to one direction, and what became of it."""

    direction: str
    """Its slug."""
    site: str
    index: int
    """Place among the site's singular values."""
    sigma: float
    """Its singular value."""
    rms: float
    """Root mean square of its value sigma (v . x) over all tokens of the items, the adapter left alone."""
    n_items: int
    pushes: tuple[float, ...]
    """In root mean squares, in the order of the checks that steer."""
    checks: tuple[CausalCheck, ...]


def steer(
    base: Base,
    weights: AdapterWeights,
    items: EncodedItems,
    direction: str,
    factors: Sequence[float] = FACTORS,
    pushes: Sequence[float] = PUSHES,
) -> Steering:
    """Scales the direction of that slug (such as `L3.mlp.up_proj.0`) by each factor, then pushes it by each push.

    factors: 0 switches the direction off, -1 turns it round, 1 leaves it alone. pushes: constants added to its value
    at every token, in root mean squares of that value. Texts are generated greedily.
    Raises: UnknownName for a slug that the adapter has not; BadInput for several directions that can not be told apart,
    for no change, or one that is not finite, or for a single item; NotSupported for a base that our decoder does not
    run.
    """
    why_not = why_not_decodable(base.model)
    if why_not is not None:
        raise NotSupported(f"Directions are steered on our decoder, which does not run {base.name} ({why_not}).")
    if not np.isfinite([*factors, *pushes]).all():
        raise BadInput(f"Factors and pushes must be finite numbers, not {[*factors, *pushes]}.")
    one = _found(weights, direction)
    rms = _rms(base, weights, items, one)
    tokenizer = base.tokenizer
    checks = causal_checks(
        base.model,
        weights,
        one.site,
        one.indices[0],
        usual_changes(rms, factors, pushes),
        items,
        lambda ids: str(tokenizer.decode(list(ids))),
    )
    return Steering(
        direction=direction,
        site=one.site,
        index=one.indices[0],
        sigma=one.strengths[0],
        rms=rms,
        n_items=len(items),
        pushes=tuple(pushes),
        checks=checks,
    )


def _found(weights: AdapterWeights, slug: str) -> Direction:
    """The direction of that name, which must be a single one."""
    known = {slug_of(one): one for one in canonical_view(weights, list(weights)).directions}
    if slug not in known:
        raise UnknownName(f"The adapter has no direction {slug!r}; it has {len(known)}. {near_matches(slug, known)}")
    if known[slug].is_subspace:
        raise BadInput(
            f"{slug} stands for directions whose singular values are too close to tell them apart, so which of them is "
            "changed would be chance. Give a single direction."
        )
    return known[slug]


def _rms(base: Base, weights: AdapterWeights, items: EncodedItems, one: Direction) -> float:
    """Of u . s B (A x), which is sigma (v . x)."""
    factors = weights[one.site]
    u_O = signed_directions(factors).U_OR[:, one.indices[0]]
    read_R = factors.s * (factors.B_OR.detach().cpu().double().T @ u_O)
    moment_RR = scalar_moments(base.model, weights, items, [one.site])[one.site]
    return float(torch.clamp(read_R @ moment_RR @ read_R, min=0).sqrt())
