import json
import shutil

import pytest
import torch
from tiny_models import FAMILIES, save_tiny

from rankscope.base.errors import BadFile, NotSupported, RankscopeError, UnknownName
from rankscope.base.vocabulary import ID
from rankscope.lm import bases
from rankscope.lm.bases import load_base


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    """A copy of the tiny GPT-2 that a test may damage."""
    return shutil.copytree(tiny_model_folder("gpt2"), tmp_path / "base")


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_is_ready_to_use(family, tiny_model_folder):
    base = load_base(str(tiny_model_folder(family)))
    assert (base.n_positions, base.stop_id, base.pad_id) == (64, ID["<stop>"], ID["<pad>"])
    assert not base.model.training
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.float32}
    assert base.model.config._attn_implementation == "sdpa"
    assert base.tokenizer("Map: a2 b2")["input_ids"] == [ID["Map:"], ID["a2"], ID["b2"]]


def test_dropout_is_off_even_in_training_mode(folder):
    edit_json(folder / "config.json", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    model = load_base(str(folder)).model.train()
    tokens = torch.arange(1, 9)[None]
    assert torch.equal(model(tokens).logits, model(tokens).logits)


def test_content_hash_follows_content_not_name(folder, tiny_model_folder, tmp_path):
    first = load_base(str(tiny_model_folder("gpt2"))).content_hash
    assert load_base(str(folder)).content_hash == first
    edit_json(folder / "config.json", layer_norm_epsilon=1e-3)
    assert load_base(str(folder)).content_hash != first
    assert load_base(str(save_tiny("gpt2", tmp_path / "other", seed=1))).content_hash != first
    assert (
        load_base(str(tiny_model_folder("llama"))).content_hash
        != load_base(str(tiny_model_folder("mistral"))).content_hash
    )


def test_padding_falls_back_to_stop_and_stop_to_the_config(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["pad_token"], settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    base = load_base(str(folder))
    assert base.pad_id == base.stop_id == ID["<stop>"]
    edit_json(folder / "config.json", eos_token_id=None)
    with pytest.raises(BadFile, match="eos_token"):
        load_base(str(folder))


def test_shipped_names_come_first_and_near_matches_are_listed(monkeypatch, tmp_path):
    monkeypatch.setattr(bases, "SHIPPED", tmp_path)
    save_tiny("gpt2", tmp_path / "tiny-gpt2")
    assert bases.shipped_bases() == ["tiny-gpt2"]
    assert load_base("tiny-gpt2").name == "tiny-gpt2"
    for name in ("tiny-gtp2", "nobody/tiny-gpt2", "no/such/folder"):
        with pytest.raises(UnknownName, match="tiny-gpt2"):
            load_base(name)


def _truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])


DAMAGES = {
    "truncated weights": (_truncate, BadFile, "not a whole safetensors file"),
    "pickle only": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), NotSupported, "pickle"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), BadFile, "no \\*.safetensors"),
    "no config": (lambda f: (f / "config.json").unlink(), BadFile, "no config.json"),
    "config cut": (lambda f: (f / "config.json").write_text('{"model_ty'), BadFile, "not valid JSON"),
    "config unknown": (lambda f: edit_json(f / "config.json", model_type="zork"), BadFile, "known model"),
    "own code": (lambda f: edit_json(f / "config.json", auto_map={"AutoConfig": "a.B"}), NotSupported, "auto_map"),
    "other width": (lambda f: edit_json(f / "config.json", n_embd=32), BadFile, "shapes"),
    "missing layer": (lambda f: edit_json(f / "config.json", n_layer=3), BadFile, "lacks 12 of its weights"),
    "no tokenizer": (lambda f: [p.unlink() for p in f.glob("tokenizer*")], BadFile, "tokenizer"),
    "tokenizer cut": (lambda f: (f / "tokenizer.json").write_text("{"), BadFile, "not valid JSON"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders_are_refused_in_one_sentence(damage, folder):
    harm, error, words = DAMAGES[damage]
    harm(folder)
    with pytest.raises(error, match=words) as caught:
        load_base(str(folder))
    assert isinstance(caught.value, RankscopeError)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)


def test_weights_without_a_place_are_announced(folder):
    edit_json(folder / "config.json", n_layer=1)
    with pytest.warns(UserWarning, match="no place"):
        load_base(str(folder))


def test_an_adapter_is_not_a_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadFile, match="adapter, not a base"):
        load_base(str(tmp_path))


def test_an_adapter_beside_the_weights_is_refused_not_injected(folder):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(BadFile, match="adapter, not a base"):
        load_base(str(folder))


def test_a_hub_name_of_an_adapter_is_refused(monkeypatch):
    monkeypatch.setattr(bases, "find_adapter_config_file", lambda name: f"cache/{name}/adapter_config.json")
    with pytest.raises(BadFile, match="some/adapter holds an adapter, not a base"):
        load_base("some/adapter")


def test_full_memory_is_not_taken_for_other_shapes(folder, monkeypatch):
    def fill(*_args, **_options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 400 bytes.")

    monkeypatch.setattr(bases.AutoModelForCausalLM, "from_pretrained", fill)
    with pytest.raises(RuntimeError, match="allocate memory"):
        load_base(str(folder))
