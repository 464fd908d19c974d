"""From captures of one adapter on one task to examples, role scores and claims."""

import numpy as np
import polars as pl
import pytest
from tiny_captures import gathered, random_adapter

from rankscope.base.errors import BadInput
from rankscope.capture.recorder import record
from rankscope.interpret.examples import examples
from rankscope.interpret.populations import matched_view, sampled, score_populations
from rankscope.interpret.role_claims import QUESTIONS, judge_one, reasoning_roles, role_scores
from rankscope.interpret.role_values import read_roles
from rankscope.interpret.tables import read_examples, read_role_scores, write_examples, write_role_scores
from rankscope.lm.bases import load_base
from rankscope.tasks.catalog import load_role_items

TASK = "hashhop:mode=trace,lines=10,chains=2"
POPULATIONS = ("adapter", "mlp", "residual", "random")


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures")
    base = load_base("tiny-gpt2")
    weights = random_adapter(base.model, 2, scale=0.05)
    items, roles = load_role_items(TASK, "test", 60, 0, base.tokenizer)
    return {
        name: record(base, weights, items, roles, folder / name, population=name, n_columns=None)
        for name in POPULATIONS
    }


def test_populations_are_matched_and_claims_follow(captured, tmp_path):
    scores = score_populations(captured, n_shifts=19)
    n = len(captured["adapter"].view)
    assert {len(found.labels) for found in scores.values()} == {n}
    assert len({(found.n_tokens, found.n_items) for found in scores.values()}) == 1
    judged = scores["mlp"].roles.filter("is_judged")["role"].to_list()
    assert {"tag:on_path", "surface:step"} <= set(judged)
    assert set(scores["mlp"].pairs["role"]) == set(judged)
    assert len(scores["mlp"].pairs) == len(judged) * n
    # The base's stream knows what kind of token it is at; half of the items say so for those it was not chosen on.
    assert scores["residual"].best["auroc"].mean() > 0.6
    write_role_scores(tmp_path, scores["mlp"])
    for name in ("pairs", "best", "roles"):
        assert read_role_scores(tmp_path, "mlp", name).equals(getattr(scores["mlp"], name))
    for question in QUESTIONS:
        claim = judge_one(question, scores)
        assert claim.would_be in ("supported", "refuted", "undecided")
        assert all(one.low <= one.estimate <= one.high for one in claim.differences.values())


def test_an_adapter_is_read_as_its_captures_are(captured):
    base = load_base("tiny-gpt2")
    items, roles = load_role_items(TASK, "test", 60, 0, base.tokenizer)
    weights = random_adapter(base.model, 2, scale=0.05)
    table, again = read_roles(base, weights, items, roles, 0), read_roles(base, weights, items, roles, 1)
    scores = score_populations({name: captured[name] for name in ("adapter", "random")}, n_shifts=0)
    allowed = reasoning_roles(scores["adapter"].scored_on.roles.names)
    assert "tag:on_path" in allowed
    for name in ("adapter", "random"):
        rows = table.filter((pl.col("question") == "reasoning roles") & (pl.col("population") == name))
        assert rows["value"].mean() == pytest.approx(role_scores(scores[name], allowed)[0].mean(), abs=1e-6)
        assert rows["item"].to_list() == scores[name].scored_on.items_N.tolist()
    ours, others = (
        [frame.filter(pl.col("population") == name)["value"].to_numpy() for frame in (table, again)]
        for name in ("adapter", "mlp")
    )
    assert np.array_equal(*ours)  # the seed draws what the adapter is compared with, not the items
    assert not np.array_equal(*others)


def test_principal_components_are_those_of_the_centred_columns(captured):
    state = captured["residual"]
    view = matched_view("residual", state, 10)
    assert [direction.label for direction in view.directions][:4] == [
        f"transformer.h.0.attn.c_attn #{i}" for i in range(3)
    ] + ["transformer.h.1.attn.c_attn #0"]
    _, raw_MD = gathered(state.iter_raw())
    _, shown_MF = gathered(state.iter_shown(view))
    centred = raw_MD[:, :128].astype(np.float64) - raw_MD[:, :128].mean(0)
    singular = np.linalg.svd(centred, compute_uv=False)[:3]
    np.testing.assert_allclose(shown_MF[:, :3].std(0), singular / np.sqrt(len(raw_MD)), rtol=1e-4)


def test_the_same_share_of_items_is_taken_of_every_population(captured):
    found = [sampled(captured[name], captured[name].view, 800, 3)[0] for name in ("adapter", "mlp")]
    assert (found[0].item == found[1].item).all()
    assert 400 < len(found[0]) < 1200
    assert len(found[0].item_starts) == len(np.unique(found[0].item))


def test_examples_come_from_a_capture(captured, tmp_path):
    state = captured["adapter"]
    write_examples(tmp_path / "examples.parquet", examples(state.iter_shown()))
    found = read_examples(tmp_path / "examples.parquet")
    tokens, values_MF = gathered(state.iter_shown())
    top = found.filter((pl.col("kind") == "positive") & (pl.col("rank") == 0)).sort("direction")
    np.testing.assert_array_equal(top["value"], values_MF.max(0))
    row = values_MF[:, 3].argmax()
    assert top.row(3)[3:5] == (tokens.item[row], tokens.position[row])


def test_captures_of_other_items_are_refused(captured, tmp_path):
    base = load_base("tiny-gpt2")
    items, roles = load_role_items(TASK, "test", 59, 0, base.tokenizer)
    other = record(base, random_adapter(base.model, 2, scale=0.05), items, roles, tmp_path, population="mlp")
    with pytest.raises(BadInput, match="differ in items_hash, roles_hash"):
        score_populations({"adapter": captured["adapter"], "mlp": other})
