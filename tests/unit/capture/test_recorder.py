"""What is recorded is what the adapted model computes; interrupted, it goes on; what is too large is refused."""

import json

import numpy as np
import pytest
import torch
from tiny_captures import base_of, gathered, in_peft, outputs_of, random_adapter, recorded, some_items

from rankscope.adapters.weights import AdapterWeights, Factors
from rankscope.base.errors import BadInput, OutOfSpace
from rankscope.capture import recorder, store
from rankscope.capture.recorder import record
from rankscope.capture.store import open_capture
from rankscope.capture.views import output_directions
from rankscope.lm.bases import load_base
from rankscope.runs.folder import verify_finished
from rankscope.tasks.catalog import load_role_items
from rankscope.tasks.encoded import SECTIONS

# PEFT asks transformers for an attribute under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
RANK = 3


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "opt"])
def test_scalars_are_those_of_peft_and_sum_to_what_the_adapter_adds(family, tmp_path):
    base = base_of(family, tmp_path / "base")
    weights, items = random_adapter(base.model, RANK), some_items()
    state = record(base, weights, items, None, tmp_path / "capture")
    tokens, raw_MD = recorded(state)
    _, shown_MF = gathered(state.iter_shown(block_tokens=20))
    sites = [site.site for site in state.spec.sites]
    assert sites == [site for site in weights if site in sites]
    assert len(sites) == len(weights)
    assert not any(direction.is_subspace for direction in state.view.directions)
    with in_peft(base, weights, tmp_path / "adapter", family) as model:
        layers = {site: model.base_model.model.get_submodule(site) for site in sites}
        modules = {}
        for site, layer in layers.items():
            modules |= {f"{site} A": layer.lora_A["default"], f"{site} base": layer.base_layer, site: layer}
        found = outputs_of(model, modules, items)
    for place, site in enumerate(sites):
        columns = slice(RANK * place, RANK * (place + 1))
        np.testing.assert_allclose(raw_MD[:, columns], found[f"{site} A"].numpy(), rtol=0, atol=2e-5)
        added = (found[site] - found[f"{site} base"]).numpy()
        ours = shown_MF[:, columns] @ output_directions(weights[site]).numpy().T
        np.testing.assert_allclose(ours, added, rtol=0, atol=2e-5)
    lengths = items.n_tokens_N
    assert tokens.item.tolist() == np.repeat(items.item_ids_N, lengths).tolist()
    assert tokens.position.tolist() == np.concatenate([np.arange(length) for length in lengths]).tolist()
    assert tokens.token_ids.tolist() == [i for row, n in enumerate(lengths) for i in items.tokens_NT[row, :n]]


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "opt"])
def test_hidden_units_are_what_the_last_map_reads(family, tmp_path):
    base, items = base_of(family, tmp_path / "base"), some_items()
    weights = random_adapter(base.model, 1)
    units = record(base, weights, items, None, tmp_path / "units", population="mlp")
    stream = record(base, weights, items, None, tmp_path / "stream", population="residual", n_columns=1)
    drawn = record(base, weights, items, None, tmp_path / "random", population="random")
    assert units.spec.n_columns == drawn.spec.n_columns == len(weights)
    assert stream.spec.n_columns == 16
    _, stream_MD = recorded(stream)
    _, units_MD = recorded(units)
    inputs = {}
    with in_peft(base, weights, tmp_path / "adapter", family) as model, torch.no_grad():
        for row, length in enumerate(items.n_tokens_N):
            handles = [
                model.base_model.model.get_submodule(site.site).register_forward_pre_hook(
                    lambda _m, x, name=site.site: inputs.setdefault(name, []).append(x[0].reshape(-1, x[0].shape[-1]))
                )
                for site in (*units.spec.sites, *stream.spec.sites)
            ]
            model(input_ids=torch.from_numpy(items.tokens_NT[row : row + 1, :length]))
            for handle in handles:
                handle.remove()
    seen = {site: torch.cat(parts).numpy() for site, parts in inputs.items()}
    expected = np.concatenate([seen[site.site][:, list(site.units)] for site in units.spec.sites], axis=1)
    np.testing.assert_allclose(units_MD, expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(stream_MD, seen[stream.spec.sites[0].site], rtol=0, atol=2e-5)
    random = recorder.random_channels(recorder.adapter_channels(base.model, weights), 0)
    assert [channel.site for channel in random] == list(weights)
    assert all(float(channel.weight_CI.norm()) == pytest.approx(1) for channel in random)


def interrupted_after(n_shards):
    heard = []

    def tell(done, total):
        heard.append(done)
        if len(heard) == n_shards:
            raise KeyboardInterrupt

    return tell


def test_an_interrupted_recording_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "MOST_SHARD_TOKENS", 30)
    base, items = base_of("gpt2", tmp_path / "base"), some_items(12)
    weights = random_adapter(base.model, 2)
    whole = record(base, weights, items, None, tmp_path / "whole")
    assert whole.n_shards >= 4
    with pytest.raises(KeyboardInterrupt):
        record(base, weights, items, None, tmp_path / "half", tell=interrupted_after(2))
    left = tmp_path / "half" / "shards" / ".00002.999.tmp"
    left.mkdir()
    (left / "state.npy").write_bytes(b"half")
    with pytest.raises(BadInput, match="was interrupted while recording"):
        open_capture(tmp_path / "half")
    kept = tmp_path / "half" / "shards" / "00001" / "state.npy"
    written = kept.stat().st_mtime_ns
    half = record(base, weights, items, None, tmp_path / "half")
    assert kept.stat().st_mtime_ns == written
    done = [json.loads((state.path / "done.json").read_text())["files"] for state in (whole, half)]
    shards = [{name: fact for name, fact in files.items() if name.startswith("shards")} for files in done]
    assert shards[0] == shards[1]
    assert len(shards[0]) == 8 * whole.n_shards
    verify_finished(half.path)
    with pytest.raises(BadInput, match="`adapter_hash` is"):
        record(base, random_adapter(base.model, 2, seed=1), items, None, tmp_path / "half")
    with pytest.raises(BadInput, match="`items_hash` is"):
        record(base, weights, some_items(11), None, tmp_path / "half")


