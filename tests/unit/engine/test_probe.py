"""The precision probe: what it chooses follows from what it timed, and is remembered per machine."""

import json

import torch
from tiny_models import tiny_model

from rankscope.base.precision import PrecisionPlan
from rankscope.engine import probe as probing
from rankscope.engine.probe import Shape, cached_probe, probe
from rankscope.lm.read_decoder import read_decoder

CPU = torch.device("cpu")


def test_shapes_come_from_the_decoder():
    assert Shape.of(read_decoder(tiny_model("llama")), 3, 9) == Shape(3, 9, 4, 16, 24)
    assert Shape.of(read_decoder(tiny_model("gpt2")), 3, 9) == Shape(3, 9, 2, 16, 64)


def test_the_fastest_of_each_kind_is_taken(monkeypatch):
    times = {
        "products": {torch.float32: 4.0, torch.bfloat16: 1.0},
        "pointwise": {torch.float32: 1.0, torch.bfloat16: 2.0},
        "attention": {(torch.float32, "sdpa"): 3.0, (torch.float32, "matmul"): 2.0, (torch.bfloat16, "sdpa"): 5.0},
    }
    monkeypatch.setattr(probing, "_products_seconds", lambda shape, dtype, device: times["products"][dtype])
    monkeypatch.setattr(probing, "_pointwise_seconds", lambda shape, coming, dtype, device: times["pointwise"][dtype])
    monkeypatch.setattr(
        probing,
        "_attention_seconds",
        lambda shape, coming, dtype, kernel, device: times["attention"].get((dtype, kernel), 9.0),
    )
    found = probe(Shape(2, 5, 2, 8, 32), CPU)
    assert found.plan == PrecisionPlan("bf16", "fp32", "fp32", "matmul")
    assert found.seconds["attention bf16 matmul"] == 9.0
    times["products"][torch.bfloat16] = 3.7
    times["attention"][torch.float32, "matmul"] = 2.8
    assert probe(Shape(2, 5, 2, 8, 32), CPU).plan == PrecisionPlan()


def test_a_machine_is_probed_once(tmp_path, monkeypatch):
    shape = Shape(2, 5, 2, 8, 32)
    found = cached_probe(shape, CPU, tmp_path)
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert len(found.seconds) == 8
    monkeypatch.setattr(probing, "probe", None)
    assert cached_probe(shape, CPU, tmp_path) == found
    (tmp_path / "precision.json").write_text(json.dumps({"old": {"plan": {"everything": "fp8"}}}))
    monkeypatch.setattr(probing, "probe", probe)
    assert cached_probe(shape, CPU, tmp_path).seconds.keys() == found.seconds.keys()
