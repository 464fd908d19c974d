"""Tokens that show what a direction does: the strongest of both signs, and others to check an explanation against.

The rule, for every kind: tokens come in a fixed order (below); one is taken unless its item has given `per_item`
tokens of this kind already, or one at most `apart` positions away; the first `n` taken are the examples. Whether a
token is taken depends on its own item alone, and items arrive whole. So reducing every item first and keeping the
best `n` of what is left is exactly the rule, in memory that does not grow with tokens.

| kind | order |
|---|---|
| `positive`, `negative` | strongest value of that sign first |
| `near_zero` | smallest magnitude first |
| `random` | by a number drawn for every token from the seed |
| `decile_1` to `decile_10` | by the same number, among tokens with a value in that tenth, lowest values first |

Ties go to the earlier item, then position. Random and decile examples, and the edges of deciles, are taken from a
seeded sample of `SAMPLE` tokens, or all where there are fewer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int, UInt64
from pydantic import NonNegativeInt, PositiveInt

from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.base.seeds import stream_seed
from rankscope.capture.store import Block
from rankscope.capture.tokens import Tokens, concatenated

SAMPLE = 10_000
N_STRATA = 10
SCHEMA = {
    "direction": pl.Int32,  # column of the view
    "kind": pl.String,
    "rank": pl.Int32,  # place among the examples of its kind, from 0
    "item": pl.Int32,
    "position": pl.Int32,
    "value": pl.Float32,
}


class ExampleRule(Config):
    """How many examples of each kind, and how they are spread."""

    n_strongest: PositiveInt = 20
    """Of each sign."""
    n_near_zero: PositiveInt = 10
    n_random: PositiveInt = 10
    n_per_decile: PositiveInt = 2
    per_item: PositiveInt = 2
    """Most examples of a kind from one item."""
    apart: NonNegativeInt = 3
    """Of tokens of one item that are at most this far from each other only the first in order is taken."""
    seed: NonNegativeInt = 0


@dataclass(frozen=True)
class _Taken:
    """The best K tokens so far of every direction; where there are fewer, the score is -inf."""

    score_KF: Float[np.ndarray, "K F"]
    item_KF: Int[np.ndarray, "K F"]
    position_KF: Int[np.ndarray, "K F"]
    value_KF: Float[np.ndarray, "K F"]

    @classmethod
    def none(cls, n_directions: int) -> "_Taken":
        floats, integers = np.zeros((0, n_directions)), np.zeros((0, n_directions), dtype=np.int64)
        return cls(floats, integers, integers, floats)

    def best(self, n: int) -> "_Taken":
        """The first n by score, item and position."""
        order_KF = np.lexsort((self.position_KF, self.item_KF, -self.score_KF), axis=0)[:n]
        arrays = (self.score_KF, self.item_KF, self.position_KF, self.value_KF)
        return _Taken(*(np.take_along_axis(array, order_KF, 0) for array in arrays))

    def beside(self, other: "_Taken") -> "_Taken":
        """Both, one after the other."""
        return _Taken(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))


def examples(blocks: Iterable[Block], rule: ExampleRule | None = None) -> pl.DataFrame:
    """Examples of every column of the blocks, one row each, by SCHEMA; a kind may have fewer than asked for.

    Raises: BadInput when there are no tokens.
    """
    rule = rule or ExampleRule()
    taken: dict[str, _Taken] = {}
    sample: Block | None = None
    for block in blocks:
        for kind, score_MF in _streamed(block.values_MF).items():
            n = rule.n_near_zero if kind == "near_zero" else rule.n_strongest
            before = taken.get(kind, _Taken.none(block.values_MF.shape[1]))
            taken[kind] = before.beside(taken_within(block, score_MF, rule)).best(n)
        sample = _sampled(block if sample is None else _joined(sample, block), rule.seed)
    if sample is None:
        raise BadInput("There are no tokens to take examples from. Capture some items first.")
    for kind, score_SF in _from_sample(sample, rule).items():
        n = rule.n_random if kind == "random" else rule.n_per_decile
        taken[kind] = taken_within(sample, score_SF, rule).best(n)
    return pl.concat([_rows(kind, found) for kind, found in taken.items()]).sort("direction", "kind", "rank")


def _streamed(values_MF: np.ndarray) -> dict[str, Float[np.ndarray, "M F"]]:
    """Scores of the kinds that every token competes for; -inf where it does not."""
    return {
        "positive": np.where(values_MF > 0, values_MF, -np.inf),
        "negative": np.where(values_MF < 0, -values_MF, -np.inf),
        "near_zero": -np.abs(values_MF),
    }


def _from_sample(sample: Block, rule: ExampleRule) -> dict[str, Float[np.ndarray, "S F"]]:
    """Scores of the kinds that are taken from the sample: the smaller a token's number, the better."""
    number_S1 = -drawn_numbers(sample.tokens, rule.seed).astype(np.float64)[:, None]
    stratum_SF = strata(sample.values_MF)
    scores = {"random": np.broadcast_to(number_S1, stratum_SF.shape)}
    for stratum in range(N_STRATA):
        scores[f"decile_{stratum + 1}"] = np.where(stratum_SF == stratum, number_S1, -np.inf)
    return scores