def test_what_float16_can_not_hold_is_refused_and_what_it_can_is_half_as_large(tmp_path):
    base, items = base_of("gpt2", tmp_path / "base"), some_items()
    weights = random_adapter(base.model, 2)
    exact, half = (record(base, weights, items, None, tmp_path / name, dtype=name) for name in ("float32", "float16"))
    np.testing.assert_allclose(recorded(half)[1], recorded(exact)[1], rtol=1e-3, atol=1e-6)
    assert half.spec.bytes_per_token - 22 == (exact.spec.bytes_per_token - 22) / 2 == 2 * len(weights) * 2
    state_bytes = sum(path.stat().st_size for path in exact.path.rglob("*.npy"))
    assert 0 <= state_bytes - exact.spec.size_bytes <= 4096 * exact.n_shards
    large = AdapterWeights({site: Factors(1e7 * f.A_RI, f.B_OR / 1e7, f.s) for site, f in weights.items()})
    with pytest.raises(BadInput, match="too large for float16"):
        record(base, large, items, None, tmp_path / "large", dtype="float16")
    site = "transformer.h.0.mlp.c_fc"
    broken = AdapterWeights({site: Factors(torch.full((1, 16), 3e38), torch.full((64, 1), 1e-30), 1.0)})
    with pytest.raises(BadInput, match="not finite"):
        record(base, broken, items, None, tmp_path / "broken")


def test_a_disk_without_room_is_refused_before_anything_is_recorded(tmp_path, monkeypatch):
    base, items = base_of("gpt2", tmp_path / "base"), some_items()
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutOfSpace, match="tokens x 86 bytes"):
        record(base, random_adapter(base.model, 2), items, None, tmp_path / "capture")
    assert not (tmp_path / "capture" / "shards").exists()


def test_roles_and_sections_stand_beside_every_token(tmp_path):
    base = load_base("tiny-gpt2")
    items, roles = load_role_items("hashhop:mode=trace,lines=10,chains=2", "test", 5, 0, base.tokenizer)
    state = record(base, random_adapter(base.model, 1), items, roles, tmp_path / "capture")
    tokens, _ = recorded(state)
    surfaces, tags = state.spec.surfaces, state.spec.tags
    at = 0
    for row, length in enumerate(items.n_tokens_N):
        for position in range(length):
            surface, names = roles.names(row, position)
            assert surfaces[tokens.surface[at]] == surface
            assert [tag for g, tag in enumerate(tags) if tokens.tags[at] >> g & 1] == names
            known = [bool(tokens.known[at] >> g & 1) for g in range(len(tags))]
            assert known == [position >= start for start in roles.known_from_NG[row]]
            assert (SECTIONS[tokens.section[at]] == "prompt") == (position < items.n_prompt_N[row])
            at += 1
    assert at == len(tokens)
