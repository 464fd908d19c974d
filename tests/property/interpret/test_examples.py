"""Examples taken from a stream of blocks are those that the rule gives when it is followed token by token."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_tables import tokens_like

from rankscope.base.errors import BadInput
from rankscope.capture.store import Block, shard_plan
from rankscope.interpret import examples as module
from rankscope.interpret.examples import SCHEMA, ExampleRule, drawn_numbers, examples, strata


def by_the_rule(order, tokens, n, rule):
    """The first n rows of `order` (rows with a key, smallest key first), by the rule as it is written."""
    taken = []
    for row in order:
        mine = [other for other in taken if tokens.item[other] == tokens.item[row]]
        near = any(abs(int(tokens.position[other]) - int(tokens.position[row])) <= rule.apart for other in mine)
        if len(taken) < n and len(mine) < rule.per_item and not near:
            taken.append(row)
    return taken


def brute_force(tokens, values_MF, rule):
    """Every example by sorting all tokens for every direction and kind."""
    numbers = [int(number) for number in drawn_numbers(tokens, rule.seed)]
    sample = sorted(range(len(numbers)), key=lambda row: numbers[row])[: module.SAMPLE]
    stratum_SF = strata(values_MF[sample])
    stratum_of = {row: stratum_SF[place] for place, row in enumerate(sample)}
    expected = []
    for direction, value_M in enumerate(values_MF.T):
        kinds = {
            "positive": ([r for r in range(len(value_M)) if value_M[r] > 0], lambda r, v=value_M: -v[r]),
            "negative": ([r for r in range(len(value_M)) if value_M[r] < 0], lambda r, v=value_M: v[r]),
            "near_zero": (range(len(value_M)), lambda r, v=value_M: abs(v[r])),
            "random": (sample, lambda r: numbers[r]),
        }
        for stratum in range(10):
            rows = [row for row in sample if stratum_of[row][direction] == stratum]
            kinds[f"decile_{stratum + 1}"] = (rows, lambda r: numbers[r])
        sizes = {"near_zero": rule.n_near_zero, "random": rule.n_random}
        for kind, (rows, key) in kinds.items():
            n = sizes.get(kind, rule.n_per_decile if "decile" in kind else rule.n_strongest)
            order = sorted(rows, key=lambda r, key=key: (key(r), tokens.item[r], tokens.position[r]))
            for rank, row in enumerate(by_the_rule(order, tokens, n, rule)):
                where = (int(tokens.item[row]), int(tokens.position[row]))
                expected.append((direction, kind, rank, *where, float(value_M[row])))
    return sorted(expected)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=10),
    seed=st.integers(0, 10**6),
    levels=st.sampled_from([2, 5, 1000]),
    block=st.integers(1, 40),
    sample=st.sampled_from([7, 10_000]),
    rule=st.builds(
        ExampleRule,
        n_strongest=st.integers(1, 6),
        n_near_zero=st.integers(1, 4),
        n_random=st.integers(1, 4),
        n_per_decile=st.integers(1, 2),
        per_item=st.integers(1, 3),
        apart=st.integers(0, 3),
        seed=st.integers(0, 3),
    ),
)
def test_streaming_equals_brute_force(lengths, seed, levels, block, sample, rule):
    random = np.random.default_rng(seed)
    tokens = tokens_like(lengths, items=random.permutation(50)[: len(lengths)])
    values_MF = random.integers(-levels, levels + 1, (sum(lengths), 3)).astype(np.float32)
    starts = np.cumsum([0, *lengths])
    blocks = [
        Block(
            tokens.take(slice(starts[rows.start], starts[rows.stop])), values_MF[starts[rows.start] : starts[rows.stop]]
        )
        for rows in shard_plan(np.array(lengths), block)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SAMPLE", sample)
        found = examples(blocks, rule)
        assert dict(found.schema) == SCHEMA
        assert sorted(found.rows()) == brute_force(tokens, values_MF, rule)


def test_a_rule_worked_by_hand():
    """One item of 8 tokens and one of 2; two per item, at least three apart."""
    tokens = tokens_like([8, 2])
    value_M = np.array([5, 9, 8, 1, -2, 7, 3, 0, 4, -1], dtype=np.float32)[:, None]
    rule = ExampleRule(n_strongest=3, per_item=2, apart=2)
    found = examples([Block(tokens, value_M)], rule)

    def of(kind):
        return found.filter(pl.col("kind") == kind).select("item", "position", "value").rows()

    assert of("positive") == [(0, 1, 9.0), (0, 5, 7.0), (1, 0, 4.0)]
    assert of("negative") == [(0, 4, -2.0), (1, 1, -1.0)]
    assert of("near_zero")[0] == (0, 7, 0.0)


def test_no_tokens_are_refused():
    with pytest.raises(BadInput, match="no tokens"):
        examples([])
