"""How well the columns of a population tell which role a token has, held against chance, position and token.

Unit is the item. For every direction and role the AUROC within positions (`auroc.py`), over tokens for which the
prefix determines the role. Its p-value: the sequence of a role is shifted around a circle by a random number of tokens,
another one in every item, which keeps how often and in what runs the role occurs; |z| is compared with that of the
shifted sequences, so that both signs had the same chance. (z, not the AUROC, since shifting a role that is nearly fixed
by position makes more pairs comparable than there were.) Benjamini and Hochberg's correction runs over all pairs of
direction and role. The best role of a direction, and its sign, are chosen on one half of the items and scored on the
other.

A role that is the same all through an item looks the same after a shift: it has an AUROC here, but is never
significant. With N shifts no p-value is below 1 / (N + 1), so of m pairs at least m / (0.05 (N + 1)) must have that
value for any to be called significant: few and weak roles in many directions need more shifts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from rankscope.base.errors import BadInput
from rankscope.base.seeds import numpy_stream
from rankscope.capture.tokens import Tokens
from rankscope.interpret.auroc import Ranked, influence_N
from rankscope.interpret.role_labels import RoleLabels
from rankscope.interpret.shifts import shift_p, z_GF
from rankscope.stats.benjamini_hochberg import benjamini_hochberg

N_SHIFTS = 999
LEVEL = 0.05
MIN_ITEMS = 10
"""A role is judged where at least so many items have a token with it, and as many one without, among those compared."""

PAIR_SCHEMA = {
    "direction": pl.Int32,  # column of the view
    "role": pl.String,
    "auroc": pl.Float64,  # within positions, all items; below 1/2 where the direction is low on the role
    "z": pl.Float64,
    "p": pl.Float64,
    "p_bh": pl.Float64,  # corrected over all pairs of the population
}
BEST_SCHEMA = {
    "direction": pl.Int32,
    "role": pl.String,  # chosen on the first half of the items; null where no role can be judged
    "sign": pl.Int8,  # of the direction, chosen with it
    "auroc_chosen_on": pl.Float64,  # within positions, on the half that it was chosen on
    "auroc": pl.Float64,  # within positions, on the other half, with that sign: the score to quote
    "auroc_plain": pl.Float64,  # there, over all positions together
    "p_bh": pl.Float64,  # of this pair
    "is_significant": pl.Boolean,  # whether any role of this direction is, at 0.05
}
ROLE_SCHEMA = {
    "role": pl.String,
    "n_tokens": pl.Int64,  # with the role, among those scored
    "n_items": pl.Int64,  # items with such a token at a position where others lack the role
    "is_judged": pl.Boolean,
    "position_auroc": pl.Float64,  # share of the role at a position, told from the other half; over all positions
    "token_auroc": pl.Float64,  # share of the role among equal tokens, likewise
    "token_auroc_within": pl.Float64,  # the same within positions
}


@dataclass(frozen=True)
class PopulationScores:
    """Role scores of one population. Frames follow PAIR_SCHEMA, BEST_SCHEMA and ROLE_SCHEMA."""

    population: str
    labels: tuple[str, ...]
    """Of its directions."""
    n_tokens: int
    n_items: int
    n_shifts: int
    pairs: pl.DataFrame
    best: pl.DataFrame
    roles: pl.DataFrame
    auroc_A_GF: Float[np.ndarray, "G F"]
    """Within positions, on the half that is chosen on; NaN for roles that are not judged."""
    scored_on: "Half"
    """The half that is scored on."""

    @property
    def share_significant(self) -> float:
        """Share of directions with any role at 0.05 after correction."""
        return float(self.best["is_significant"].mean() or 0.0)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Half:
    """One half of the items: what claims compute AUROCs and their derivatives by items from."""

    tokens: Tokens
    values_MF: Float[np.ndarray, "M F"]
    roles: RoleLabels

    @property
    def items_N(self) -> Int[np.ndarray, " N"]:
        """Names of its items, ascending."""
        return np.unique(self.tokens.item)

    def influence(self, direction: int, role: int, sign: int) -> tuple[float, Float[np.ndarray, " N"]]:
        """Held-out AUROC of one direction for one role, and its derivative by the weight of every item."""
        scored_M = self.roles.scored_GM[role]
        tokens, items_N = self.tokens.take(scored_M), self.items_N
        return influence_N(
            sign * self.values_MF[scored_M, direction].astype(np.float64),
            self.roles.label_GM[role, scored_M],
            tokens.position,
            np.searchsorted(items_N, tokens.item),
            len(items_N),
        )


def score_roles(
    population: str,
    labels: tuple[str, ...],
    tokens: Tokens,
    values_MF: Float[np.ndarray, "M F"],
    roles: RoleLabels,
    seed: int = 0,
    n_shifts: int = N_SHIFTS,
) -> PopulationScores:
    """Scores every column for every role. Equal tokens and seed give every population the same halves and shifts.

    Raises: BadInput when there are too few items to halve.
    """
    items_N = np.unique(tokens.item)
    if len(items_N) < 2 * MIN_ITEMS:
        raise BadInput(f"Role scores need at least {2 * MIN_ITEMS} items, not {len(items_N)}. Capture more.")
    is_A_M = np.isin(tokens.item, halves(items_N, seed))
    first, second = (half_of(tokens, values_MF, roles, rows_M) for rows_M in (is_A_M, ~is_A_M))
    whole = half_of(tokens, values_MF, roles, np.ones(len(tokens), dtype=bool))
    judged_G = np.array(
        [all(counts(part, g) >= MIN_ITEMS for part in (first, second)) for g in range(len(roles.names))]
    )
    pairs = pair_frame(whole, judged_G, seed, n_shifts)
    auroc_A_GF, auroc_B_GF = (aurocs(part, judged_G) for part in (first, second))
    return PopulationScores(
        population=population,
        labels=labels,
        n_tokens=len(tokens),
        n_items=len(items_N),
        n_shifts=n_shifts,
        pairs=pairs,
        best=best_frame(pairs, auroc_A_GF, auroc_B_GF, second),
        roles=role_frame(first, second, whole, judged_G),
        auroc_A_GF=auroc_A_GF,
        scored_on=second,
    )


def halves(items_N: Int[np.ndarray, " N"], seed: int) -> Int[np.ndarray, " H"]:
    """Names of the items that roles are chosen on: a seeded half, by their number among the items alone."""
    return np.sort(numpy_stream("role halves", seed).permutation(items_N)[: len(items_N) // 2])


def half_of(tokens: Tokens, values_MF: np.ndarray, roles: RoleLabels, rows_M: Bool[np.ndarray, " M"]) -> Half:
    """The given tokens with their values and roles."""
    some = RoleLabels(roles.names, roles.label_GM[:, rows_M], roles.scored_GM[:, rows_M])
    return Half(tokens.take(rows_M), values_MF[rows_M], some)


def counts(half: Half, role: int) -> int:
    """Items with a token of the role at a position where others lack it, or without one: the fewer of the two."""
    scored_M = half.roles.scored_GM[role]
    tokens, label_M = half.tokens.take(scored_M), half.roles.label_GM[role, scored_M]
    if not len(tokens):
        return 0
    n_with_P = np.bincount(tokens.position, label_M)
    is_mixed_M = ((n_with_P > 0) & (n_with_P < np.bincount(tokens.position)))[tokens.position]
    return min(len(np.unique(tokens.item[is_mixed_M & (label_M == has)])) for has in (True, False))


def by_scored(roles: RoleLabels, judged_G: Bool[np.ndarray, " G"]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Judged roles that are scored at the same tokens, together: their numbers and those tokens."""
    groups: dict[bytes, list[int]] = {}
    for role in np.flatnonzero(judged_G):
        groups.setdefault(np.packbits(roles.scored_GM[role]).tobytes(), []).append(int(role))
    for members in groups.values():
        yield np.array(members), np.flatnonzero(roles.scored_GM[members[0]])


