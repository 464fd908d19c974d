"""`rankscope capture` on the tiny base, as a user runs it."""

import json

import pytest
from tiny_captures import random_adapter

from rankscope.adapters.write import write_adapter
from rankscope.capture.store import open_capture
from rankscope.lm.bases import load_base

TASK = "hashhop:mode=trace,lines=10,chains=2"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    write_adapter(folder, random_adapter(load_base("tiny-gpt2").model, 2, scale=0.05), "tiny-gpt2")
    return folder


def test_a_capture_says_what_it_holds_and_can_be_asked_for_again(rankscope, adapter, tmp_path):
    asked = ("capture", adapter, "--base", "tiny-gpt2", "--task", TASK, "--items", 40, "--out", tmp_path / "state")
    ran = rankscope(*asked)
    assert ran.code == 0, ran.err
    assert "32 scalars per token at 16 sites, float32" in ran.out
    assert "10 surfaces, 12 tags" in ran.out
    assert max(map(len, ran.out.splitlines()[:5])) <= 80
    again = rankscope(*asked, "--json")
    facts = json.loads(again.out)
    state = open_capture(tmp_path / "state")
    blocks = list(state.iter_shown())
    assert sum(len(block.tokens) for block in blocks) == facts["n_tokens"] == state.spec.n_tokens
    assert {block.values_MF.shape[1] for block in blocks} == {facts["n_shown"]}
    assert facts["size_bytes"] == facts["n_tokens"] * (32 * 4 + 22)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("--task", "hashchain:mode=trace,lines=10,chains=2"), "was started with other settings"),
        (("--split", "tests"), "--split must be one of train, validation, test"),
        (("--dtype", "bf16"), "--dtype must be one of float32, float16"),
    ],
)
def test_bad_input_is_one_sentence(rankscope, adapter, tmp_path, changed, message):
    asked = {"--base": "tiny-gpt2", "--task": TASK, "--items": 4, "--out": tmp_path / "state"}
    assert rankscope("capture", adapter, *(x for pair in asked.items() for x in pair)).code == 0
    ran = rankscope("capture", adapter, *(x for pair in (asked | dict([changed])).items() for x in pair))
    assert ran.code == 2
    assert message in " ".join(ran.err.split())
