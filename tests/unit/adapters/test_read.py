import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from rankscope.adapters import read
from rankscope.adapters.read import read_adapter, read_adapter_info
from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.adapters.write import write_adapter
from rankscope.base.errors import BadFile, BadInput, NotSupported, UnknownName

SITES = ("model.layers.0.mlp.down_proj", "model.layers.2.mlp.down_proj", "model.layers.10.mlp.down_proj")


def some_weights(ranks=(2, 1, 3), scales=(2.0, 2.0, 0.7), dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    return AdapterWeights(
        {
            site: Factors(
                torch.randn(rank, 5, generator=draw).to(dtype), torch.randn(4, rank, generator=draw).to(dtype), s
            )
            for site, rank, s in zip(SITES, ranks, scales, strict=True)
        }
    )


@pytest.fixture
def folder(tmp_path):
    write_adapter(tmp_path / "adapter", some_weights(), "some/base")
    return tmp_path / "adapter"


def edit(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def assert_same(left, right):
    assert list(left) == list(right)
    for site in left:
        assert torch.equal(left[site].A_RI, right[site].A_RI)
        assert torch.equal(left[site].B_OR, right[site].B_OR)
        assert left[site].s == right[site].s
        assert left[site].A_RI.dtype == right[site].A_RI.dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_read_undoes_write_bit_for_bit(tmp_path, dtype):
    weights = some_weights(dtype=dtype)
    write_adapter(tmp_path, weights, "some/base")
    assert_same(read_adapter(tmp_path), weights)


@pytest.mark.parametrize(("rank", "scale"), [(5, 16 / 5**0.5), (7, 16 / 7**0.5), (3, 0.1 / 3), (6, 1.3 / 6)])
def test_scales_of_lora_and_rslora_come_back_exactly(tmp_path, rank, scale):
    weights = some_weights(ranks=(rank,) * 3, scales=(scale,) * 3)
    write_adapter(tmp_path, weights, "some/base")
    assert [factors.s for factors in read_adapter(tmp_path).values()] == [scale] * 3


def test_an_edited_alpha_overrules_the_exact_scale(folder):
    edit(folder, alpha_pattern={"layers.10.mlp.down_proj": 6})
    assert read_adapter(folder)[SITES[2]].s == 2.0


def test_sites_of_rank_0_are_left_out(tmp_path):
    write_adapter(tmp_path, some_weights(ranks=(2, 0, 3)), "some/base")
    assert list(read_adapter(tmp_path)) == [SITES[0], SITES[2]]
    with pytest.raises(BadInput, match="empty"):
        write_adapter(tmp_path, some_weights(ranks=(0, 0, 0)), "some/base")


def test_info_says_what_the_config_says(folder):
    edit(folder, use_rslora=True)
    info = read_adapter_info(folder)
    assert (info.base_name, info.use_rslora, info.init) == ("some/base", True, "default")
    factors = read_adapter(folder)[SITES[0]]
    assert factors.s == pytest.approx(2.0 * 2 / 2**0.5)


def test_the_bases_revision_and_orientation_are_kept(tmp_path):
    for fan_in_fan_out in (True, False):
        write_adapter(tmp_path, some_weights(), None, fan_in_fan_out, revision="abc")
        info = read_adapter_info(tmp_path)
        assert (info.base_name, info.revision, info.fan_in_fan_out) == (None, "abc", fan_in_fan_out)
    edit(tmp_path, fan_in_fan_out=None)
    assert read_adapter_info(tmp_path).fan_in_fan_out is None


def test_patterns_match_as_in_peft(folder):
    ranks = {r"layers\.0\.mlp\.down_proj": 2, "2.mlp.down_proj": 1, "down_proj": 3}
    alphas = {"proj": 99, "^model.layers.10.mlp.down_proj": 9}
    edit(folder, r=9, rank_pattern=ranks, lora_alpha=6, alpha_pattern=alphas)
    assert [factors.s for factors in read_adapter(folder).values()] == [3.0, 6.0, 3.0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"init_lora_weights": "pissa_niter_16"}, "pissa"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"init_lora_weights": "corda"}, "corda"),
        ({"init_lora_weights": "loftq"}, "loftq"),
        ({"init_lora_weights": "lora_ga"}, "lora_ga"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"peft_type": "ADALORA"}, "ADALORA"),
        ({"target_parameters": ["experts.w1"]}, "target_parameters"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
        ({"use_shiny_new_thing": True}, "use_shiny_new_thing"),
    ],
)
def test_other_kinds_are_refused_in_one_sentence(folder, changes, words):
    edit(folder, **changes)
    with pytest.raises(NotSupported, match=words) as caught:
        read_adapter(folder)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("init", ["gaussian", "eva", "orthogonal", "mica", True, False])
def test_inits_that_leave_the_base_alone_are_read(folder, init):
    edit(folder, init_lora_weights=init)
    assert_same(read_adapter(folder), some_weights())


KEY = "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight"
TENSOR_DAMAGES = {
    "A without B": (lambda t: t.pop(KEY), BadFile, "lacks lora_B"),
    "mismatched ranks": (lambda t: t.update({KEY: torch.ones(4, 3)}), BadFile, "rank 2"),
    "not finite": (lambda t: t.update({KEY: torch.full((4, 2), float("nan"))}), BadFile, "finite"),
    "embedding": (lambda t: t.update({"base_model.model.wte.lora_embedding_A": torch.ones(1)}), NotSupported, "embedd"),
    "bias": (lambda t: t.update({"base_model.model.h.bias": torch.ones(1)}), NotSupported, "neither"),
    "convolution": (lambda t: t.update({KEY: torch.ones(4, 2, 1, 1)}), NotSupported, "no linear map"),
    "empty": (lambda t: t.clear(), BadFile, "no LoRA factors"),
}


@pytest.mark.parametrize("damage", TENSOR_DAMAGES)
def test_damaged_tensors_are_refused(folder, damage):
    change, error, words = TENSOR_DAMAGES[damage]
    edit_tensors(folder, change)
    with pytest.raises(error, match=words):
        read_adapter(folder)


def test_damaged_folders_are_refused(folder, tmp_path):
    path = folder / "adapter_model.safetensors"
    with pytest.raises(UnknownName, match="No adapter folder"):
        read_adapter(tmp_path / "nowhere")
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(BadFile, match="whole safetensors"):
        read_adapter(folder)
    path.rename(folder / "adapter_model.bin")
    with pytest.raises(NotSupported, match="pickle"):
        read_adapter(folder)
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(BadFile, match="no adapter_model.safetensors"):
        read_adapter(folder)
    edit(folder, rank_pattern={"(": 2})
    with pytest.raises(BadFile, match="regular expression"):
        read_adapter(folder)
    edit(folder, rank_pattern={}, r=0)
    with pytest.raises(BadFile, match="above 0"):
        read_adapter(folder)
    (folder / "adapter_config.json").write_text("[")
    with pytest.raises(BadFile, match="valid JSON"):
        read_adapter(folder)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(BadFile, match="no adapter_config.json"):
        read_adapter(folder)


def test_a_setting_is_either_refused_or_read_or_without_effect(folder):
    kinds = (set(read._REFUSED), read._READ, read._WITHOUT_EFFECT_ON_DELTA)
    assert len(set().union(*kinds)) == sum(map(len, kinds))
    edit(folder, alora_invocation_tokens=[5, 6])
    with pytest.raises(NotSupported, match="acts from its invocation tokens on only"):
        read_adapter(folder)
