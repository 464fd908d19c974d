"""`rankscope rank` with a base and a task: known functional ranks, no gain, several seeds, a skill of one's own."""

import json

import pytest
import torch
from planted_adapters import PLANTED, PLANTED_RANK, write_planted

from rankscope.adapters.read import read_adapter
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.base.vocabulary import SYMBOLS

CONTROLS = {"energy", "random", "bottom", "rescaled", "fisher", "global", "noise"}


@pytest.fixture(scope="module")
def base(tiny_model_folder):
    return tiny_model_folder("gpt2")


@pytest.fixture(scope="module")
def planted(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    write_planted(folder, base, 5)
    return folder


@pytest.fixture(scope="module")
def constant_answer(tmp_path_factory):
    """A skill that a tiny base learns at once: whatever the prompt, the answer is the same symbol."""
    file = tmp_path_factory.mktemp("items") / "mine.jsonl"
    rows = (
        {"prompt": f"{SYMBOLS[n % 40]} {SYMBOLS[(7 * n + n // 40) % 40]} answer", "answer": SYMBOLS[3]}
        for n in range(700)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def on_task(base, task=PLANTED, n=120):
    return "--base", base, "--task", task, "--items", n


def test_a_planted_update_has_its_own_rank(rankscope, base, planted):
    ran = rankscope("rank", planted, *on_task(base), "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    found = document["functional"]
    (score,) = found["scores"]
    assert [one["by_seed"] for one in score["functional"]] == [[PLANTED_RANK], [PLANTED_RANK]]
    assert [(ends["low"], ends["high"]) for (ends,) in score["over_items"]] == [(PLANTED_RANK, PLANTED_RANK)] * 2
    assert (found["nominal_rank"], found["matrix_rank"], found["ks"]) == (5, 2, [0, 1, 2, 3, 4, 5])
    assert {point["control"] for point in score["functional"][0]["curve"]} == CONTROLS
    assert score["whole"][0] == pytest.approx(0, abs=1e-5)
    assert score["base"] <= -0.3 / 2
    assert document["spectra"][0]["nominal_ranks"] == [5]
    (site,) = document["spectra"][0]["weighted"]["sites"].values()
    first, second, *idle = site["singular_values"]
    assert second / first == pytest.approx(0.7, rel=0.05)  # strengths are planted under the input's second moment
    assert max(idle) < 1e-6 * first
    assert site["estimates"]["stable"] == pytest.approx(1 + (second / first) ** 2)
    assert document["spectra"][0]["weighted"]["mean_over_sites"] == site["estimates"]
    assert "count above 1e-5" not in site["estimates"]


def test_what_a_person_sees_fits_80_columns(rankscope, base, planted):
    ran = rankscope("rank", planted, *on_task(base))
    lines = ran.out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.split()[:2] == ["k", "score"])
    header, *rows = (line for line in lines[start : start + 8] if "─" not in line)
    assert set(header.removesuffix("rank at q").split()[2:]) == CONTROLS
    assert [line.split()[0] for line in rows] == ["0", "1", "2", "3", "4", "5"]
    assert rows[2].split()[2] == "100%"
    assert rows[2].rstrip().endswith(" .9 .95")
    assert max(len(line) for line in lines[: start + 8] if not line.endswith(":")) <= 80
    assert "functional rank 2." in ran.out
    plain, weighted = (line.split() for line in lines if len(line.split()) == 8 and line.split()[1] == "5")
    assert weighted[5] == f"{1 + 0.7**2:.1f}"
    assert plain[:2] == weighted[:2]
    assert "Weighted by the second moment of what each site reads on these items:" in lines
    assert "required rank" in ran.out
    assert "Scoring truncations: step" in ran.err
    assert "Warning" not in ran.err


def test_a_random_adapter_has_no_gain_and_rank_0(rankscope, base, planted, tmp_path):
    draw = torch.Generator().manual_seed(1)
    weights = AdapterWeights(
        {site: Factors(f.A_RI, 0.1 * torch.randn(f.B_OR.shape, generator=draw), 1.0)
         for site, f in read_adapter(planted).items()}
    )  # fmt: skip
    write_adapter(tmp_path / "random", weights, str(base))
    ran = rankscope("rank", tmp_path / "random", *on_task(base), "--json")
    found = json.loads(ran.out)["functional"]
    assert found["scores"][0]["functional"][0]["by_seed"] == [0]
    assert found["scores"][0]["over_items"] == [[None], [None]]
    assert "worse than its base" in found["conclusion"]["says"][0]
    assert "Likely reasons" in " ".join(found["conclusion"]["leaves_open"])


def test_several_trainings_are_read_as_seeds(rankscope, base, planted, tmp_path):
    twin = read_adapter(planted)
    write_adapter(
        tmp_path / "twin", AdapterWeights({s: Factors(f.A_RI, f.B_OR * 0.9, f.s) for s, f in twin.items()}), ""
    )
    ran = rankscope("rank", planted, tmp_path / "twin", *on_task(base))
    assert "2 adapters of nominal rank 5 keep 90% of their own gains with the 2 and 2 largest" in ran.out
    assert "Fewer than 5 trainings" in ran.out
    assert ran.out.count("\nWeighted: Nominal rank 5; mean over 1 sites: energy .90") == 2
    assert max(map(len, ran.out.split("By -KL")[0].splitlines())) <= 80 + len(str(tmp_path))


def test_a_trained_skill_from_a_file(rankscope, base, constant_answer, tmp_path):
    """From training to functional rank: exact output and log-probability stand side by side."""
    trained = ("train", "--base", base, "--task", constant_answer, "--rank", 3, "--items", 480, "--batch", 16)
    ran = rankscope(*trained, "--lr", "2e-2", "--out", tmp_path, "--json")
    assert ran.code == 0, ran.err
    facts = json.loads(ran.out)
    ran = rankscope("rank", facts["weights"], *on_task(base, constant_answer), "--json")
    found = json.loads(ran.out)["functional"]
    exact, nats = found["scores"]
    assert (exact["score"], nats["score"]) == ("exact_output", "nats")
    assert exact["n_items"] == facts["n_test_items"] < 120
    assert exact["whole"][0] == pytest.approx(facts["scores"]["exact_output"]["trained"]["share"])
    for score in found["scores"]:
        (ends,) = score["over_items"][0]
        assert 1 <= ends["low"] <= ends["high"] <= 3
        curve = {(p["control"], p["k"]): p["share_of_gain"] for p in score["functional"][0]["curve"]}
        assert all(curve[control, 0] == 0 for control in CONTROLS)
        assert all(curve[control, 3] == 1 for control in CONTROLS - {"noise"})
    assert "rough" in found["conclusion"]["leaves_open"][2]
    small = (facts["weights"], "--keep", 0.9, *on_task(base, constant_answer), "--out", tmp_path / "small")
    cut = json.loads(rankscope("truncate", *small, "--json").out)
    assert cut["chosen"]["score"] == "exact_output"
    assert [loss["score"] for loss in cut["measured"]["scores"]] == ["exact_output", "nats"]
    curve = {p["k"]: p["score"]["estimate"] for p in exact["functional"][0]["curve"] if p["control"] == "energy"}
    assert cut["measured"]["scores"][0]["after"] == pytest.approx(curve[cut["k"]])


def test_a_warning_when_the_adapter_names_another_base(rankscope, base, planted, tmp_path):
    write_adapter(tmp_path / "other", read_adapter(planted), "some/other-base")
    ran = rankscope("rank", tmp_path / "other", *on_task(base, n=20))
    assert ran.code == 0
    assert "names some/other-base as its base" in ran.err
