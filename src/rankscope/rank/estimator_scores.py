"""How well a spectral estimator tells a rank that is known, and what moves it that should not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from rankscope.base.errors import BadInput
from rankscope.rank.records import EstimatorScore
from rankscope.stats.crossed import crossed_interval

Target = Literal["planted", "functional"]
AS_TUNED, LESS_NOISE, NOISE, MORE_NOISE = "as tuned", "less noise", "noise", "more noise"
NOMINAL = "nominal rank"
LEAST = 0.5
"""An estimate below this counts as this: a count may be 0, and 0 has no logarithm."""


@dataclass(frozen=True)
class Estimated:
    """One trained adapter: what it should be told to have, and what each estimator says."""

    teacher: str
    """Which planted update it learnt; teachers are the units of every interval."""
    nominal: int
    seed: int
    planted: int
    """The oracle's rank of the planted update at q."""
    functional: int | None
    """The adapter's own functional rank at q; None where it was not truncated."""
    nuisance: str
    """How the training differs from the tuned one; AS_TUNED where it does not, one of the noises where its targets
    were drawn."""
    estimates: Mapping[str, float]
    """Estimator -> its mean over sites; one that has no answer is absent."""

    def truth(self, target: Target) -> int | None:
        """The rank held against, None where there is none above 0."""
        found = self.planted if target == "planted" else self.functional
        return found or None


def estimator_scores(cells: Sequence[Estimated]) -> tuple[EstimatorScore, ...]:
    """A row per estimator and target, the smallest error first, over adapters of nominal rank at or above the truth."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.estimates))
    rows = [row for target in ("planted", "functional") for name in names if (row := _score(cells, name, target))]
    return tuple(sorted(rows, key=lambda row: (row.target != "planted", row.error_doublings.estimate)))


def _score(cells: Sequence[Estimated], name: str, target: Target) -> EstimatorScore | None:
    able = [
        cell for cell in cells if (truth := cell.truth(target)) and cell.nominal >= truth and name in cell.estimates
    ]
    if not able:
        return None
    estimates = np.array([max(cell.estimates[name], LEAST) for cell in able])
    truths = np.array([cell.truth(target) for cell in able], dtype=float)
    off = np.log2(estimates / truths)
    of_teacher: dict[str, list[float]] = {}
    for distance, cell in zip(np.abs(off), able, strict=True):
        of_teacher.setdefault(cell.teacher, []).append(float(distance))
    by_teacher = [float(np.mean(found)) for found in of_teacher.values()]
    moves = moves_of(able, name)
    varies = np.ptp(estimates) > 0 and np.ptp(truths) > 0
    return EstimatorScore(
        estimator=name,
        target=target,
        n_cells=len(able),
        error_doublings=crossed_interval(np.array(by_teacher)[:, None]),
        bias_doublings=float(off.mean()),
        correlation=float(stats.spearmanr(estimates, truths).statistic) if varies else None,
        moved_by={nuisance: float(np.mean(found)) for nuisance, found in moves.items()},
        n_moved={nuisance: len(found) for nuisance, found in moves.items()},
    )


def moves_of(cells: Sequence[Estimated], name: str) -> dict[str, list[float]]:
    """Nuisance -> |log2| of each estimate over that of the same teacher, seed and nominal rank trained as tuned.

    NOMINAL compares the largest nominal rank of a teacher and seed with the smallest, both trained as tuned. Raises
    BadInput when two adapters differ in nothing that they are told apart by.
    """
    by_place: dict[tuple[str, str, int, int], float] = {}
    for cell in cells:
        place = (cell.nuisance, cell.teacher, cell.seed, cell.nominal)
        if place in by_place:
            raise BadInput(
                f"Two adapters of nominal rank {cell.nominal}, seed {cell.seed}, of {cell.teacher} are both "
                f"{cell.nuisance!r}, so one would hide the other. Give what they differ in a nuisance of its own."
            )
        by_place[place] = max(cell.estimates[name], LEAST)
    moves: dict[str, list[float]] = {}
    tuned_runs: dict[tuple[str, int], dict[int, float]] = {}
    for (nuisance, teacher, seed, nominal), value in by_place.items():
        tuned = by_place.get((AS_TUNED, teacher, seed, nominal))
        if nuisance == AS_TUNED:
            tuned_runs.setdefault((teacher, seed), {})[nominal] = value
        elif tuned is not None:
            moves.setdefault(nuisance, []).append(abs(float(np.log2(value / tuned))))
    for _, of_run in sorted(tuned_runs.items()):
        if len(of_run) > 1:
            moves.setdefault(NOMINAL, []).append(abs(float(np.log2(of_run[max(of_run)] / of_run[min(of_run)]))))
    return moves


def mean_estimates(
    spectra: Iterable[np.ndarray], estimators: Mapping[str, Callable[[np.ndarray], float | None]]
) -> dict[str, float]:
    """Estimator -> its mean over sites; one that has no answer at some site is left out."""
    spectra = list(spectra)
    found = {name: [estimator(values) for values in spectra] for name, estimator in estimators.items()}
    return {
        name: float(np.mean([value for value in values if value is not None]))
        for name, values in found.items()
        if all(value is not None for value in values)
    }
