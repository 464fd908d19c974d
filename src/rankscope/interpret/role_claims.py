"""Claims about what adapter directions are for, as rules that were fixed before any result was seen.

The **role score** of a direction is its held-out AUROC within positions for the best of some roles: role and sign are
chosen on one half of the items and scored on the other, so it is 0.5 on average where nothing is there.

1. *Adapter directions are as interpretable as MLP neurons.* The mean role score over adapter directions less that over
   as many hidden units on the same items, all roles allowed. `supported` if the low end of its 95 % interval is above
   -0.02, `refuted` if the high end is below -0.02, else `undecided`.
2. *Adapter directions fire for reasoning-specific tokens.* The same with only reasoning roles allowed, which are the
   tags of a task that follow from its problem and not from the kind of token (all tags, unless named), against hidden
   units and random directions alike. `supported` if the low ends of both intervals are above 0, `refuted` if the high
   end of either is at most 0, else `undecided`.

Intervals are percentiles of a bootstrap that draws items, the same ones for both populations, and directions, of each
population by itself. Role scores of drawn items are taken to first order (`auroc.influence_N`); roles and signs are as
chosen once.
"""

from collections.abc import Collection, Mapping

import numpy as np
from jaxtyping import Float

from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.base.seeds import numpy_stream
from rankscope.capture.channels import POPULATION_NAMES, Population
from rankscope.interpret.role_labels import TAG
from rankscope.interpret.role_scores import PopulationScores, chosen_roles
from rankscope.stats.interval import Interval

MARGIN = 0.02
DRAWS = 2000
LEVEL = 0.95
LIMITS = (
    "One trained adapter: another training may differ.",
    "Roles and signs are chosen once, on the other half of the items; the interval does not repeat that choice.",
    "A direction that tells something no role names counts as uninterpretable here.",
)


class RoleClaim(Config):
    """A claim about roles with its verdict; a study makes a card of it."""

    claim: str
    rule: str
    differences: dict[str, Interval]
    """Population -> mean role score of adapter directions less that population's."""
    mean_scores: dict[str, float]
    """Name of the population -> mean role score."""
    verdict: str
    """supported | refuted | undecided"""
    because: str
    limits: tuple[str, ...] = LIMITS


def as_interpretable_as_neurons(scores: Mapping[Population, PopulationScores], seed: int = 0) -> RoleClaim:
    """Claim 1. Raises BadInput unless scores of `adapter` and `mlp` on the same items are given."""
    found = differences(scores, ("mlp",), None, seed)
    (interval,) = found.values()
    assert interval.low is not None
    assert interval.high is not None
    verdict = "supported" if interval.low > -MARGIN else "refuted" if interval.high < -MARGIN else "undecided"
    return RoleClaim(
        claim="Adapter directions are as interpretable as MLP neurons.",
        rule=f"Mean held-out role score, adapter less MLP units: a 95 % interval above -{MARGIN} supports it, one "
        f"below -{MARGIN} refutes it.",
        differences=found,
        mean_scores=_means(scores, ("adapter", "mlp"), None),
        verdict=verdict,
        because=f"The difference is {_words(interval)}; the margin is -{MARGIN}.",
    )


def fires_for_reasoning(
    scores: Mapping[Population, PopulationScores], reasoning: Collection[str] | None = None, seed: int = 0
) -> RoleClaim:
    """Claim 2. `reasoning`: names such as `tag:on_path`; None for every tag.

    Raises BadInput unless scores of `adapter`, `mlp` and `random` on the same items are given, or for unknown names.
    """
    against: tuple[Population, ...] = ("mlp", "random")
    found = differences(scores, against, reasoning if reasoning is not None else all_tags(scores), seed)
    if all(interval.low is not None and interval.low > 0 for interval in found.values()):
        verdict = "supported"
    elif any(interval.high is not None and interval.high <= 0 for interval in found.values()):
        verdict = "refuted"
    else:
        verdict = "undecided"
    words = "; ".join(f"less {POPULATION_NAMES[name]} it is {_words(found[name])}" for name in against)
    return RoleClaim(
        claim="Adapter directions fire for reasoning-specific tokens.",
        rule="Mean held-out score of the best reasoning role, adapter less MLP units and less random directions: both "
        "95 % intervals above 0 support it, either at or below 0 refutes it.",
        differences=found,
        mean_scores=_means(scores, ("adapter", *against), reasoning if reasoning is not None else all_tags(scores)),
        verdict=verdict,
        because=f"The adapter's mean role score on reasoning roles: {words}.",
    )


