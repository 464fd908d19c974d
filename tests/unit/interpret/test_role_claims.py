"""Verdicts on simulated populations whose role scores are known, and intervals that hold the true difference."""

import numpy as np
import pytest
from scipy import stats
from token_tables import tokens_like

from rankscope.base.errors import BadInput
from rankscope.interpret.role_claims import (
    AS_NEURONS,
    FOR_REASONING,
    difference,
    judge_one,
    reasoning_roles,
    role_scores,
    role_values_N,
)
from rankscope.interpret.role_labels import role_labels
from rankscope.interpret.role_scores import score_roles
from rankscope.tasks.reasoning_draft import REASONING_TAGS
from rankscope.tasks.roles import FORM_TAGS

LENGTH = 10


def population(name, aurocs, n_items=500, seed=0, roles_seed=0, role="tag:path"):
    """Directions that are a role's indicator plus noise, one per AUROC; two tags and two surfaces at random."""
    random = np.random.default_rng(roles_seed)
    n_tokens = n_items * LENGTH
    bits_M = random.integers(0, 4, n_tokens).astype(np.uint32)
    surface_M = random.integers(1, 3, n_tokens).astype(np.uint8)
    tokens = tokens_like([LENGTH] * n_items, tags=bits_M, known=np.full_like(bits_M, 3), surface=surface_M)
    roles = role_labels(tokens, ("none", "one", "two"), ("path", "repeat"))
    random = np.random.default_rng(np.append(seed, 1))
    shift_F = np.sqrt(2) * stats.norm.ppf(np.array(aurocs))
    values_MF = roles.label_GM[roles.names.index(role)][:, None] * shift_F + random.standard_normal(
        (n_tokens, len(aurocs))
    )
    return score_roles(name, ("",) * len(aurocs), tokens, values_MF.astype(np.float32), roles, n_shifts=0)


def test_verdicts_follow_the_rules():
    strong, weak = [0.8] * 12, [0.6] * 12
    adapter, mlp = population("adapter", strong, seed=1), population("mlp", strong, seed=2)
    random, low = population("random", [0.5] * 12, seed=3), population("adapter", weak, seed=4)
    equal = judge_one(AS_NEURONS, {"adapter": adapter, "mlp": mlp, "random": random})
    assert equal.would_be == "supported"
    assert "For this adapter alone" in equal.because
    assert equal.mean_scores["adapter directions"] == pytest.approx(0.8, abs=0.02)
    assert judge_one(AS_NEURONS, {"adapter": low, "mlp": mlp, "random": random}).would_be == "refuted"
    few = population("adapter", [0.5, 0.9], n_items=30, seed=5), population("mlp", [0.5, 0.9], n_items=30, seed=6)
    assert judge_one(AS_NEURONS, {"adapter": few[0], "mlp": few[1], "random": few[1]}).would_be == "undecided"
    reasoning = judge_one(FOR_REASONING, {"adapter": adapter, "mlp": low, "random": random})
    assert reasoning.would_be == "supported"
    assert reasoning.differences["random"].estimate == pytest.approx(0.3, abs=0.03)
    assert judge_one(FOR_REASONING, {"adapter": low, "mlp": mlp, "random": random}).would_be == "refuted"


@pytest.mark.parametrize("role", ["surface:one", "tag:repeat"])
def test_directions_that_know_the_form_are_interpretable_and_do_not_fire_for_reasoning(role):
    """A detector of words that stood before, or of a kind of token, reads like a neuron and solves no problem."""
    kinds, mlp = population("adapter", [0.8] * 12, seed=7, role=role), population("mlp", [0.7] * 12, seed=2)
    random = population("random", [0.5] * 12, seed=3)
    assert judge_one(AS_NEURONS, {"adapter": kinds, "mlp": mlp, "random": random}).would_be == "supported"
    assert judge_one(FOR_REASONING, {"adapter": kinds, "mlp": mlp, "random": random}).would_be == "refuted"


def test_shipped_tags_are_of_the_problem_or_of_the_form():
    tags = [f"tag:{name}" for name in REASONING_TAGS]
    assert set(FORM_TAGS) < set(REASONING_TAGS)
    left = {name.removeprefix("tag:") for name in reasoning_roles([*tags, "surface:key"])}
    assert left == set(REASONING_TAGS) - set(FORM_TAGS)
    assert {"on_path", "hop_2", "leaf", "branch", "carry_in", "smallest", "wrong", "final_step"} <= left


def test_item_values_are_the_role_score_and_what_items_do_to_it():
    """Their mean is the score; a mean over drawn items is, to first order, the score on those items."""
    scores = population("adapter", [0.6, 0.8], n_items=60, seed=8)
    values_N = role_values_N(scores, None)
    auroc_F, influence_NF = role_scores(scores, None)
    assert values_N.mean() == pytest.approx(auroc_F.mean(), abs=1e-9)
    weight_N = np.random.default_rng(0).multinomial(len(values_N), np.full(len(values_N), 1 / len(values_N)))
    drawn = (auroc_F + (weight_N - 1.0) @ influence_NF).mean()
    assert (weight_N * values_N).sum() / len(values_N) == pytest.approx(drawn, abs=1e-9)


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
        judge_one(AS_NEURONS, {"adapter": adapter, "mlp": mlp, "random": mlp})
    with pytest.raises(BadInput, match="needs role scores of mlp, random too"):
        judge_one(FOR_REASONING, {"adapter": adapter})
    with pytest.raises(BadInput, match="no role named 'tag:way'"):
        difference(adapter, adapter, ("tag:way",))
