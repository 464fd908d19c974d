"""`rankscope look`: all of it on an adapter with roles, on plain text, on a base of another family, and going on.

A folder with results of anything else is refused and left as it is; a full disk costs a population, not the rest.
"""

import json

import pytest
import torch
from tiny_models import tiny_opt

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.base.errors import OutOfSpace
from rankscope.base.vocabulary import SYMBOLS
from rankscope.capture.store import open_capture
from rankscope.interpret.ablation_records import ABLATION_FILE, read_ablation
from rankscope.interpret.causal import FACTORS
from rankscope.interpret.look_records import LABELS_FILE, LOOK_FILE, read_look
from rankscope.interpret.tables import read_role_scores
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.studies import look as studies_look
from rankscope.studies.look import CAUSAL_ITEMS

TASK = "hashhop:mode=trace,lines=8,chains=2,max_length=4,hops=1"


def adapter_at(folder, base, shapes, rank=1):
    draw = torch.Generator().manual_seed(0)
    factors = {
        site: Factors(torch.randn(rank, n_in, generator=draw), torch.randn(n_out, rank, generator=draw) / 20, 1.0)
        for site, (n_out, n_in) in shapes.items()
    }
    write_adapter(folder, AdapterWeights(factors), str(base))
    return folder


@pytest.fixture(scope="module")
def base(tiny_model_folder):
    return tiny_model_folder("qwen2")


@pytest.fixture
def asked(base, tmp_path):
    """A look at an adapter of one direction per site, some of them in the residual stream."""
    shapes = {
        "model.layers.0.self_attn.q_proj": (16, 16),
        "model.layers.0.mlp.up_proj": (24, 16),
        "model.layers.1.mlp.down_proj": (16, 24),
    }
    adapter = adapter_at(tmp_path / "adapter", base, shapes)
    return ("look", adapter, "--base", base, "--task", TASK, "--items", 60, "--out", tmp_path / "page")


@pytest.fixture(scope="module")
def plain_text(tmp_path_factory):
    file = tmp_path_factory.mktemp("items") / "mine.jsonl"
    rows = [{"prompt": f"{SYMBOLS[n % 40]} {SYMBOLS[n // 40]} answer", "answer": SYMBOLS[n % 7]} for n in range(400)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def test_everything_is_found_in_one_go_and_a_second_call_goes_on(rankscope, asked, tmp_path):
    ran = rankscope(*asked)
    assert ran.code == 0, ran.err
    record = read_look(tmp_path / "page" / LOOK_FILE)
    check_whole(record)
    check_role(record, tmp_path / "page" / "records")
    check_steering(rankscope, asked, record.directions[1])
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps({"adapter_hash": record.adapter_hash, "labels": {"L0.mlp.up_proj.0": "carries"}}))
    assert rankscope(*asked, "--labels", saved).code == 0
    assert rankscope(*asked).code == 0
    assert read_look(tmp_path / "page" / LOOK_FILE).directions == record.directions
    assert "carries" in (tmp_path / "page" / LABELS_FILE).read_text()
    assert "carries" in (tmp_path / "page" / "report.html").read_text()
    residual = open_capture(tmp_path / "page" / "capture" / "residual").spec
    assert (len(residual.sites), residual.n_columns) == (1, 16)  # 8 columns for each of 3 directions, in whole layers
    check_others_are_refused(rankscope, asked, tmp_path)


def check_others_are_refused(rankscope, asked, tmp_path):
    """Another adapter, other items, another screen: nothing in the folder changes."""
    folder = tmp_path / "page"
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    other = adapter_at(tmp_path / "other", asked[3], {"model.layers.1.mlp.down_proj": (16, 24)})
    saved = tmp_path / "saved.json"
    for words, said in (
        (("look", other, *asked[2:], "--labels", saved), "is a look at another adapter, and is not replaced"),
        ((*asked[:-3], 50, *asked[-2:]), "earlier ablations, which differ in items, roles of the items"),
        ((*asked, "--screen", 1), "earlier ablations, which differ in screen"),
    ):
        ran = rankscope(*words)
        assert ran.code == 2
        assert said in " ".join(ran.err.split())
        assert "Choose another folder" in " ".join(ran.err.split())
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def check_whole(record):
    """Every direction has everything that there is to find."""
    assert [one.slug for one in record.directions] == [
        "L0.self_attn.q_proj.0", "L0.mlp.up_proj.0", "L1.mlp.down_proj.0"
    ]  # fmt: skip
    assert {one.name for one in record.populations} >= {"adapter directions", "MLP hidden units", "random directions"}
    assert len(record.cards) == 2
    for one in record.directions:
        assert sum(one.bin_counts) == record.n_tokens
        assert {example.kind for example in one.examples} >= {"positive", "negative", "random", "near zero"}
        assert one.ablation is not None
        assert one.role is not None
        assert len(one.causal) == 5
    reads, _, writes = (one.lens for one in record.directions)
    assert reads is not None
    assert writes is not None
    assert reads.reads_up
    assert writes.writes_up
    example = record.directions[0].examples[0]
    at = example.position - example.start
    assert example.values[at] == pytest.approx(example.value, rel=1e-3)
    assert len(example.tokens) == len(example.surfaces) == len(example.sections)
    assert record.missing == ()


