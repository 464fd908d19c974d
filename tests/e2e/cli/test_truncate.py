"""`rankscope truncate`: a smaller adapter that PEFT loads, and the loss that it reports."""

import errno
import json

import peft
import pytest
import torch
from planted_adapters import PLANTED, PLANTED_RANK, write_planted
from tiny_models import tiny_model

from rankscope.adapters.attach import attached
from rankscope.adapters.read import read_adapter, read_adapter_info
from rankscope.adapters.truncate import truncated
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.runs.hashing import file_sha256

TOKENS = torch.arange(1, 25).reshape(2, 12)
# PEFT asks transformers for an attribute under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def base(tiny_model_folder):
    return tiny_model_folder("gpt2")


@pytest.fixture(scope="module")
def planted(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    write_planted(folder, base, 5)
    return folder


def on_task(base):
    return "--base", base, "--task", PLANTED, "--items", 80


@torch.no_grad()
def logits(folder):
    with attached(tiny_model("gpt2"), read_adapter(folder)) as model:
        return model(TOKENS).logits


def test_what_is_written_acts_in_peft_as_our_own_cut(rankscope, tmp_path):
    draw = torch.Generator().manual_seed(3)
    sites = {"attn.c_attn": (16, 48, 4), "mlp.c_proj": (64, 16, 2)}
    weights = AdapterWeights(
        {
            f"transformer.h.{n}.{name}": Factors(
                0.3 * torch.randn(rank, n_in, generator=draw), torch.randn(n_out, rank, generator=draw), 0.5
            )
            for n in range(2)
            for name, (n_in, n_out, rank) in sites.items()
        }
    )
    write_adapter(tmp_path / "whole", weights, "some/base", revision="v2")
    ran = rankscope("truncate", tmp_path / "whole", "--to", 3, "--out", tmp_path / "small")
    assert ran.code == 0, ran.err
    model = peft.PeftModel.from_pretrained(tiny_model("gpt2"), tmp_path / "small").eval()
    with torch.no_grad(), attached(tiny_model("gpt2"), truncated(weights, 3)) as ours:
        torch.testing.assert_close(model(TOKENS).logits, ours(TOKENS).logits, rtol=0, atol=1e-5)
    info = read_adapter_info(tmp_path / "small")
    assert (info.base_name, info.revision, info.fan_in_fan_out) == ("some/base", "v2", True)
    assert {f.rank for f in read_adapter(tmp_path / "small").values()} == {3, 2}
    # (16 + 48) x 4 + (64 + 16) x 2 per layer before, with 3 for 4 after.
    assert "Parameters: 832 before, 704 after (85%)." in ran.out
    assert max(map(len, ran.out.split("PEFT adapter")[0].splitlines()[:8])) <= 80
    rows = [line.split() for line in ran.out.splitlines() if ".c_" in line]
    assert rows[0][1:3] == ["4", "3"]
    assert rows[1][1:] == ["2", "2", "100.0%"]


def test_a_share_of_the_gain_is_kept_by_as_few_directions_as_it_takes(rankscope, base, planted, tmp_path):
    ran = rankscope("truncate", planted, "--keep", 0.95, *on_task(base), "--out", tmp_path / "small", "--json")
    assert ran.code == 0, ran.err
    facts = json.loads(ran.out)
    assert (facts["k"], facts["chosen"]["split"], facts["chosen"]["q"]) == (PLANTED_RANK, "validation", 0.95)
    (loss,) = facts["measured"]["scores"]
    assert facts["measured"]["split"] == "test"
    assert loss["share_kept"] == pytest.approx(1, abs=1e-3)
    assert loss["loss"]["low"] <= loss["loss"]["estimate"] <= loss["loss"]["high"]
    assert loss["loss"]["estimate"] == pytest.approx(loss["before"] - loss["after"])
    torch.testing.assert_close(logits(tmp_path / "small"), logits(planted), rtol=0, atol=1e-4)
    record = json.loads((tmp_path / "small" / "truncation.json").read_text())
    assert record == {name: value for name, value in facts.items() if name != "out"}
    name = "adapter_model.safetensors"
    assert record["source_sha256"][name] == file_sha256(planted / name)


def test_a_given_size_is_measured_too(rankscope, base, planted, tmp_path):
    ran = rankscope("truncate", planted, "--to", 1, *on_task(base), "--out", tmp_path / "one")
    (record,) = json.loads((tmp_path / "one" / "truncation.json").read_text())["measured"]["scores"]
    assert 0 < record["share_kept"] < 0.95
    assert record["loss"]["low"] > 0
    assert f"{record['share_kept']:.1%}" in ran.out
    assert "The interval is over items only" in ran.out
    table = ran.out.split("80 test items:")[1].splitlines()[:6]
    assert max(map(len, table)) <= 80


@pytest.mark.parametrize("as_json", [False, True])
def test_what_was_measured_is_printed_even_if_nothing_can_be_written(
    rankscope, base, planted, tmp_path, monkeypatch, as_json
):
    def full(*_):
        raise OSError(errno.EBUSY, "Device or resource busy", str(tmp_path / "one"))

    monkeypatch.setattr("os.replace", full)
    more = ("--json",) if as_json else ()
    ran = rankscope("truncate", planted, "--to", 1, *on_task(base), "--out", tmp_path / "one", *more)
    assert ran.code == 2
    assert "can not be used: Device or resource busy" in " ".join(ran.err.split())
    if as_json:
        facts = json.loads(ran.out)
        assert facts["out"] is None
        assert len(facts["measured"]["scores"]) == 1
    else:
        assert "80 test items" in ran.out
        assert "No adapter was written." in ran.out
    assert list(tmp_path.iterdir()) == []


def test_a_size_above_the_rank_changes_nothing_and_says_so(rankscope, planted, tmp_path):
    ran = rankscope("truncate", planted, "--to", 9, "--out", tmp_path / "same")
    assert "No site has more than 9 directions: the adapter is written as it was." in ran.out
    before, after = read_adapter(planted), read_adapter(tmp_path / "same")
    assert all(torch.equal(before[site].B_OR, after[site].B_OR) for site in before)
    assert list(before) == list(after)


def test_no_gain_is_refused_with_nothing_written(rankscope, base, planted, tmp_path):
    against = {site: Factors(f.A_RI, -f.B_OR, f.s) for site, f in read_adapter(planted).items()}
    write_adapter(tmp_path / "worse", AdapterWeights(against), str(base))
    ran = rankscope("truncate", tmp_path / "worse", "--keep", 0.9, *on_task(base), "--out", tmp_path / "small")
    assert ran.code == 2
    assert "has no gain on 80 validation items" in ran.err
    assert not (tmp_path / "small").exists()
