"""Populations matched in number and tokens: adapter directions beside hidden units, principal components and chance."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from rankscope.base.errors import BadInput
from rankscope.base.seeds import numpy_stream
from rankscope.capture.channels import Population
from rankscope.capture.store import AdapterState
from rankscope.capture.tokens import Tokens, concatenated
from rankscope.capture.views import Part, View, plain_part
from rankscope.interpret.examples import drawn_numbers
from rankscope.interpret.role_labels import role_labels
from rankscope.interpret.role_scores import N_SHIFTS, PopulationScores, score_roles

MOST_TOKENS = 100_000
"""Role scores hold their tokens in memory; of more, a seeded share of the items is taken."""
_SAME = ("adapter_hash", "base_hash", "items_hash", "roles_hash", "surfaces", "tags")


def score_populations(
    states: Mapping[Population, AdapterState],
    seed: int = 0,
    n_shifts: int = N_SHIFTS,
    most_tokens: int = MOST_TOKENS,
    tell: Callable[[int, int], None] | None = None,
) -> dict[Population, PopulationScores]:
    """Role scores of an adapter's directions and of as many columns of every other population, on the same tokens.

    `residual` is shown as principal components; of `mlp` and `random` a seeded choice of columns is taken. `tell` hears
    how many populations out of how many are scored.
    Raises: BadInput when `adapter` is missing, a population has too few columns, or captures are not of the same
    adapter, base, items and roles, or their items have no roles.
    """
    if "adapter" not in states:
        raise BadInput("Populations are matched to the adapter's directions; give its capture too.")
    spec = states["adapter"].spec
    if not spec.surfaces:
        raise BadInput(f"The items of {spec.task} have no roles, so there is nothing to score. Use a task with roles.")
    for population, state in states.items():
        different = [name for name in _SAME if getattr(state.spec, name) != getattr(spec, name)]
        if different:
            raise BadInput(f"The captures of {population} and adapter differ in {', '.join(different)}. Record both.")
    n = len(states["adapter"].view)
    found = {}
    for population, state in states.items():
        view = matched_view(population, state, n, seed)
        tokens, values_MF = sampled(state, view, most_tokens, seed)
        roles = role_labels(tokens, spec.surfaces, spec.tags)
        labels = tuple(direction.label for direction in view.directions)
        found[population] = score_roles(population, labels, tokens, values_MF, roles, seed, n_shifts)
        if tell is not None:
            tell(len(found), len(states))
    return found


def matched_view(population: Population, state: AdapterState, n: int, seed: int = 0) -> View:
    """The adapter's canonical view; of another population, n of its columns or components."""
    if population == "adapter":
        return state.view
    if state.spec.n_columns < n:
        raise BadInput(f"{n} columns of {population} are needed, and its capture has {state.spec.n_columns}.")
    return principal_view(state, n) if population == "residual" else chosen_view(state.view, n, seed)


def chosen_view(view: View, n: int, seed: int) -> View:
    """A seeded choice of n directions of a view without subspaces, in its order."""
    chosen = set(numpy_stream("matched columns", seed).permutation(len(view))[:n].tolist())
    parts, first = [], 0
    for part in view.parts:
        rows = [row for row in range(len(part.directions)) if first + row in chosen]
        first += len(part.directions)
        if rows:
            parts.append(Part(part.start, part.map_KC[rows], tuple(part.directions[row] for row in rows)))
    return View(tuple(parts))


def principal_view(state: AdapterState, n: int) -> View:
    """The strongest principal components of every site's columns, n in all and as many of each as can be.

    Fitted on all tokens in one pass, in memory for one covariance per site.
    """
    slices = _slices(state)
    sums = {site: np.zeros(span.stop - span.start) for site, span in slices.items()}
    moments = {site: np.zeros((len(total), len(total))) for site, total in sums.items()}
    for block in state.iter_raw():
        for site, span in slices.items():
            x_MC = block.values_MF[:, span].astype(np.float64)
            sums[site] += x_MC.sum(0)
            moments[site] += x_MC.T @ x_MC
    parts = []
    for place, (site, span) in enumerate(slices.items()):
        n_here = n // len(slices) + (place < n % len(slices))
        if n_here:
            mean_C = sums[site] / state.spec.n_tokens
            map_KC = _components(moments[site] / state.spec.n_tokens - np.outer(mean_C, mean_C), n_here)
            parts.append(plain_part(site, span.start, map_KC, range(n_here)))
    return View(tuple(parts))


def _slices(state: AdapterState) -> dict[str, slice]:
    ends = np.cumsum([0, *(site.n_columns for site in state.spec.sites)])
    return {site.site: slice(int(ends[i]), int(ends[i + 1])) for i, site in enumerate(state.spec.sites)}


def _components(covariance_CC: Float[np.ndarray, "C C"], n: int) -> Float[np.ndarray, "K C"]:
    if n > len(covariance_CC):
        raise BadInput(f"{n} principal components of {len(covariance_CC)} columns were asked for. Record more layers.")
    return np.linalg.eigh(covariance_CC)[1].T[::-1][:n]


def sampled(state: AdapterState, view: View, most_tokens: int, seed: int) -> tuple[Tokens, Float[np.ndarray, "M F"]]:
    """Tokens and shown values: of all items, or of a seeded share of them that holds about `most_tokens`.

    Which items are taken depends on their names and the seed alone.
    """
    share = most_tokens / state.spec.n_tokens
    tokens, values = [], []
    for block in state.iter_shown(view):
        kept_M = np.ones(len(block.tokens), dtype=bool)
        if share < 1:
            kept_M = item_numbers(block.tokens, seed) < share
        tokens.append(block.tokens.take(kept_M))
        values.append(block.values_MF[kept_M])
    return concatenated(tokens), np.concatenate(values)


def item_numbers(tokens: Tokens, seed: int) -> Float[np.ndarray, " M"]:
    """A number between 0 and 1 per token that all tokens of an item share."""
    starts_N = tokens.item_starts
    firsts = tokens.take(starts_N)
    number_N = drawn_numbers(firsts, seed).astype(np.float64) / 2.0**64
    return np.repeat(number_N, np.diff(starts_N, append=len(tokens)))
