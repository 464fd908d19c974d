"""Several adapters scored in one pass against each scored alone."""

import polars as pl
import pytest
import torch
from hand_items import random_items
from tiny_models import FAMILIES, tiny_model

from rankscope.adapters.attach import attached
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput
from rankscope.evals.teacher_forced import VARIANTS_PER_PASS, completion_log_probs, score_teacher_forced, score_variants
from rankscope.lm.sites import linear_sites


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


@pytest.mark.parametrize("family", FAMILIES)
def test_together_is_as_alone(family):
    model, items = tiny_model(family), random_items(0, 9)
    variants = adapters(model, VARIANTS_PER_PASS)
    together = score_variants(model, variants, items, batch_size=16)
    assert len(together) == len(variants)
    for adapter, frame in zip(variants, together, strict=True):
        with attached(model, adapter):
            alone = score_teacher_forced(model, items)
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
