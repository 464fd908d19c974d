"""AUROC within positions against counting every pair, and its derivative against really weighting items."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rankscope.interpret.auroc import Ranked, influence_N
from rankscope.interpret.shifts import z_GF
from rankscope.stats.benjamini_hochberg import benjamini_hochberg


def by_pairs(value_M, label_M, stratum_M, weight_M):
    """Weighted share of pairs at one position in which the labelled token is larger, ties by half; and the weights."""
    above = total = 0.0
    for i in np.flatnonzero(label_M):
        for j in np.flatnonzero(~label_M & (stratum_M == stratum_M[i])):
            pair = weight_M[i] * weight_M[j]
            above += pair * ((value_M[i] > value_M[j]) + 0.5 * (value_M[i] == value_M[j]))
            total += pair
    return above, total


def drawn(seed, n_items, length, levels):
    random = np.random.default_rng(seed)
    item_M, stratum_M = np.repeat(np.arange(n_items), length), np.tile(np.arange(length), n_items)
    keep_M = random.random(len(item_M)) < 0.9
    values_MF = random.integers(0, levels, (len(item_M), 2)).astype(np.float32)
    label_M = random.random(len(item_M)) < 0.4
    return tuple(array[keep_M] for array in (item_M, stratum_M, values_MF, label_M))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 5), st.sampled_from([2, 4, 10**6]))
def test_ranks_within_positions_count_pairs(seed, n_items, length, levels):
    item_M, stratum_M, values_MF, label_M = drawn(seed, n_items, length, levels)
    ones_M = np.ones(len(item_M))
    assume(len(item_M) and by_pairs(values_MF[:, 0], label_M, stratum_M, ones_M)[1] > 0)
    auroc_GF = Ranked.of(values_MF, stratum_M, item_M).auroc_GF(label_M[None])
    for column, value_M in enumerate(values_MF.T):
        above, total = by_pairs(value_M, label_M, stratum_M, ones_M)
        np.testing.assert_allclose(auroc_GF[0, column], above / total, atol=1e-6)
        auroc, derivative_N = influence_N(value_M, label_M, stratum_M, item_M, n_items)
        np.testing.assert_allclose(auroc, above / total, atol=1e-12)
        np.testing.assert_allclose(derivative_N.sum(), 0, atol=1e-9)
        step, item = 1e-6, seed % n_items
        above, total = by_pairs(value_M, label_M, stratum_M, ones_M + step * (item_M == item))
        np.testing.assert_allclose((above / total - auroc) / step, derivative_N[item], atol=1e-4)


def test_z_takes_the_tokens_of_an_item_together():
    """Two positions, three items; the role's tokens are first of item 0, and both of item 1.

    Shares of the role are 2/3 and 1/3. Centred ranks: 1, 0, -1 and -1, 1, 0. Items add 1/3 * 1 + 1/3, 0 + 2/3, 2/3 - 0.
    """
    values_MF = np.array([[9.0], [1.0], [5.0], [8.0], [2.0], [4.0]])
    ranked = Ranked.of(values_MF, np.tile([0, 1], 3), np.repeat([0, 1, 2], 2))
    label_GM = np.array([[True, False, True, True, False, False]])
    added = np.array([1 / 3 + 1 / 3, 0 + 2 / 3, 2 / 3 + 0])
    np.testing.assert_allclose(z_GF(ranked, label_GM), [[added.sum() / np.sqrt((added**2).sum())]], rtol=1e-6)
    np.testing.assert_allclose(ranked.auroc_GF(label_GM), [[0.5 + added.sum() / 4]])


def test_benjamini_hochberg_by_hand():
    np.testing.assert_allclose(benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])), [0.04, 0.16 / 3, 0.16 / 3, 0.5])
