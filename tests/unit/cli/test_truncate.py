"""`rankscope truncate` without a base: sizes, energies and large adapters by hand."""

import json
import os
from pathlib import Path

import pytest
import torch

from rankscope.adapters.read import read_adapter
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter


def factors(values, scale=1.0):
    """R = len(values) directions with those singular values, times the scale."""
    R = len(values)
    return Factors(torch.eye(R, 6), torch.eye(5, R) * torch.tensor(values), scale)


def test_the_largest_directions_are_kept(rankscope, tmp_path):
    weights = AdapterWeights({"h.0.mlp.c_fc": factors([3.0, 1.0, 4.0], 2.0), "h.1.mlp.c_fc": factors([0.0, 0.0, 0.0])})
    write_adapter(tmp_path / "whole", weights, "some-base")
    ran = rankscope("truncate", tmp_path / "whole", "--to", 2, "--out", tmp_path / "small", "--json")
    record = json.loads(ran.out)
    assert record["sites"]["h.0.mlp.c_fc"] == {
        "rank_before": 3,
        "rank_after": 2,
        "energy_kept": pytest.approx(25 / 26),
    }
    assert record["sites"]["h.1.mlp.c_fc"]["energy_kept"] is None
    assert (record["n_parameters_before"], record["n_parameters_after"]) == (66, 44)
    assert (record["k"], record["chosen"], record["measured"]) == (2, None, None)
    kept = torch.diag(torch.tensor([6.0, 0.0, 8.0]))
    delta = read_adapter(tmp_path / "small")["h.0.mlp.c_fc"].delta_OI()
    torch.testing.assert_close(delta[:3, :3], kept, rtol=0, atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "truncation.json",
    ]


def test_many_sites_are_shown_by_kind(rankscope, tmp_path):
    maps = {"attn.c_attn": [2.0, 1.0], "mlp.c_fc": [1.0]}
    weights = AdapterWeights({f"h.{n}.{name}": factors(values) for n in range(13) for name, values in maps.items()})
    write_adapter(tmp_path / "whole", weights, "some-base")
    ran = rankscope("truncate", tmp_path / "whole", "--to", 1, "--out", tmp_path / "small")
    rows = [line.split() for line in ran.out.splitlines()[2:4]]
    assert rows == [["attn.c_attn", "13", "2", "1", "80.0%"], ["mlp.c_fc", "13", "1", "1", "100.0%"]]
    assert "says nothing about scores" in ran.out


@pytest.fixture
def whole(tmp_path):
    write_adapter(tmp_path / "whole", AdapterWeights({"h.0.mlp.c_fc": factors([3.0, 1.0])}), "some-base")
    return tmp_path / "whole"


@pytest.fixture
def nothing_is_read(monkeypatch):
    """Reading the adapter comes first of all that takes time: a check that comes too late fails here."""

    def read(_folder):
        raise AssertionError("work began before --out was checked")

    monkeypatch.setattr("rankscope.adapters.read.read_adapter", read)


def test_a_link_to_an_empty_folder_is_filled(rankscope, whole, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "nowhere").symlink_to(tmp_path / "new")
    for name, real in (("link", "empty"), ("nowhere", "new")):
        ran = rankscope("truncate", whole, "--to", 1, "--out", tmp_path / name)
        assert ran.code == 0, ran.err
        assert read_adapter(tmp_path / real)["h.0.mlp.c_fc"].rank == 1


@pytest.mark.usefixtures("nothing_is_read")
def test_an_empty_folder_that_can_not_be_replaced_is_refused_before_any_work(rankscope, whole, tmp_path, monkeypatch):
    (tmp_path / "kept" / "empty").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "kept" / "empty")
    asked, allowed = ("truncate", whole, "--to", 1, "--out"), os.access
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "kept" and allowed(path, mode))
        for name in ("kept/empty", "link"):
            ran = rankscope(*asked, tmp_path / name)
            assert ran.code == 2
            assert f"{tmp_path / 'kept'} is not writable. Give a new folder inside it." in " ".join(ran.err.split())
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "kept" / "empty")
        ran = rankscope(*asked, tmp_path / "link")
        assert ran.code == 2
        assert "is a disk of its own and can not be replaced" in " ".join(ran.err.split())
    assert list((tmp_path / "kept" / "empty").iterdir()) == []