def aurocs(half: Half, judged_G: Bool[np.ndarray, " G"]) -> Float[np.ndarray, "G F"]:
    """Within positions; NaN for roles that are not judged."""
    found_GF = np.full((len(judged_G), half.values_MF.shape[1]), np.nan)
    for members, rows in by_scored(half.roles, judged_G):
        ranked = Ranked.of(half.values_MF[rows], half.tokens.position[rows], half.tokens.item[rows])
        found_GF[members] = ranked.auroc_GF(half.roles.label_GM[members][:, rows])
    return found_GF


def pair_frame(whole: Half, judged_G: Bool[np.ndarray, " G"], seed: int, n_shifts: int) -> pl.DataFrame:
    """Every direction with every judged role, on all items."""
    parts = []
    for number, (members, rows) in enumerate(by_scored(whole.roles, judged_G)):
        ranked = Ranked.of(whole.values_MF[rows], whole.tokens.position[rows], whole.tokens.item[rows])
        label_GM = whole.roles.label_GM[members][:, rows]
        seen_GF = z_GF(ranked, label_GM)
        p_GF = shift_p(ranked, label_GM, seen_GF, numpy_stream("role shifts", seed, number), n_shifts)
        roles = [whole.roles.names[role] for role in members]
        parts.append(_pairs(roles, ranked.auroc_GF(label_GM), seen_GF, p_GF))
    if not parts:
        return pl.DataFrame(schema=PAIR_SCHEMA)
    frame = pl.concat(parts).sort("direction", "role")
    corrected = pl.Series("p_bh", benjamini_hochberg(frame["p"].to_numpy()))
    return frame.with_columns(corrected).select(pl.col(name).cast(to) for name, to in PAIR_SCHEMA.items())


