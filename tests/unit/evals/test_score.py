"""Whole score tables, trained cells, and the pivot for the statistics."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hand_items import random_items, train_briefly
from tiny_models import tiny_model, tiny_tokenizer

from rankscope.adapters.attach import attached
from rankscope.adapters.dense import write_dense
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.base.errors import BadFile, BadInput
from rankscope.engine.model import adapted
from rankscope.evals.score import score_cell, score_variant, wide
from rankscope.evals.score_table import SCHEMA, TRAINED, validated, variant_hash
from rankscope.lm.bases import Base, load_base
from rankscope.tasks.catalog import load_items

SITE = "transformer.h.1.mlp.c_proj"


@pytest.fixture
def base() -> Base:
    return Base("tiny", tiny_model("gpt2"), tiny_tokenizer(), "hash", 64, stop_id=1, pad_id=0)


def table(base: Base, **changes: object) -> pl.DataFrame:
    keys = {"cell": "c", "seed": 3, "step": 10, "variant": TRAINED}
    return score_variant(base.model, random_items(0, 8), **(keys | changes))


def test_table_has_the_schema_and_its_keys(base: Base) -> None:
    frame = table(base)
    assert dict(frame.schema) == SCHEMA
    assert frame.row(0)[:6] == ("c", 3, 10, "test", 100, "trained")
    assert frame["answer_correct"].null_count() == 8


def test_generation_fills_the_answer_after_the_own_trace(base: Base) -> None:
    items = random_items(0, 8)
    train_briefly(base.model, items.take(slice(0, 5)), 60)
    frame = table(base, generate=True)
    assert frame["answer_correct"].null_count() == 0
    assert frame.filter("exact_output")["answer_correct"].all()
    assert 0 < frame["answer_correct"].sum() < 8


def test_lora_cell_scores_as_the_attached_adapter(base: Base, tmp_path: Path) -> None:
    noise = torch.Generator().manual_seed(0)
    factors = Factors(torch.randn(2, 64, generator=noise), torch.randn(16, 2, generator=noise), 2.0)
    weights = AdapterWeights({SITE: factors})
    write_adapter(tmp_path / "adapter", weights, "tiny")
    write_adapter(tmp_path / "early", AdapterWeights({SITE: replace(factors, B_OR=factors.B_OR * 0)}), "tiny")
    before = table(base)
    with attached(base.model, weights):
        expected = table(base)
    keys = {"cell": "c", "seed": 3, "step": 10}
    scored = score_cell(base, tmp_path, random_items(0, 8), **keys)
    early = score_cell(base, tmp_path, random_items(0, 8), **keys, snapshot="early")
    assert scored["nats"].to_list() == pytest.approx(expected["nats"].to_list(), rel=1e-5)
    assert early["nats"].to_list() == pytest.approx(before["nats"].to_list(), rel=1e-6)
    assert not np.allclose(scored["nats"], before["nats"], rtol=1e-2)
    assert table(base).equals(before)


def test_dense_cell_swaps_parameters_and_puts_them_back(base: Base, tmp_path: Path) -> None:
    before = table(base)
    name = f"{SITE}.weight"
    changed = base.model.get_parameter(name).detach() + 0.5
    write_dense(tmp_path / "adapter", {name: changed}, "dense")
    scored = score_cell(base, tmp_path, random_items(0, 8), cell="c", seed=3, step=10)
    assert table(base).equals(before)
    base.model.get_parameter(name).data.copy_(changed)
    assert scored.equals(table(base))


def test_a_cell_without_weights_is_refused(base: Base, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="diverged or has not been trained"):
        score_cell(base, tmp_path, random_items(0, 2), cell="c", seed=0, step=0)


def scores(seed: int, items: list[int], exact: list[bool | None]) -> pl.DataFrame:
    rows = {"cell": "c", "seed": seed, "step": 1, "split": "test", "variant": TRAINED}
    return validated(
        pl.DataFrame({"item": items, "exact_output": exact}).with_columns(**{k: pl.lit(v) for k, v in rows.items()})
    )


def test_wide_is_seeds_by_items() -> None:
    frame = pl.concat([scores(7, [5, 2], [True, False]), scores(1, [5, 2], [False, False])])
    seeds, items, array = wide(frame, "exact_output")
    assert seeds == (1, 7)
    assert items.tolist() == [5, 2]
    assert array.tolist() == [[0.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("second", "column", "message"),
    [
        (scores(1, [2, 5], [True, True]), "exact_output", "same items"),
        (scores(1, [5], [True]), "exact_output", "same items"),
        (scores(1, [5, 2], [True, None]), "exact_output", "1 rows have no"),
        (scores(7, [5, 2], [True, True]), "exact_output", "stand twice"),
        (scores(1, [5, 2], [True, True]), "item", "no score column"),
    ],
)
def test_wide_refuses_what_can_not_be_paired(second: pl.DataFrame, column: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        wide(pl.concat([scores(7, [5, 2], [True, False]), second]), column)


def test_validated_refuses_unknown_columns_doubles_and_infinities() -> None:
    good = scores(0, [1, 2], [True, False])
    with pytest.raises(BadInput, match="surprise"):
        validated(good.with_columns(surprise=1))
    with pytest.raises(BadInput, match="stand twice"):
        validated(pl.concat([good, good]))
    with pytest.raises(BadInput, match="finite"):
        validated(good.with_columns(nats=float("nan")))
    with pytest.raises(BadInput, match="missing"):
        validated(good.drop("seed"))


def test_variants_are_named_by_their_intervention() -> None:
    assert variant_hash({}) == TRAINED
    assert variant_hash({"a": 1, "b": 2}) == variant_hash({"b": 2, "a": 1}) != variant_hash({"a": 2, "b": 2})


def test_what_is_frozen_is_kept_for_the_next_cell_and_for_no_other_items(tmp_path: Path) -> None:
    """Scores through the prefix are the plain ones to rounding, also where candidates make an item set of their own."""
    base = load_base("tiny-gpt2")
    site = "transformer.h.3.mlp.c_proj"
    items = load_items("hashchain:mode=direct,lines=10,chains=2,max_length=5", "test", 40, 0, base.tokenizer)
    wide_items = replace(items, candidates_NCA=np.repeat(items.candidates_NCA, 2, axis=2))
    for seed in (0, 1):
        rng = torch.Generator().manual_seed(seed)
        A_RI, B_OR = torch.randn(2, 512, generator=rng), 0.1 * torch.randn(128, 2, generator=rng)
        weights = AdapterWeights({site: Factors(A_RI, B_OR, 1.0)})
        write_adapter(tmp_path / f"{seed}" / "adapter", weights, "tiny-gpt2")
        for some in (items, wide_items):
            kept = score_cell(base, tmp_path / f"{seed}", some, cell="a", seed=0, step=1)
            with adapted(base.model, weights) as model:
                plain = score_variant(model, some, cell="a", seed=0, step=1)
            for column in ("nats", "answer_nats"):
                if column in kept.columns and plain[column].null_count() == 0:
                    np.testing.assert_allclose(kept[column].to_numpy(), plain[column].to_numpy(), atol=1e-4)
            assert kept["forced_choice"].to_list() == plain["forced_choice"].to_list()
            assert kept["exact_output"].to_list() == plain["exact_output"].to_list()