def strata(values_SF: Float[np.ndarray, "S F"]) -> Int[np.ndarray, "S F"]:
    """Which tenth of its column a value lies in, 0 to 9: how many of the nine inner deciles lie at or below it.

    Equal values share a stratum, so columns with many of them leave some strata empty.
    """
    edges_EF: np.ndarray = np.asarray(np.quantile(values_SF, np.arange(1, N_STRATA) / N_STRATA, axis=0))
    return np.asarray(sum((values_SF >= edge_F).astype(np.int64) for edge_F in edges_EF))


def drawn_numbers(tokens: Tokens, seed: int) -> UInt64[np.ndarray, " M"]:
    """A number per token that depends on the seed, its item and its position alone, as if drawn uniformly.

    Source: the output function of SplitMix64 (Steele, Lea and Flood 2014).
    """
    x_M = (tokens.item.astype(np.uint64) << np.uint64(32)) | tokens.position.astype(np.uint64)
    x_M = x_M * np.uint64(0x9E3779B97F4A7C15) + np.uint64(stream_seed("examples", seed))
    x_M = (x_M ^ (x_M >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x_M = (x_M ^ (x_M >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x_M ^ (x_M >> np.uint64(31)))


def _joined(first: Block, second: Block) -> Block:
    return Block(concatenated([first.tokens, second.tokens]), np.concatenate([first.values_MF, second.values_MF]))


def _sampled(block: Block, seed: int) -> Block:
    """The tokens with the smallest numbers, by item and position: a uniform sample without replacement."""
    rows = np.argsort(drawn_numbers(block.tokens, seed), kind="stable")[:SAMPLE]
    rows = rows[np.lexsort((block.tokens.position[rows], block.tokens.item[rows]))]
    return Block(block.tokens.take(rows), block.values_MF[rows])


def taken_within(block: Block, score_MF: Float[np.ndarray, "M F"], rule: ExampleRule) -> _Taken:
    """What the rule takes of each item alone: at most `per_item` tokens per direction, items one after another.

    Rows are sorted by position within their item; a score of -inf is never taken.
    """
    tokens = block.tokens
    starts_N = tokens.item_starts
    left_MF = np.array(score_MF, dtype=np.promote_types(score_MF.dtype, np.float32))
    rounds = [_take_one_(left_MF, tokens, starts_N, rule.apart) for _ in range(rule.per_item)]
    row_KF = np.concatenate([row for row, _ in rounds])
    return _Taken(
        score_KF=np.concatenate([score for _, score in rounds]),
        item_KF=tokens.item[row_KF],
        position_KF=tokens.position[row_KF],
        value_KF=np.take_along_axis(block.values_MF, row_KF, 0),
    )


def _take_one_(
    left_MF: np.ndarray, tokens: Tokens, starts_N: np.ndarray, apart: int
) -> tuple[Int[np.ndarray, "N F"], Float[np.ndarray, "N F"]]:
    """Row and score of the best token left in each item; it and its neighbours are then out, in place."""
    n_rows, n_directions = left_MF.shape
    best_NF = np.maximum.reduceat(left_MF, starts_N, axis=0)
    item_of_M = np.repeat(np.arange(len(starts_N)), np.diff(starts_N, append=n_rows))
    at_M1 = np.arange(n_rows, dtype=np.int32)[:, None]
    is_best_MF = left_MF == best_NF[item_of_M]
    row_NF = np.minimum.reduceat(np.where(is_best_MF, at_M1, n_rows - 1), starts_N, axis=0)
    column_F = np.arange(n_directions)
    for offset in range(-apart, apart + 1):
        near_NF = np.clip(row_NF + offset, 0, n_rows - 1)
        is_near_NF = tokens.item[near_NF] == tokens.item[row_NF]
        is_near_NF &= np.abs(tokens.position[near_NF] - tokens.position[row_NF]) <= apart
        rows, columns = near_NF[is_near_NF], np.broadcast_to(column_F, near_NF.shape)[is_near_NF]
        left_MF[rows, columns] = -np.inf
    return row_NF, best_NF


def _rows(kind: str, found: _Taken) -> pl.DataFrame:
    rank_KF, direction_KF = np.indices(found.score_KF.shape)
    is_there_KF = np.isfinite(found.score_KF)
    columns: dict[str, Any] = {
        "direction": direction_KF,
        "rank": rank_KF,
        "item": found.item_KF,
        "position": found.position_KF,
        "value": found.value_KF,
    }
    frame = pl.DataFrame({name: array[is_there_KF] for name, array in columns.items()})
    return frame.with_columns(pl.lit(kind).alias("kind")).select(pl.col(name).cast(to) for name, to in SCHEMA.items())