def all_tags(scores: Mapping[Population, PopulationScores]) -> tuple[str, ...]:
    """Names of every tag, judged or not."""
    some = next(iter(scores.values()))
    return tuple(name for name in some.scored_on.roles.names if name.startswith(f"{TAG}:"))


def differences(
    scores: Mapping[Population, PopulationScores],
    against: tuple[Population, ...],
    allowed: Collection[str] | None,
    seed: int,
) -> dict[str, Interval]:
    """Mean role score of the adapter's directions less that of each other population; `allowed` None for all roles."""
    missing = [name for name in ("adapter", *against) if name not in scores]
    if missing:
        raise BadInput(f"This claim needs role scores of {', '.join(missing)} too. Record and score them.")
    adapter = scores["adapter"]
    return {name: difference(adapter, scores[name], allowed, seed) for name in against}


def difference(
    first: PopulationScores, second: PopulationScores, allowed: Collection[str] | None = None, seed: int = 0
) -> Interval:
    """Mean role score of the first less the second, with its crossed bootstrap over items and directions."""
    if not np.array_equal(first.scored_on.items_N, second.scored_on.items_N):
        raise BadInput("The two populations were scored on other items. Capture both on the same items, with one seed.")
    random = numpy_stream("role claims", seed)
    n_items = len(first.scored_on.items_N)
    weight_DN = random.multinomial(n_items, np.full(n_items, 1 / n_items), DRAWS) - 1.0
    means, drawn = [], []
    for scores in (first, second):
        auroc_F, influence_NF = role_scores(scores, allowed)
        n_directions = len(auroc_F)
        share_DF = random.multinomial(n_directions, np.full(n_directions, 1 / n_directions), DRAWS) / n_directions
        drawn.append(((auroc_F + weight_DN @ influence_NF) * share_DF).sum(1))
        means.append(float(auroc_F.mean()))
    low, high = np.quantile(drawn[0] - drawn[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(
        estimate=means[0] - means[1],
        low=float(low),
        high=float(high),
        level=LEVEL,
        method=f"crossed bootstrap, {n_items} items x {first.auroc_A_GF.shape[1]} directions a side, one adapter",
        n_seeds=1,
        n_items=n_items,
    )


def role_scores(
    scores: PopulationScores, allowed: Collection[str] | None = None
) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, "N F"]]:
    """Role score of every direction and its derivative by the weights of items.

    Raises: BadInput for a role that there is not, or when none of those allowed can be judged.
    """
    names = scores.scored_on.roles.names
    unknown = sorted(set(allowed or ()) - set(names))
    if unknown:
        raise BadInput(f"There is no role named {unknown[0]!r}; the roles are {', '.join(names)}.")
    allowed_G = np.array([allowed is None or name in allowed for name in names], dtype=bool)
    found = []
    for direction, (role, sign) in enumerate(chosen_roles(scores.auroc_A_GF, allowed_G)):
        if role is None:
            raise BadInput("None of these roles can be judged on these items: each is rare, or fixed by position.")
        found.append(scores.scored_on.influence(direction, role, sign))
    return np.array([auroc for auroc, _ in found]), np.stack([derivative_N for _, derivative_N in found], axis=1)


def _means(
    scores: Mapping[Population, PopulationScores], names: tuple[Population, ...], allowed: Collection[str] | None
) -> dict[str, float]:
    return {POPULATION_NAMES[name]: float(role_scores(scores[name], allowed)[0].mean()) for name in names}


def _words(interval: Interval) -> str:
    return f"{interval.estimate:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
