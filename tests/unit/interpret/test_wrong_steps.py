"""Items with a wrong step are found by their roles, or by their group, and left out of exact output."""

import json

import numpy as np
import pytest
import torch

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.interpret.ablation import ablation
from rankscope.interpret.ablation_run import Asked
from rankscope.interpret.wrong_steps import WrongSteps, wrong_steps
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.report.ablation_words import answer, wrong_steps_sentence
from rankscope.tasks.catalog import load_role_items, load_task
from rankscope.tasks.export import export_items
from tests.tiny_models import tiny_model

TASK = "reasoning:skill=copy,length=3,wrong=0.5"


@pytest.mark.parametrize("kind", ["with roles", "without roles", "from a file"])
def test_exact_output_is_taken_over_the_other_items(kind, tmp_path):
    task = TASK
    if kind == "from a file":
        task = str(tmp_path / "items.jsonl")
        export_items(load_task(TASK), 60, 0, tmp_path / "items.jsonl")
    items, roles = load_role_items(task, "train", 20, 0, build_word_tokenizer())
    wait_N = (items.tokens_NT == build_word_tokenizer()("wait", add_special_tokens=False)["input_ids"][0]).any(1)
    exact_SN = np.stack([~wait_N, ~wait_N & (np.arange(20) % 2 == 0)])
    found = wrong_steps(exact_SN, items, None if kind == "without roles" else roles)
    assert 0 < wait_N.sum() < 20
    assert found == WrongSteps(n=wait_N.sum(), n_items=20, exact_elsewhere=exact_SN[:, ~wait_N].mean())


def test_nothing_is_said_of_items_without_wrong_steps():
    tokenizer = build_word_tokenizer()
    for task in (TASK.replace("0.5", "0"), "hashhop:mode=trace,lines=8,chains=2,max_length=4,hops=1"):
        items, roles = load_role_items(task, "test", 10, 0, tokenizer)
        assert wrong_steps(np.ones((1, 10)), items, roles) is None
    assert wrong_steps_sentence(None) == ()
    items, roles = load_role_items(TASK.replace("0.5", "1"), "test", 4, 0, tokenizer)
    found = wrong_steps(np.zeros((1, 4)), items, roles)
    assert wrong_steps_sentence(found) == (
        "4 of 4 items hold a wrong step that can not be foreseen, so exact output is out of reach.",
    )


def test_ablations_say_it_in_a_sentence():
    items, roles = load_role_items(TASK, "test", 12, 0, build_word_tokenizer())
    site = "model.layers.1.mlp.down_proj"
    full = AdapterWeights({site: Factors(torch.ones(1, 24), torch.ones(16, 1) / 20, 1.0)})
    reading = ablation(tiny_model("qwen2"), [full], items, roles, Asked())
    n = int(items.groups["corrected"].sum())
    assert reading.wrong_steps == WrongSteps(n=n, n_items=12, exact_elsewhere=reading.whole)
    told = f"{n} of 12 items hold a wrong step that can not be foreseen; exact output on the others: 0.0 % with the"
    assert answer(reading)[1].startswith(told)
    assert json.loads(reading.model_dump_json())["wrong_steps"]["n"] == n