def check_role(record, folder):
    """What the token alone tells stands in the table of roles, taken within positions."""
    roles = {row["role"]: row for row in read_role_scores(folder, "adapter", "roles").iter_rows(named=True)}
    for one in record.directions:
        assert one.role.token_within == roles[one.role.role]["token_auroc_within"]
        assert one.role.position_only == roles[one.role.role]["position_auroc"]


def check_steering(rankscope, asked, direction):
    """`rankscope steer` finds on the same items what the look found."""
    steered = ("steer", *asked[1:6], "--direction", direction.slug, "--json", "--items")
    factors = [word for factor in FACTORS for word in ("--factor", factor)]
    few = json.loads(rankscope(*steered, CAUSAL_ITEMS, *factors).out)
    assert few["checks"] == json.loads(json.dumps([one.model_dump(mode="json") for one in direction.causal[:3]]))
    whole = json.loads(rankscope(*steered, 60, "--push", -2).out)
    assert whole["rms"] == pytest.approx(direction.rms, rel=1e-4)
    assert whole["sigma"] == pytest.approx(direction.sigma)
    assert [one["value"] for one in whole["checks"]] == pytest.approx([-2 * whole["rms"]])


def test_plain_text_has_no_roles_and_says_so(rankscope, base, plain_text, tmp_path):
    adapter = adapter_at(tmp_path / "adapter", base, {"model.layers.1.mlp.down_proj": (16, 24)}, rank=2)
    ran = rankscope("look", adapter, "--base", base, "--task", plain_text, "--items", 12, "--out", tmp_path / "page")
    assert ran.code == 0, ran.err
    record = read_look(tmp_path / "page" / LOOK_FILE)
    assert len(record.directions) == 2
    assert record.populations == ()
    assert any("no roles" in sentence for sentence in record.missing)
    assert all(one.ablation is not None and one.lens is not None and one.role is None for one in record.directions)


def test_a_base_that_our_decoder_does_not_run(rankscope, plain_text, tmp_path):
    tiny_opt().save_pretrained(tmp_path / "base")
    build_word_tokenizer().save_pretrained(tmp_path / "base")
    adapter = adapter_at(tmp_path / "adapter", tmp_path / "base", {"model.decoder.layers.1.fc1": (24, 16)})
    asked = ("--base", tmp_path / "base", "--task", plain_text, "--items", 8, "--out", tmp_path / "page")
    ran = rankscope("look", adapter, *asked)
    assert ran.code == 0, ran.err
    record = read_look(tmp_path / "page" / LOOK_FILE)
    assert any("No logit lens" in sentence for sentence in record.missing)
    (one,) = record.directions
    assert one.ablation is not None
    assert one.examples
    assert one.lens is None


def test_a_full_disk_costs_a_population_and_not_the_rest(rankscope, base, tmp_path, monkeypatch):
    real = studies_look.record

    def full_for_hidden_units(*given, population, **named):
        if population == "mlp":
            raise OutOfSpace("900 tokens take 9.0 GB, where 0.1 GB are free.")
        return real(*given, population=population, **named)

    monkeypatch.setattr(studies_look, "record", full_for_hidden_units)
    adapter = adapter_at(tmp_path / "adapter", base, {"model.layers.1.mlp.down_proj": (16, 24)})
    asked = ("--base", base, "--task", TASK, "--items", 30, "--screen", 1, "--out", tmp_path / "page")
    ran = rankscope("look", adapter, *asked)
    assert ran.code == 0, ran.err
    record = read_look(tmp_path / "page" / LOOK_FILE)
    assert "mlp is not among the populations: 900 tokens take 9.0 GB, where 0.1 GB are free." in record.missing
    assert {one.name for one in record.populations} >= {"adapter directions", "random directions"}
    assert record.directions[0].causal
    assert "Scoring roles of populations: step" in ran.err
    assert "--screen 1" in record.reproduce["this page"]
    assert read_ablation(tmp_path / "page" / ABLATION_FILE).subject.most_sites == 1
