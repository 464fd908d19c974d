"""Directions whose role is known are found at their AUROC; noise, position and tokens alone are not credited."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from token_tables import tokens_like

from rankscope.base.errors import BadInput
from rankscope.capture.tokens import tokens_of
from rankscope.interpret.role_labels import role_labels
from rankscope.interpret.role_scores import BEST_SCHEMA, PAIR_SCHEMA, ROLE_SCHEMA, score_roles
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.catalog import load_role_items

TASK = "hashhop:mode=trace,lines=10,chains=2"


@pytest.fixture(scope="module")
def real():
    """Tokens of 200 items of a real task, with their roles."""
    items, roles = load_role_items(TASK, "test", 200, 0, build_word_tokenizer())
    tokens = tokens_of(items, roles, np.arange(len(items)))
    return tokens, role_labels(tokens, roles.surfaces, roles.tags)


def noise(tokens, n_directions, seed, memory=0.7):
    """Noise that remembers: every token's value is correlated with the one before, and has an offset per item."""
    random = np.random.default_rng(seed)
    values_MF = random.standard_normal((len(tokens), n_directions))
    for row in range(1, len(values_MF)):
        if tokens.item[row] == tokens.item[row - 1]:
            values_MF[row] = memory * values_MF[row - 1] + (1 - memory**2) ** 0.5 * values_MF[row]
    offset_NF = random.standard_normal((int(tokens.item.max()) + 1, n_directions))
    return (values_MF + offset_NF[tokens.item]).astype(np.float32)


def test_a_direction_with_a_known_auroc_is_found_at_it():
    """A role's indicator plus noise, at AUROC .6, .2 (that is .8 with the other sign) and .95, among three roles."""
    random = np.random.default_rng(0)
    n_items, length = 300, 12
    bits_M = random.integers(0, 8, n_items * length).astype(np.uint32)
    tokens = tokens_like([length] * n_items, tags=bits_M, known=np.full_like(bits_M, 7))
    roles = role_labels(tokens, (), ("x", "y", "z"))
    shift_F = np.sqrt(2) * stats.norm.ppf(np.array([0.6, 0.2, 0.95]))
    values_MF = roles.label_GM[1][:, None] * shift_F + random.standard_normal((len(tokens), 3))
    scores = score_roles("adapter", ("a", "b", "c"), tokens, values_MF.astype(np.float32), roles, n_shifts=199)
    frames = (scores.pairs, scores.best, scores.roles)
    assert [dict(frame.schema) for frame in frames] == [PAIR_SCHEMA, BEST_SCHEMA, ROLE_SCHEMA]
    known = scores.pairs.filter(pl.col("role") == "tag:y").sort("direction")["auroc"]
    np.testing.assert_allclose(known, [0.6, 0.2, 0.95], atol=0.02)
    best = scores.best.sort("direction")
    assert best["role"].to_list() == ["tag:y"] * 3
    assert best["sign"].to_list() == [1, -1, 1]
    np.testing.assert_allclose(best["auroc"], [0.6, 0.8, 0.95], atol=0.03)
    np.testing.assert_allclose(best["auroc_plain"], best["auroc"], atol=0.02)
    assert scores.share_significant == 1.0
    auroc, derivative_N = scores.scored_on.influence(2, 1, 1)
    assert auroc == pytest.approx(best["auroc"][2])
    assert len(derivative_N) == len(scores.scored_on.items_N) == 150


def test_noise_with_memory_is_called_significant_no_more_often_than_it_should(real):
    tokens, roles = real
    n_populations, n_directions = 12, 12
    p, discoveries = [], 0
    for seed in range(n_populations):
        values_MF = noise(tokens, n_directions, seed)
        scores = score_roles("random", ("",) * n_directions, tokens, values_MF, roles, seed=seed, n_shifts=99)
        p.append(scores.pairs.group_by("direction").agg(pl.col("p").get(seed % 3))["p"].to_numpy())
        discoveries += scores.best["is_significant"].any()
    p = np.concatenate(p)
    # 144 independent directions, one role each: 5 % is 7.2, and 15 or more come with a chance of 0.6 %.
    assert (p <= 0.05).sum() <= 14
    assert stats.kstest(p, "uniform").pvalue > 0.001
    # Any discovery at all is a false one, so the rate of populations with one is at most 5 %.
    assert discoveries <= 3
    assert abs(scores.best["auroc"].mean() - 0.5) < 0.05


def test_what_depends_on_position_alone_is_not_credited(real):
    tokens, roles = real
    by_position_M = np.sin(1.7 * tokens.position)
    scores = score_roles("adapter", ("p",), tokens, by_position_M[:, None].astype(np.float32), roles, n_shifts=19)
    assert set(scores.pairs["auroc"]) == {0.5}
    assert set(scores.pairs["p"]) == {1.0}
    assert not scores.best["is_significant"].any()
    # A role that stands at the same positions in every item can not be told from its position, and is not judged.
    fixed = scores.roles.filter(pl.col("role") == "surface:key")
    assert fixed["n_tokens"].item() > 1000
    assert not fixed["is_judged"].item()


def test_what_position_and_token_tell_stands_beside():
    """Tokens 7 have the role, most of them at positions 0 and 1: the token tells all, the position much of it."""
    random = np.random.default_rng(1)
    n_items, length = 60, 6
    has_NT = random.random((n_items, length)) < np.array([0.8, 0.8, 0.1, 0.1, 0.1, 0.1])
    token_M = np.where(has_NT, 7, random.integers(8, 12, has_NT.shape)).ravel().astype(np.int32)
    bits_M = has_NT.ravel().astype(np.uint32)
    tokens = tokens_like([length] * n_items, token_ids=token_M, tags=bits_M, known=np.ones_like(bits_M))
    roles = role_labels(tokens, ("none",), ("seven",))
    scores = score_roles("adapter", ("t",), tokens, (token_M == 7)[:, None].astype(np.float32), roles, n_shifts=19)
    row = scores.roles.row(0, named=True)
    assert row["token_auroc"] == row["token_auroc_within"] == scores.best["auroc"].item() == 1.0
    assert 0.75 < row["position_auroc"] < 0.95


def test_a_tag_is_scored_only_where_it_is_known():
    """Where the tag is not known yet, the direction is high on the wrong tokens; that must not count."""
    random = np.random.default_rng(2)
    n_items, length = 40, 8
    has_NT = random.random((n_items, length)) < 0.5
    known_NT = np.broadcast_to(np.arange(length) >= 4, has_NT.shape)
    value_NT = np.where(known_NT, has_NT, ~has_NT).astype(np.float32)
    tokens = tokens_like(
        [length] * n_items, tags=has_NT.ravel().astype(np.uint32), known=known_NT.ravel().astype(np.uint32)
    )
    roles = role_labels(tokens, (), ("tag",))
    scores = score_roles("adapter", ("d",), tokens, value_NT.reshape(-1, 1), roles, n_shifts=99)
    assert scores.pairs["auroc"].item() == 1.0
    assert scores.pairs["p"].item() == 0.01
    assert scores.roles["n_tokens"].item() == (has_NT & known_NT).sum()


def test_too_few_items_are_refused():
    tokens = tokens_like([3] * 5)
    with pytest.raises(BadInput, match="at least 20 items, not 5"):
        score_roles("adapter", ("a",), tokens, np.zeros((15, 1), np.float32), role_labels(tokens, (), ("x",)))
