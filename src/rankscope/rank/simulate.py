"""Rank curves whose truth is known because they are drawn: how often the sets hold it, and how often tests cry wolf.

Scores have two-way random effects, as trained cells do: seeds and items are crossed, and each arm has effects of its
own besides those it shares. A share of items is probit, so its mean is exact too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from scipy import special

from rankscope.base.seeds import numpy_stream
from rankscope.rank.records import NullTest, SimulatedSets
from rankscope.rank.recovery import gain_ratio
from rankscope.rank.required import doublings, gain_contrast, holds, required_rank
from rankscope.stats.crossed import crossed_interval
from rankscope.stats.proportion import clopper_pearson

RANKS = (1, 2, 4, 8, 16, 32)
Q = 0.9
BASE, DENSE = 0.1, 0.8
N_ITEMS = 200
HAIR = 1e-9


@dataclass(frozen=True)
class Effects:
    """Standard deviations of the random effects, in units of the noise of a single score."""

    seed: float = 0.05
    """Of a seed on all arms."""
    arm_seed: float = 0.1
    """Of a seed on one arm."""
    item: float = 1.0
    """Of an item on all arms."""
    arm_item: float = 0.3
    """Of an item on one arm."""

    @property
    def total_variance(self) -> float:
        """With the noise of a single score, 1."""
        return 1 + self.seed**2 + self.arm_seed**2 + self.item**2 + self.arm_item**2


@dataclass(frozen=True)
class Family:
    """Curves of one kind. Means are of the whole population of seeds and items."""

    name: str
    curve: Callable[[np.random.Generator], tuple[float, ...]]
    """A draw of the mean score at each of RANKS."""
    n_seeds: int = 5
    is_share: bool = True
    """Scores are 0 or 1; else normal with a standard deviation of 0.3 around the mean."""
    effects: Effects = field(default_factory=Effects)


def steep(random: np.random.Generator) -> tuple[float, ...]:
    """Gain in proportion to the rank up to a need of 1 to 32, then all of it: a planted skill of equal strengths."""
    need = 2 ** random.integers(0, 6)
    return tuple(BASE + (DENSE - BASE) * min(1.0, rank / need) for rank in RANKS)


def smooth(random: np.random.Generator) -> tuple[float, ...]:
    """Gain that closes a constant share of what is missing with every direction: any rank may lie near the bar."""
    per_rank = 10 ** random.uniform(-1.3, 0.3)
    return tuple(BASE + (DENSE - BASE) * (1 - float(np.exp(-per_rank * rank))) for rank in RANKS)


def at_the_bar(random: np.random.Generator) -> tuple[float, ...]:
    """The worst case: one rank exactly at q of dense's gain, and the one below it a hair under."""
    bar = BASE + Q * (DENSE - BASE)
    at = int(random.integers(1, len(RANKS) - 1))
    below = tuple(BASE + (bar - BASE) * 0.5 for _ in RANKS[: at - 1])
    return (*below, bar - HAIR, bar, *(DENSE for _ in RANKS[at + 1 :]))


FAMILIES = (
    Family("equal strengths", steep),
    Family("smooth curves", smooth),
    Family("smooth curves, 10 seeds", smooth, n_seeds=10),
    Family("smooth curves in nats", smooth, is_share=False),
    Family("one rank exactly at the bar, the one below a hair under", at_the_bar),
)


def arm_scores(
    random: np.random.Generator,
    means: Mapping[str, float],
    effects: Effects,
    shape_SN: tuple[int, int],
    is_share: bool,
) -> dict[str, Float[np.ndarray, "S N"]]:
    """Scores of several arms on the same seeds and items, each with exactly that population mean.

    The arm `base` is one model: it has no seed effects, and the same scores in every row.
    """
    S, N = shape_SN
    seed_S1, item_1N = effects.seed * random.standard_normal((S, 1)), effects.item * random.standard_normal((1, N))
    found = {}
    for name, mean in means.items():
        felt = replace(effects, seed=0.0, arm_seed=0.0) if name == "base" else effects
        own_SN = felt.arm_seed * random.standard_normal((S, 1)) + felt.arm_item * random.standard_normal((1, N))
        noise_SN = item_1N + own_SN + random.standard_normal((S, N)) + (0.0 if name == "base" else seed_S1)
        if is_share:
            cut = float(special.ndtri(mean)) * felt.total_variance**0.5
            scores_SN = (noise_SN + cut > 0).astype(float)
        else:
            scores_SN = mean + 0.3 * noise_SN
        found[name] = np.tile(scores_SN[:1], (S, 1)) if name == "base" else scores_SN
    return found