def _pairs(roles: list[str], auroc_GF: np.ndarray, seen_GF: np.ndarray, p_GF: np.ndarray) -> pl.DataFrame:
    n_directions = p_GF.shape[1]
    return pl.DataFrame(
        {
            "direction": np.tile(np.arange(n_directions), len(roles)),
            "role": [role for role in roles for _ in range(n_directions)],
            "auroc": auroc_GF.ravel(),
            "z": seen_GF.ravel(),
            "p": p_GF.ravel(),
        }
    )


def best_frame(pairs: pl.DataFrame, auroc_A_GF: np.ndarray, auroc_B_GF: np.ndarray, second: Half) -> pl.DataFrame:
    """Every direction with the role that was chosen for it."""
    significant = set(pairs.filter(pl.col("p_bh") <= LEVEL)["direction"].to_list())
    p_of = {(d, role): p for d, role, p in pairs.select("direction", "role", "p_bh").iter_rows()}
    rows: list[tuple[Any, ...]] = []
    for direction, (role, sign) in enumerate(chosen_roles(auroc_A_GF)):
        if role is None:
            rows.append((direction, *[None] * 6, False))
            continue
        name = second.roles.names[role]
        a, b = (sign * (auroc[role, direction] - 0.5) + 0.5 for auroc in (auroc_A_GF, auroc_B_GF))
        plain = plain_auroc(sign * second.values_MF[:, direction], second, role)
        rows.append((direction, name, sign, a, b, plain, p_of[direction, name], direction in significant))
    return pl.DataFrame(rows, schema=BEST_SCHEMA, orient="row")


def chosen_roles(
    auroc_GF: Float[np.ndarray, "G F"], allowed_G: Bool[np.ndarray, " G"] | None = None
) -> list[tuple[int | None, int]]:
    """Per direction the role with the AUROC farthest from 1/2 among those allowed, and the sign; None without any."""
    distance_GF = np.abs(auroc_GF - 0.5)
    if allowed_G is not None:
        distance_GF = np.where(allowed_G[:, None], distance_GF, np.nan)
    chosen: list[tuple[int | None, int]] = []
    for direction, distance_G in enumerate(distance_GF.T):
        if np.isnan(distance_G).all():
            chosen.append((None, 1))
        else:
            role = int(np.nanargmax(distance_G))
            chosen.append((role, 1 if auroc_GF[role, direction] >= 0.5 else -1))
    return chosen


def plain_auroc(value_M: np.ndarray, half: Half, role: int) -> float:
    """Over the role's scored tokens at all positions together."""
    return _auroc(value_M, half, role, np.zeros(len(half.tokens), dtype=np.int64))


def _auroc(value_M: np.ndarray, half: Half, role: int, stratum_M: np.ndarray) -> float:
    rows = np.flatnonzero(half.roles.scored_GM[role])
    ranked = Ranked.of(value_M[rows, None], stratum_M[rows], half.tokens.item[rows])
    return float(ranked.auroc_GF(half.roles.label_GM[[role]][:, rows])[0, 0])


def role_frame(first: Half, second: Half, whole: Half, judged_G: Bool[np.ndarray, " G"]) -> pl.DataFrame:
    """Every role, with what position alone and the token alone tell about it."""
    rows: list[tuple[Any, ...]] = []
    for role, name in enumerate(whole.roles.names):
        n_tokens, n_items = int(whole.roles.label_GM[role].sum()), counts(whole, role)
        if not judged_G[role]:
            rows.append((name, n_tokens, n_items, False, None, None, None))
            continue
        by_position, by_token = (share_of_role(first, second, role, column) for column in ("position", "token_ids"))
        within = _auroc(by_token, second, role, second.tokens.position)
        plain = [plain_auroc(value_M, second, role) for value_M in (by_position, by_token)]
        rows.append((name, n_tokens, n_items, True, *plain, within))
    return pl.DataFrame(rows, schema=ROLE_SCHEMA, orient="row")


def share_of_role(first: Half, second: Half, role: int, column: str) -> Float[np.ndarray, " M"]:
    """Share of the role among scored tokens of the first half with the same value of a column, for the second's.

    What the first half never had gets the role's overall share.
    """
    scored_M = first.roles.scored_GM[role]
    seen_M, label_M = getattr(first.tokens, column)[scored_M], first.roles.label_GM[role, scored_M]
    asked_M = getattr(second.tokens, column)
    size = int(max(seen_M.max(initial=0), asked_M.max(initial=0))) + 1
    n_P = np.bincount(seen_M, minlength=size)
    share_P = np.where(n_P > 0, np.bincount(seen_M, label_M, minlength=size) / np.maximum(n_P, 1), label_M.mean())
    return np.asarray(share_P[asked_M])
