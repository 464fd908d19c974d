"""`rankscope steer`: what a person sees, and refusals."""

import pytest
import torch
from tiny_models import tiny_opt

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.lm.word_tokenizer import build_word_tokenizer

TASK = "hashhop:mode=trace,lines=8,chains=2,max_length=4,hops=1"
SITE, OPT_SITE = "model.layers.0.mlp.up_proj", "model.decoder.layers.1.fc1"


def adapter_at(folder, base, site, strengths):
    """An update whose directions are unit vectors, with these singular values."""
    write_adapter(
        folder,
        AdapterWeights({site: Factors(torch.eye(len(strengths), 16), torch.eye(24, len(strengths)) * strengths, 1.0)}),
        str(base),
    )
    return folder


@pytest.fixture(scope="module")
def base(tiny_model_folder):
    return tiny_model_folder("qwen2")


def test_a_person_sees_scores_and_texts_in_80_columns(rankscope, base, tmp_path):
    adapter = adapter_at(tmp_path / "adapter", base, SITE, torch.tensor([2.0, 1.0]))
    asked = ("--base", base, "--task", TASK, "--items", 10, "--direction", "L0.mlp.up_proj.1")
    ran = rankscope("steer", adapter, *asked, "--factor", 0, "--factor", 1, "--push", 500, "--push", -2.5)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.split()[:2] == ["exact", "output"])
    rows = lines[start + 2 : start + 6]
    assert max(map(len, lines[start : start + 6])) <= 80
    assert [row[:12].strip() for row in rows] == ["switched off", "times 1", "+500 rms", "−2.5 rms"]
    assert rows[1].split()[-3:] == ["0", "0", "0"]
    assert int(rows[2].split()[-3]) > 0
    assert "Singular value 1.00" in ran.out
    before, after = (lines[lines.index("+500 rms, item 0") + n] for n in (1, 2))
    assert before.startswith("before: ")
    assert before.removeprefix("before: ") != after.removeprefix("after:  ")
    assert "Times 1, item" not in ran.out


def test_refusals(rankscope, base, tmp_path):
    adapter = adapter_at(tmp_path / "adapter", base, SITE, torch.tensor([2.0, 1.98, 1.0]))
    asked = ("steer", adapter, "--base", base, "--task", TASK, "--items", 4)
    gone = rankscope(*asked, "--direction", "L0.mlp.up_proj.0")
    assert gone.code == 2
    assert "no direction 'L0.mlp.up_proj.0'; it has 2. Near matches: L0.mlp.up_proj." in gone.err
    several = rankscope(*asked, "--direction", "L0.mlp.up_proj.0-1")
    assert several.code == 2
    assert "too close to tell them apart" in several.err
    assert rankscope(*asked, "--direction", "L0.mlp.up_proj.2", "--push", "nan").code == 2
    tiny_opt().save_pretrained(tmp_path / "opt")
    build_word_tokenizer().save_pretrained(tmp_path / "opt")
    other = adapter_at(tmp_path / "other", tmp_path / "opt", OPT_SITE, torch.tensor([1.0]))
    ran = rankscope("steer", other, "--base", tmp_path / "opt", "--task", TASK, "--items", 4, "--direction", "L1.fc1.0")
    assert ran.code == 2
    assert "our decoder, which does not run" in ran.err


def test_an_adapter_that_was_never_trained_is_one_sentence(rankscope, base, tmp_path):
    untrained = adapter_at(tmp_path / "untrained", base, SITE, torch.zeros(2))
    on_task = (untrained, "--base", base, "--task", TASK, "--items", 4)
    for command, more in (
        ("steer", ("--direction", "L0.mlp.up_proj.0")),
        ("capture", ("--out", tmp_path / "state")),
        ("look", ("--out", tmp_path / "page")),
    ):
        ran = rankscope(command, *on_task, *more)
        assert ran.code == 2
        assert "The adapter changes nothing: every singular value is 0" in " ".join(ran.err.split())
        assert "Traceback" not in ran.err
