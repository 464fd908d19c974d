"""One adapter's role scores as a table of values per held-out item, from which claims over several are judged."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from rankscope.adapters.weights import AdapterWeights
from rankscope.base.errors import BadInput
from rankscope.capture.channels import Population
from rankscope.capture.recorder import record
from rankscope.capture.store import AdapterState
from rankscope.interpret.populations import score_populations
from rankscope.interpret.role_claims import QUESTIONS, role_values_N
from rankscope.interpret.role_scores import PopulationScores
from rankscope.lm.bases import Base
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.roles import RoleTable

ROLE_VALUES = {
    "question": pl.String,  # key of a RoleQuestion
    "population": pl.String,
    "item": pl.Int64,  # name of the item
    "roles": pl.String,  # those that count and could be judged on these items, with commas
    "value": pl.Float64,  # mean over items is the population's mean role score; see role_values_N
}
POPULATIONS: tuple[Population, ...] = tuple(dict.fromkeys(name for one in QUESTIONS for name in one.populations))


def read_roles(base: Base, weights: AdapterWeights, items: EncodedItems, roles: RoleTable, seed: int) -> pl.DataFrame:
    """Records the adapter and what it is compared with, and scores their roles; rows follow ROLE_VALUES.

    The seed draws hidden units and random directions; the items are halved alike for every seed, so that values of
    several adapters can be crossed. States are kept while this runs only.
    Raises: BadInput for what can not be recorded, or too few items.
    """
    n_directions = sum(factors.rank for factors in weights.values())
    with tempfile.TemporaryDirectory(prefix="rankscope-") as folder:
        states: dict[Population, AdapterState] = {
            population: record(
                base,
                weights,
                items,
                roles,
                Path(folder) / population,
                population=population,
                n_columns=n_directions if population == "mlp" else None,
                seed=seed,
            )
            for population in POPULATIONS
        }
        return value_table(score_populations(states, n_shifts=0))


def value_table(scores: Mapping[Population, PopulationScores]) -> pl.DataFrame:
    """Values of every question that can be judged on these items."""
    parts = [pl.DataFrame(schema=ROLE_VALUES)]
    for question in QUESTIONS:
        names = scores["adapter"].scored_on.roles.names
        allowed = question.roles(names)
        judged_G = ~np.isnan(scores["adapter"].auroc_A_GF).all(1)
        counted = [n for n, judged in zip(names, judged_G, strict=True) if judged and (allowed is None or n in allowed)]
        try:
            values = {name: role_values_N(scores[name], allowed) for name in question.populations}
        except BadInput:  # no role of these is frequent enough here
            continue
        parts += [
            pl.DataFrame(
                {
                    "question": question.key,
                    "population": name,
                    "item": scores[name].scored_on.items_N,
                    "roles": ", ".join(counted),
                    "value": value_N,
                }
            ).select(pl.col(column).cast(to) for column, to in ROLE_VALUES.items())
            for name, value_N in values.items()
        ]
    return pl.concat(parts)
