"""Several adapters scored in one pass against each scored alone."""

import numpy as np
import polars as pl
import pytest
import torch
from hand_items import STOP, random_items, train_briefly
from tiny_models import FAMILIES, tiny_model

from rankscope.adapters.attach import attached
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.engine.variants import Variants
from rankscope.evals import teacher_forced
from rankscope.evals.generate import generate, generate_variants
from rankscope.evals.teacher_forced import (
    VARIANTS_PER_PASS,
    batch_scores,
    completion_log_probs,
    score_teacher_forced,
    score_variants,
    with_answers,
)
from rankscope.lm.sites import linear_sites
from rankscope.tasks.encoded import NO_TOKEN


def adapters(model, n):
    """The base, then adapters of rank 0 to 3 on every other site."""
    noise = torch.Generator().manual_seed(0)
    made = [AdapterWeights({})]
    for number in range(n):
        factors = {}
        for index, (site, (n_out, n_in)) in enumerate(linear_sites(model).items()):
            if (index + number) % 2:
                rank = (index + number) % 4
                A, B = torch.randn(rank, n_in, generator=noise), torch.randn(n_out, rank, generator=noise)
                factors[site] = Factors(A, B, 0.1 * number)
        made.append(AdapterWeights(factors))
    return made


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_generations_together_are_those_alone(family, above):
    """Also where only the last layer differs between adapters, so that they share what lies below."""
    model, items = tiny_model(family, n_layers=3), random_items(0, 9)
    train_briefly(model, items.take(slice(0, 5)), 30)
    variants = adapters(model, 4)
    if above:
        variants = [AdapterWeights({site: f for site, f in one.items() if ".2." in site}) for one in variants]
    together = generate_variants(Variants(model, variants), items, 12, batch_size=11, stop_id=STOP)
    alone = []
    for adapter in variants:
        with attached(model, adapter):
            alone.append(generate(model, items, 12, stop_id=STOP))
    np.testing.assert_array_equal(together, np.stack(alone))
    lengths_KN = (together != NO_TOKEN).sum(-1)
    assert len(np.unique(lengths_KN)) > 2  # they end at different times
    assert (lengths_KN != lengths_KN[0]).any()


def test_near_ties_are_decided_by_generating_with_the_adapter_at_hand(monkeypatch):
    model, items = tiny_model("gpt2"), random_items(0, 9)
    train_briefly(model, items, 60)
    monkeypatch.setattr(teacher_forced, "NEAR_TIE", 1e9)
    monkeypatch.setattr(teacher_forced, "batch_scores", with_margins_turned)
    exact = [frame["exact_output"].to_list() for frame in score_variants(model, adapters(model, 2), items)]
    monkeypatch.undo()
    assert exact == [frame["exact_output"].to_list() for frame in score_variants(model, adapters(model, 2), items)]
    assert any(exact[0])


def with_margins_turned(*arguments):
    scores = batch_scores(*arguments)
    return scores | {"margin": -scores["margin"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_together_is_as_alone(family):
    model, items = tiny_model(family), random_items(0, 9)
    variants = adapters(model, VARIANTS_PER_PASS)
    together = score_variants(model, variants, items, batch_size=16, generate=True)
    assert len(together) == len(variants)
    for adapter, frame in zip(variants, together, strict=True):
        with attached(model, adapter):
            alone = with_answers(score_teacher_forced(model, items), model, items)
        assert frame["item"].equals(alone["item"])
        for column in alone.columns[1:]:
            ours, theirs = (one[column].cast(pl.Float64).to_list() for one in (frame, alone))
            if alone[column].null_count() == 0:
                assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
            assert frame[column].null_count() == alone[column].null_count()


def test_variants_are_held_to_the_items_objective():
    model, items = tiny_model("gpt2"), random_items(0, 3)
    with pytest.raises(BadInput, match="take no teacher"):
        score_variants(model, [AdapterWeights({})], items, teacher=completion_log_probs(model, items))
    with pytest.raises(BadInput, match="no linear map of this base"):
        score_variants(model, [AdapterWeights({"nowhere": Factors(torch.ones(1, 2), torch.ones(2, 1), 1.0)})], items)
