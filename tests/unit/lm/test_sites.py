import pytest
from tiny_models import FAMILIES, tiny_model

from rankscope.base.errors import BadInput, UnknownName
from rankscope.lm.sites import is_transposed, linear_sites, resolve_sites


def test_gpt2_sites_are_conv1d_maps_with_out_first_and_no_head():
    model = tiny_model("gpt2")
    sites = linear_sites(model)
    assert sites["transformer.h.0.attn.c_attn"] == (48, 16)
    assert sites["transformer.h.1.mlp.c_proj"] == (16, 64)
    assert len(sites) == 8
    assert is_transposed(model, "transformer.h.1.mlp.c_proj")


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_gated_families_have_seven_maps_a_layer(family):
    model = tiny_model(family)
    sites = linear_sites(model)
    assert len(sites) == 14
    assert sites["model.layers.1.self_attn.k_proj"] == (8, 16)
    assert sites["model.layers.1.mlp.down_proj"] == (16, 24)
    assert not is_transposed(model, "model.layers.1.mlp.down_proj")


def test_globs_resolve_in_model_order_without_repeats():
    model = tiny_model("gpt2")
    assert resolve_sites(model, ["*.mlp.c_proj", "*.h.0.mlp.*"]) == [
        "transformer.h.0.mlp.c_fc",
        "transformer.h.0.mlp.c_proj",
        "transformer.h.1.mlp.c_proj",
    ]
    assert resolve_sites(model, ["*"]) == list(linear_sites(model))


def test_a_glob_without_matches_names_near_ones():
    with pytest.raises(UnknownName, match=r"'\*\.mlp\.cproj'.*\*\.mlp\.c_proj"):
        resolve_sites(tiny_model("gpt2"), ["*.c_attn", "*.mlp.cproj"])
    with pytest.raises(UnknownName, match="lm_head"):
        resolve_sites(tiny_model("llama"), ["lm_head"])


def test_a_placement_is_a_list():
    with pytest.raises(BadInput, match="list"):
        resolve_sites(tiny_model("gpt2"), [])
