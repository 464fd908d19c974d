"""Views: what is shown of recorded columns. Raw adapter scalars depend on how factors are written; a view does not.

The canonical view of a site with update s B A = U diag(S) V shows S_i (V_i . x). Since S V = U^T s B A, it is the map
C = U^T s B of the raw scalars A x, and no system is solved. The sign of direction i is fixed by the entry of U_i with
the largest magnitude, which is positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from rankscope.adapters.truncate import directions, matrix_rank, signed_directions
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput

NEAR = 0.05
"""Singular values that differ by no more than this share of the larger one span a subspace that is shown as one."""


@dataclass(frozen=True)
class Direction:
    """What one shown column is: a direction of a site, or a subspace of directions that can not be told apart."""

    site: str
    indices: tuple[int, ...]
    """Places among the site's directions, strongest first; several for a subspace."""
    strengths: tuple[float, ...]
    """Singular values of the update, in the units of the site's output per unit of input; 1 where there is none."""

    @property
    def is_subspace(self) -> bool:
        """Whether the column is a norm over several directions: never negative, and without a sign of its own."""
        return len(self.indices) > 1

    @property
    def label(self) -> str:
        """Site and index, such as `h.0.mlp.c_proj #0` or `h.0.mlp.c_proj #1-2`."""
        span = f"{self.indices[0]}-{self.indices[-1]}" if self.is_subspace else f"{self.indices[0]}"
        return f"{self.site} #{span}"


@dataclass(frozen=True)
class Part:
    """Shown columns that depend on one slice of the recorded ones."""

    start: int
    """First recorded column of the slice."""
    map_KC: Float[np.ndarray, "K C"]
    """From C recorded columns to K values."""
    directions: tuple[Direction, ...]
    """In order; their indices together cover 0 to K - 1, each once and ascending."""

    def of(self, raw_MD: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "M F"]:
        """What is shown of M tokens: a value per direction, a norm per subspace."""
        values_MK = raw_MD[:, self.start : self.start + self.map_KC.shape[1]] @ self.map_KC.T.astype(raw_MD.dtype)
        if not any(one.is_subspace for one in self.directions):
            return values_MK
        first = self.directions[0].indices[0]
        columns = [values_MK[:, [index - first for index in one.indices]] for one in self.directions]
        return np.stack([_shown(values) for values in columns], axis=1)


def _shown(values_MK: np.ndarray) -> np.ndarray:
    return values_MK[:, 0] if values_MK.shape[1] == 1 else np.asarray(np.linalg.norm(values_MK, axis=1))


@dataclass(frozen=True)
class View:
    """F shown columns of D recorded ones."""

    parts: tuple[Part, ...]

    @property
    def directions(self) -> tuple[Direction, ...]:
        """What each shown column is."""
        return tuple(direction for part in self.parts for direction in part.directions)

    def __len__(self) -> int:
        return sum(len(part.directions) for part in self.parts)

    def of(self, raw_MD: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "M F"]:
        """What is shown of M tokens, in float32 or as precise as it came.

        Raises: BadInput where no column is shown, which is how captures of 16-bit adapters were once written.
        """
        if not self.parts:
            raise BadInput(
                "This capture shows no direction of its adapter: it holds an adapter that changes nothing, or was "
                "written by an earlier version from one in bfloat16 or float16. Record it again in a new folder."
            )
        raw_MD = raw_MD.astype(np.promote_types(raw_MD.dtype, np.float32), copy=False)
        return np.concatenate([part.of(raw_MD) for part in self.parts], axis=1)


def canonical_view(weights: AdapterWeights, sites: Sequence[str]) -> View:
    """The canonical view of raw scalars recorded at these sites, in this order.

    Directions whose singular value is rounding are left out: their scalars are rounding too. Unchanged, to rounding,
    under A -> c A, B -> B / c and under A -> Q A, B -> B Q^-1.
    Raises: BadInput when nothing is left, as for an adapter that was never trained.
    """
    parts, start = [], 0
    for site in sites:
        part = _canonical_part(site, weights[site], start)
        if part is not None:
            parts.append(part)
        start += weights[site].rank
    if not parts:
        raise BadInput(
            "The adapter changes nothing: every singular value is 0, as before any training, so it has no direction to "
            "show. Check that this is the trained adapter."
        )
    return View(tuple(parts))


def _canonical_part(site: str, factors: Factors, start: int) -> Part | None:
    U_OK = output_directions(factors)
    n_shown = U_OK.shape[1]
    if n_shown == 0:
        return None
    map_KR = U_OK.T @ (factors.s * factors.B_OR.detach().cpu().double())
    S_K = directions(factors).S_R[:n_shown].numpy()
    shown = tuple(Direction(site, group, tuple(float(S_K[i]) for i in group)) for group in subspaces(S_K))
    return Part(start, map_KR.numpy(), shown)


def output_directions(factors: Factors) -> Float[torch.Tensor, "O K"]:
    """Unit columns that the canonical values of a site multiply: U above rounding, signs fixed.

    Their sum over directions is what the adapter adds to the site's output.
    """
    n_shown = matrix_rank(factors)
    if n_shown == 0:
        return factors.B_OR.new_zeros(len(factors.B_OR), 0, dtype=torch.float64)
    return signed_directions(factors).U_OR[:, :n_shown]


def subspaces(S_K: Float[np.ndarray, " K"], near: float = NEAR) -> tuple[tuple[int, ...], ...]:
    """Places of descending singular values, those within `near` of their neighbour together.

    Check: 10, 9.8, 5, 1 give (0, 1), (2,), (3,).
    """
    groups: list[list[int]] = []
    for place, value in enumerate(S_K):
        if place and S_K[place - 1] - value <= near * S_K[place - 1]:
            groups[-1].append(place)
        else:
            groups.append([place])
    return tuple(map(tuple, groups))


def plain_view(columns: Sequence[tuple[str, Sequence[int]]]) -> View:
    """Recorded columns as they are: for units and random directions, named by site and their numbers there."""
    parts, start = [], 0
    for site, numbers in columns:
        parts.append(plain_part(site, start, np.eye(len(numbers)), numbers))
        start += len(numbers)
    return View(tuple(parts))


def plain_part(site: str, start: int, map_KC: Float[np.ndarray, "K C"], numbers: Sequence[int]) -> Part:
    """K directions of a site's recorded columns, named by these numbers, without strengths or subspaces."""
    return Part(start, map_KC, tuple(Direction(site, (number,), (1.0,)) for number in numbers))
