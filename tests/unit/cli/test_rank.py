"""`rankscope rank` on adapters whose singular values are known."""

import json

import pytest
import torch

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter


def factors(values, scale=1.0):
    """R = len(values) directions with those singular values, times the scale."""
    R = len(values)
    return Factors(torch.eye(R, 6), torch.eye(5, R) * torch.tensor(values), scale)


@pytest.fixture
def adapter(tmp_path):
    """Rank 2: singular values 8 and 6 (scale 2) in layer 0, nothing in layer 1."""
    weights = AdapterWeights({"h.0.mlp.c_fc": factors([4.0, 3.0], 2.0), "h.1.mlp.c_fc": factors([0.0, 0.0], 2.0)})
    write_adapter(tmp_path / "adapter", weights, "some-base")
    return tmp_path / "adapter"


def test_json_holds_hand_computed_estimates(rankscope, adapter):
    found = json.loads(rankscope("rank", adapter, "--json").out)
    site = found["sites"]["h.0.mlp.c_fc"]
    assert (site["nominal_rank"], site["shape"], site["scale"]) == (2, [5, 6], 2.0)
    assert site["singular_values"] == pytest.approx([8.0, 6.0])
    assert site["estimates"]["stable"] == pytest.approx(25 / 16)
    assert site["estimates"]["participation"] == pytest.approx(625 / 337)
    assert (site["estimates"]["energy .90"], site["estimates"]["noise cut"]) == (2.0, None)
    assert found["sites"]["h.1.mlp.c_fc"]["estimates"] is None
    assert found["mean_over_sites"]["stable"] == pytest.approx(25 / 16)
    assert found["nominal_ranks"] == [2]


def test_table_fits_80_columns_and_warns(rankscope, adapter):
    ran = rankscope("rank", adapter)
    lines = ran.out.splitlines()
    table = lines[: lines.index("")]
    assert max(map(len, table)) <= 80
    assert any(line.split() == ["0.mlp.c_fc", "2", "2.0", "2.0", "2.0", "1.6", "1.9", "2.0"] for line in table)
    assert any(line.split() == ["1.mlp.c_fc", "2", *"------"] for line in table)
    assert "change nothing, left out of means: 1 of 2" in ran.out
    assert "None of them is the rank that the skill needs" in ran.out


def test_many_sites_are_shown_by_kind(rankscope, tmp_path):
    maps = ("attn.c_attn", "mlp.c_fc")
    weights = AdapterWeights({f"h.{n}.{m}": factors([2.0] if m == maps[0] else [1.0]) for n in range(13) for m in maps})
    write_adapter(tmp_path / "adapter", weights, "some-base")
    ran = rankscope("rank", tmp_path / "adapter")
    rows = [line.split()[:3] for line in ran.out.splitlines()[2:4]]
    assert rows == [["attn.c_attn", "13", "1"], ["mlp.c_fc", "13", "1"]]


def test_an_untrained_adapter_changes_nothing(rankscope, tmp_path):
    write_adapter(tmp_path / "adapter", AdapterWeights({"h.0.mlp.c_fc": factors([0.0])}), "some-base")
    assert "the adapter changes nothing" in rankscope("rank", tmp_path / "adapter").out
