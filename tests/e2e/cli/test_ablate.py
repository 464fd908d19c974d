"""`rankscope ablate`: one adapter and several seeds, record and page, a file without roles, refusals."""

import json

import pytest
import torch

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.base.vocabulary import SYMBOLS
from rankscope.interpret.ablation_records import ABLATION_FILE, read_ablation

TASK = "hashhop:mode=trace,lines=8,chains=2,max_length=4,hops=1"
SITES = {f"transformer.h.{layer}.{kind}": shape for layer in (0, 1) for kind, shape in
         {"mlp.c_fc": (64, 16), "mlp.c_proj": (16, 64), "attn.c_proj": (16, 16)}.items()}  # fmt: skip


@pytest.fixture(scope="module")
def base(tiny_model_folder):
    return tiny_model_folder("gpt2")


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    """Two seeds of one adapter; its update at one site is nothing but zeros."""
    folders = []
    for seed in (0, 1):
        draw = torch.Generator().manual_seed(seed)
        factors = {
            site: Factors(torch.randn(2, n_in, generator=draw), torch.randn(n_out, 2, generator=draw) / 20, 1.0)
            for site, (n_out, n_in) in SITES.items()
        }
        factors["transformer.h.1.mlp.c_fc"].B_OR.zero_()
        folders.append(tmp_path_factory.mktemp(f"seed{seed}"))
        write_adapter(folders[-1], AdapterWeights(factors), str(base))
    return folders


def test_one_adapter_gives_record_and_page(rankscope, base, adapters, tmp_path):
    ran = rankscope("ablate", adapters[0], "--base", base, "--task", TASK, "--items", 20, "--out", tmp_path / "found")
    assert ran.code == 0, ran.err
    tables = ran.out.split("Exact output:")[0].split("\n")[1:]
    assert max(map(len, tables)) <= 80
    reading = read_ablation(tmp_path / "found" / ABLATION_FILE).reading
    single = {row.name: row for row in reading.of("site")}
    assert set(single) == set(SITES)
    assert [name for name, row in single.items() if row.below_resolution] == ["transformer.h.1.mlp.c_fc"]
    assert single["transformer.h.1.mlp.c_fc"].exact_loss.estimate == 0
    assert len(reading.of("site", "mean")) == len(reading.of("site", "keep only")) == 6
    page = (tmp_path / "found" / "report.html").read_text()
    assert "below resolution" in page
    assert "<script src" not in page
    assert "http" not in page.split("</style>")[1].split("<script>")[0].replace("http://www.w3.org", "")


def test_several_seeds_a_screen_and_directions(rankscope, base, adapters):
    asked = ("--items", 12, "--screen", 2, "--directions", "--json")
    ran = rankscope("ablate", *adapters, "--base", base, "--task", TASK, *asked)
    assert ran.code == 0, ran.err
    reading = json.loads(ran.out)["reading"]
    units = [row["unit"] for row in reading["ablations"] if row["how"] == "zero"]
    assert (units.count("site"), units.count("direction")) == (2 + 4, 4)
    assert sum(row["unit"] == "site" and row["how"] == "mean" for row in reading["ablations"]) == 2
    assert {row["kl"]["n_seeds"] for row in reading["ablations"]} == {2}
    assert (reading["check"]["n_chosen"], reading["check"]["n_left_out"], reading["check"]["n_drawn"]) == (2, 4, 4)
    assert {row["p"] is None for row in reading["ablations"] if row["unit"] == "direction"} == {False}
    assert any(row["role"].startswith("tag:") for row in reading["roles"])


def test_a_screen_says_what_it_may_have_missed_in_terminal_and_page(rankscope, base, adapters, tmp_path):
    asked = ("--items", 12, "--screen", 1, "--out", tmp_path / "found")
    ran = rankscope("ablate", adapters[0], "--base", base, "--task", TASK, *asked)
    assert ran.code == 0, ran.err
    check = read_ablation(tmp_path / "found" / ABLATION_FILE).reading.check
    told = f"The screen chose 1 site and left 5 out. To check it, 4 of those, drawn at random, were taken out too: the costliest, {check.costliest}, costs"  # noqa: E501
    assert told in " ".join(ran.out.split())
    assert told in (tmp_path / "found" / "report.html").read_text()


def test_what_takes_over_a_minute_is_told_before_it_starts(rankscope, base, adapters, monkeypatch):
    asked = ("ablate", adapters[0], "--base", base, "--task", TASK, "--items", 4)
    for total_s, told in ((720.0, "Ablations on 4 items: about 12 min."), (30.0, "")):
        monkeypatch.setattr("rankscope.interpret.ablation_cost.estimate_seconds", lambda *_, s=total_s: s)
        ran = rankscope(*asked)
        assert ran.code == 0, ran.err
        assert ran.err.split("Ablating")[0].strip() == told


def test_without_roles_it_says_what_is_missing(rankscope, base, adapters, tmp_path):
    file = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"{SYMBOLS[n % 40]} {SYMBOLS[n // 40]} answer", "answer": SYMBOLS[3]} for n in range(300)]
    file.write_text("\n".join(map(json.dumps, rows)))
    ran = rankscope("ablate", adapters[0], "--base", base, "--task", file, "--items", 10)
    assert ran.code == 0, ran.err
    assert "carry no roles" in ran.out


def test_refusals(rankscope, base, adapters, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    taken = rankscope("ablate", adapters[0], "--base", base, "--task", TASK, "--out", tmp_path / "full")
    assert (taken.code, (tmp_path / "full" / "file").read_text()) == (2, "mine")
    earlier = tmp_path / "earlier"
    assert rankscope("ablate", adapters[0], "--base", base, "--task", TASK, "--items", 4, "--out", earlier).code == 0
    before = {file.name: file.read_bytes() for file in earlier.iterdir()}
    other = rankscope("ablate", adapters[1], "--base", base, "--task", TASK, "--items", 4, "--out", earlier)
    assert other.code == 2
    assert "Give a new or empty folder" in other.err
    look = ("look", adapters[1], "--base", base, "--task", TASK, "--items", 4, "--out", earlier)
    said = "earlier ablations, which differ in adapter, choice about single directions and are not replaced"
    assert said in " ".join(rankscope(*look).err.split())
    assert {file.name: file.read_bytes() for file in earlier.iterdir()} == before
    planted = rankscope("ablate", adapters[0], "--base", base, "--task", "planted:k=1,lines=8,chains=2", "--items", 4)
    assert planted.code == 2
    assert "imitates a teacher" in planted.err
