import json

import pytest
import torch
from tiny_models import tiny_model

from rankscope.adapters.dense import read_dense, with_parameters, write_dense
from rankscope.base.errors import BadFile, BadInput

TENSORS = {"b": torch.tensor([[1.5, -0.0]]), "a": torch.tensor([3.0], dtype=torch.bfloat16)}


def test_dense_weights_come_back_bit_for_bit(tmp_path):
    write_dense(tmp_path, TENSORS, "dense")
    found = read_dense(tmp_path)
    assert found.kind == "dense"
    assert {name: (t.dtype, t.tolist()) for name, t in found.tensors.items()} == {
        name: (t.dtype, t.tolist()) for name, t in TENSORS.items()
    }
    assert torch.signbit(found.tensors["b"]).tolist() == [[False, True]]


def test_damaged_dense_weights_are_refused(tmp_path):
    with pytest.raises(BadFile, match="missing"):
        read_dense(tmp_path)
    write_dense(tmp_path, {"a": torch.tensor([float("inf")])}, "full")
    with pytest.raises(BadFile, match="finite"):
        read_dense(tmp_path)
    write_dense(tmp_path, TENSORS, "full")
    (tmp_path / "dense.json").write_text(json.dumps({"kind": "full", "parameters": ["a"]}))
    with pytest.raises(BadFile, match="do not belong together"):
        read_dense(tmp_path)
    path = tmp_path / "dense.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadFile, match="damaged"):
        read_dense(tmp_path)
    with pytest.raises(BadInput, match="no changed parameters"):
        write_dense(tmp_path, {}, "full")


def test_parameters_are_swapped_and_restored_bit_for_bit():
    model = tiny_model("gpt2")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tied = torch.zeros_like(before["lm_head.weight"])
    with with_parameters(model, {"lm_head.weight": tied}):
        assert not model.transformer.wte.weight.any()
    with pytest.raises(KeyError), with_parameters(model, {"lm_head.weight": tied}):
        raise KeyError
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_unknown_names_and_shapes_are_refused_before_any_swap():
    model = tiny_model("gpt2")
    good = {"transformer.ln_f.bias": torch.ones(16)}
    misfits = {"lnf.bias": torch.ones(16)}, {"wpe.weight": torch.ones(2)}
    for bad, words in zip(misfits, ("no parameter", "shape"), strict=True):
        bad = {f"transformer.{name}": tensor for name, tensor in bad.items()}
        with pytest.raises(BadInput, match=words), with_parameters(model, good | bad):
            pass
    assert not model.transformer.ln_f.bias.any()
