"""Verdicts on simulated populations whose role scores are known, and intervals that hold the true difference."""

import numpy as np
import pytest
from scipy import stats
from token_tables import tokens_like

from rankscope.base.errors import BadInput
from rankscope.interpret.role_claims import as_interpretable_as_neurons, difference, fires_for_reasoning
from rankscope.interpret.role_labels import role_labels
from rankscope.interpret.role_scores import score_roles

LENGTH = 10


def population(name, aurocs, n_items=500, seed=0, roles_seed=0, role=0):
    """Directions that are a role's indicator plus noise, one per AUROC; two tags and two surfaces at random."""
    random = np.random.default_rng(roles_seed)
    n_tokens = n_items * LENGTH
    bits_M = random.integers(0, 4, n_tokens).astype(np.uint32)
    surface_M = random.integers(1, 3, n_tokens).astype(np.uint8)
    tokens = tokens_like([LENGTH] * n_items, tags=bits_M, known=np.full_like(bits_M, 3), surface=surface_M)
    roles = role_labels(tokens, ("none", "one", "two"), ("path", "leaf"))
    random = np.random.default_rng(np.append(seed, 1))
    shift_F = np.sqrt(2) * stats.norm.ppf(np.array(aurocs))
    row = roles.names.index("tag:path") if role == 0 else roles.names.index("surface:one")
    values_MF = roles.label_GM[row][:, None] * shift_F + random.standard_normal((n_tokens, len(aurocs)))
    return score_roles(name, ("",) * len(aurocs), tokens, values_MF.astype(np.float32), roles, n_shifts=0)


def test_verdicts_follow_the_rules():
    strong, weak = [0.8] * 12, [0.6] * 12
    adapter, mlp = population("adapter", strong, seed=1), population("mlp", strong, seed=2)
    random, low = population("random", [0.5] * 12, seed=3), population("adapter", weak, seed=4)
    equal = as_interpretable_as_neurons({"adapter": adapter, "mlp": mlp})
    assert equal.verdict == "supported"
    assert equal.mean_scores["adapter directions"] == pytest.approx(0.8, abs=0.02)
    assert as_interpretable_as_neurons({"adapter": low, "mlp": mlp}).verdict == "refuted"
    few = population("adapter", [0.5, 0.9], n_items=30, seed=5), population("mlp", [0.5, 0.9], n_items=30, seed=6)
    assert as_interpretable_as_neurons({"adapter": few[0], "mlp": few[1]}).verdict == "undecided"
    reasoning = fires_for_reasoning({"adapter": adapter, "mlp": low, "random": random})
    assert reasoning.verdict == "supported"
    assert reasoning.differences["random"].estimate == pytest.approx(0.3, abs=0.03)
    assert fires_for_reasoning({"adapter": low, "mlp": mlp, "random": random}).verdict == "refuted"
    # Directions that know what kind of token there is are interpretable, and do not fire for reasoning.
    kinds = population("adapter", strong, seed=7, role=1)
    assert as_interpretable_as_neurons({"adapter": kinds, "mlp": mlp}).verdict == "supported"
    assert fires_for_reasoning({"adapter": kinds, "mlp": mlp, "random": random}).verdict == "refuted"
    named = fires_for_reasoning({"adapter": kinds, "mlp": low, "random": random}, reasoning=("surface:one",))
    assert named.verdict == "supported"


def test_intervals_hold_the_true_difference():
    """Directions of both populations are drawn from the same two kinds, so the true difference is 0: 95 % of 20."""
    random = np.random.default_rng(0)
    held = 0
    for seed in range(20):
        pair = [
            population("adapter", random.choice([0.6, 0.8], 12), n_items=40, seed=[seed, side], roles_seed=seed)
            for side in (0, 1)
        ]
        interval = difference(*pair, seed=seed)
        held += interval.low <= 0 <= interval.high
    assert held >= 16  # fewer come with a chance of 0.3 % at 95 %


def test_what_can_not_be_compared_is_refused():
    adapter, mlp = population("adapter", [0.8] * 3), population("mlp", [0.8] * 3, n_items=100)
    with pytest.raises(BadInput, match="scored on other items"):
        as_interpretable_as_neurons({"adapter": adapter, "mlp": mlp})
    with pytest.raises(BadInput, match="needs role scores of mlp, random too"):
        fires_for_reasoning({"adapter": adapter})
    with pytest.raises(BadInput, match="no role named 'tag:way'"):
        difference(adapter, adapter, ("tag:way",))