def true_rank(curve: tuple[float, ...]) -> int:
    """The smallest of RANKS from which every one reaches Q of dense's gain; past the largest where none does."""
    bar = BASE + Q * (DENSE - BASE)
    enough = [mean >= bar - HAIR / 2 for mean in curve]
    first = len(RANKS)
    while first > 0 and enough[first - 1]:
        first -= 1
    return RANKS[first] if first < len(RANKS) else RANKS[-1] + 1


def simulated_sets(n_curves: int, seed: int = 0, families: tuple[Family, ...] = FAMILIES) -> tuple[SimulatedSets, ...]:
    """How often the 95 % sets of required rank hold the truth, a row per family of `n_curves` curves each."""
    return tuple(_sets_of(family, n_curves, seed) for family in families)


def _sets_of(family: Family, n_curves: int, seed: int) -> SimulatedSets:
    random = numpy_stream("simulated curves", family.name, seed)
    covered, widths = 0, []
    for _ in range(n_curves):
        curve = family.curve(random)
        means = {f"{rank}": mean for rank, mean in zip(RANKS, curve, strict=True)} | {"dense": DENSE, "base": BASE}
        scores = arm_scores(random, means, family.effects, (family.n_seeds, N_ITEMS), family.is_share)
        found = required_rank({rank: scores[f"{rank}"] for rank in RANKS}, scores["dense"], None, scores["base"][0], Q)
        covered += holds(found, true_rank(curve))
        widths.append(doublings(found, RANKS[-1]))
    low, high = clopper_pearson(covered, n_curves)
    return SimulatedSets(
        family=family.name,
        n_seeds=family.n_seeds,
        n_items=N_ITEMS,
        n_curves=n_curves,
        covered=covered,
        coverage_low=low,
        coverage_high=high,
        median_doublings=float(np.median(widths)),
    )


def null_tests(n_nulls: int, seed: int = 0) -> tuple[NullTest, ...]:
    """How often each two-sided 5 % test rejects where there is nothing to find, a row per test."""
    tests = {
        "sufficiency of a rank at exactly q of dense's gain, 5 seeds": (5, True, _rejects_bar),
        "the same, scores in nats": (5, False, _rejects_bar),
        "the same, 10 seeds": (10, True, _rejects_bar),
        "difference of two arms that are alike, 5 seeds": (5, True, _rejects_twins),
        "recovery at its true value, 5 seeds": (5, True, _rejects_ratio),
    }
    rows = []
    for name, (n_seeds, is_share, rejects) in tests.items():
        random = numpy_stream("simulated nulls", name, seed)
        rejected = sum(rejects(random, (n_seeds, N_ITEMS), is_share) for _ in range(n_nulls))
        low, high = clopper_pearson(rejected, n_nulls)
        rows.append(NullTest(test=name, n_nulls=n_nulls, rejected=rejected, low=low, high=high))
    return tuple(rows)


def _excludes(low: float | None, high: float | None, value: float) -> bool:
    return (low is not None and value < low) or (high is not None and value > high)


def _rejects_bar(random: np.random.Generator, shape_SN: tuple[int, int], is_share: bool) -> bool:
    means = {"rank": BASE + Q * (DENSE - BASE), "dense": DENSE, "base": BASE}
    scores = arm_scores(random, means, Effects(), shape_SN, is_share)
    found = crossed_interval(gain_contrast(scores["rank"], scores["dense"], scores["base"][0], Q))
    return _excludes(found.low, found.high, 0.0)


def _rejects_twins(random: np.random.Generator, shape_SN: tuple[int, int], is_share: bool) -> bool:
    scores = arm_scores(random, {"one": 0.6, "other": 0.6}, Effects(), shape_SN, is_share)
    found = crossed_interval(scores["one"] - scores["other"])
    return _excludes(found.low, found.high, 0.0)


def _rejects_ratio(random: np.random.Generator, shape_SN: tuple[int, int], is_share: bool) -> bool:
    scores = arm_scores(random, {"adapter": 0.6, "full": DENSE, "base": BASE}, Effects(), shape_SN, is_share)
    found = gain_ratio(scores["adapter"], scores["full"], scores["base"][0])
    return _excludes(found.low, found.high, (0.6 - BASE) / (DENSE - BASE))
