"""Claims about what adapter directions are for, as rules that were fixed before any result was seen.

The **role score** of a direction is its held-out AUROC within positions for the best of some roles: role and sign are
chosen on one half of the items and scored on the other, so it is 0.5 on average where nothing is there.

1. *Adapter directions are as interpretable as MLP neurons.* The mean role score over adapter directions less that over
   as many hidden units on the same items, all roles allowed. `supported` if the low end of its 95 % interval is above
   -0.02, `refuted` if the high end is below -0.02, else `undecided`.
2. *Adapter directions fire for reasoning-specific tokens.* The same with only reasoning roles allowed, which are the
   tags of a task that follow from its problem and not from the kind of token (`tasks.roles.FORM_TAGS` are left out),
   against hidden units and random directions alike. `supported` if the low ends of both intervals are above 0,
   `refuted` if the high end of either is at most 0, else `undecided`.

Fewer than five adapters: `underpowered`. Of one adapter a claim tells what it would be for that adapter alone, by a
bootstrap that draws items, the same ones for both populations, and directions, of each population by itself. Of
several, seeds and items are crossed (`role_values_N`), and what directions there are is part of the seed. Role scores
of drawn items are taken to first order (`auroc.influence_N`); roles and signs are as chosen once.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.base.seeds import numpy_stream
from rankscope.capture.channels import POPULATION_NAMES, Population
from rankscope.interpret.role_labels import TAG
from rankscope.interpret.role_scores import PopulationScores, chosen_roles
from rankscope.stats.interval import Interval
from rankscope.tasks.roles import FORM_TAGS

MARGIN = 0.02
DRAWS = 2000
LEVEL = 0.95
LIMITS = (
    "Roles and signs are chosen once, on the other half of the items; the interval does not repeat that choice.",
    "A direction that tells something no role names counts as uninterpretable here.",
    "In a mix of skills, telling skills apart helps to tell roles; so it does for what the adapter is compared with.",
)
Verdict = Callable[[Sequence[Interval]], str]


@dataclass(frozen=True)
class RoleQuestion:
    """A claim about role scores, and how differences of their means decide it."""

    key: str
    """Names it in tables."""
    claim: str
    rule: str
    against: tuple[Population, ...]
    """What the adapter's directions are compared with."""
    of_reasoning: bool
    """Whether reasoning roles alone count."""
    bar: float
    """What the differences are held against."""
    verdict_of: Verdict
    """Intervals of adapter less each of `against` -> supported | refuted | undecided."""
    beside: tuple[Population, ...] = ()
    """What is told beside it and judges nothing: what holds of random directions too, training did not bring."""

    @property
    def populations(self) -> tuple[Population, ...]:
        """All whose scores are told, the adapter's first."""
        return ("adapter", *self.against, *self.beside)

    def roles(self, names: Sequence[str]) -> tuple[str, ...] | None:
        """Those of the task's roles that count; None for all."""
        return reasoning_roles(names) if self.of_reasoning else None


def _not_below_the_margin(differences: Sequence[Interval]) -> str:
    (found,) = differences
    if found.low is not None and found.low > -MARGIN:
        return "supported"
    return "refuted" if found.high is not None and found.high < -MARGIN else "undecided"


def _above_all(differences: Sequence[Interval]) -> str:
    if all(one.low is not None and one.low > 0 for one in differences):
        return "supported"
    return "refuted" if any(one.high is not None and one.high <= 0 for one in differences) else "undecided"


AS_NEURONS = RoleQuestion(
    key="any role",
    claim="adapter directions are as interpretable as MLP neurons",
    rule=f"Mean held-out role score, adapter less MLP units: a 95 % interval above -{MARGIN} supports it, one below "
    f"-{MARGIN} refutes it. Underpowered with fewer than five adapters.",
    against=("mlp",),
    of_reasoning=False,
    bar=-MARGIN,
    verdict_of=_not_below_the_margin,
    beside=("random",),
)
FOR_REASONING = RoleQuestion(
    key="reasoning roles",
    claim="adapter directions fire for reasoning-specific tokens",
    rule="Mean held-out score of the best reasoning role, adapter less MLP units and less random directions: both 95 % "
    "intervals above 0 support it, either at or below 0 refutes it. Underpowered with fewer than five adapters.",
    against=("mlp", "random"),
    of_reasoning=True,
    bar=0.0,
    verdict_of=_above_all,
)
QUESTIONS = (AS_NEURONS, FOR_REASONING)


class RoleClaim(Config):
    """What one adapter says of a claim about roles."""

    claim: str
    rule: str
    differences: dict[str, Interval]
    """Population -> mean role score of adapter directions less that population's."""
    mean_scores: dict[str, float]
    """Name of the population -> mean role score."""
    would_be: str
    """supported | refuted | undecided, if this adapter were all there is; the verdict is `underpowered`."""
    because: str
    limits: tuple[str, ...] = LIMITS


def reasoning_roles(names: Sequence[str]) -> tuple[str, ...]:
    """Names of the tags that follow from the problem, judged or not."""
    form = {f"{TAG}:{tag}" for tag in FORM_TAGS}
    return tuple(name for name in names if name.startswith(f"{TAG}:") and name not in form)


def judge_one(question: RoleQuestion, scores: Mapping[Population, PopulationScores], seed: int = 0) -> RoleClaim:
    """What one adapter says: its differences with their bootstrap over items and directions.

    Raises BadInput unless scores of `adapter` and of all that it is compared with are given, on the same items.
    """
    _check_there(question, scores)
    allowed = question.roles(scores["adapter"].scored_on.roles.names)
    found = {name: difference(scores["adapter"], scores[name], allowed, seed) for name in question.against}
    would_be = question.verdict_of(list(found.values()))
    told = "; ".join(f"less {POPULATION_NAMES[name]} {interval_words(found[name])}" for name in question.against)
    counted = f" Roles that count: {', '.join(name.partition(':')[2] for name in allowed)}." if allowed else ""
    return RoleClaim(
        claim=question.claim,
        rule=question.rule,
        differences=found,
        mean_scores={
            POPULATION_NAMES[name]: float(role_scores(scores[name], allowed)[0].mean()) for name in question.populations
        },
        would_be=would_be,
        because=f"For this adapter alone, over its items and directions, it would be {would_be}; another training may "
        f"differ. Mean role score of its directions {told}.{counted}",
    )


def _check_there(question: RoleQuestion, scores: Mapping[Population, PopulationScores]) -> None:
    missing = [name for name in question.populations if name not in scores]
    if missing:
        raise BadInput(f"This claim needs role scores of {', '.join(missing)} too. Record and score them.")


def role_values_N(scores: PopulationScores, allowed: Collection[str] | None) -> Float[np.ndarray, " N"]:
    """One value per held-out item, whose mean is the population's mean role score and whose spread is what items do.

    To first order, a mean of these values over drawn items is the role score on those items.
    """
    auroc_F, influence_NF = role_scores(scores, allowed)
    return np.asarray(auroc_F.mean() + len(influence_NF) * influence_NF.mean(1))


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


def interval_words(interval: Interval) -> str:
    """A difference of role scores with its ends."""
    ends = ["–" if end is None else f"{end:+.3f}" for end in (interval.low, interval.high)]
    return f"{interval.estimate:+.3f} [{ends[0]}, {ends[1]}]"
