"""The cache of the frozen prefix, in memory and on the disk."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_model

from rankscope.base.errors import BadFile
from rankscope.engine.prefix import PrefixCache
from rankscope.lm.read_decoder import read_decoder

TOKENS = np.random.default_rng(0).integers(0, 200, (6, 9))


def cache(tmp_path, memory_bytes, seed=0, layer=1, tokens=TOKENS):
    return PrefixCache(read_decoder(tiny_model("llama", seed)), layer, tokens, "base|items", tmp_path, memory_bytes)


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
def test_rows_are_what_the_decoder_computes_and_are_computed_once(tmp_path, memory_bytes, monkeypatch):
    made = cache(tmp_path, memory_bytes)
    assert made.size_bytes == 6 * 9 * 16 * 4
    rows = np.array([4, 1])
    batch = torch.from_numpy(TOKENS[rows, :7])
    expected = read_decoder(tiny_model("llama")).below(batch, 1).detach()
    torch.testing.assert_close(made.residual(rows, batch), expected, atol=1e-6, rtol=1e-5)
    monkeypatch.setattr(made, "_computed", None)
    torch.testing.assert_close(made.residual(rows[:1], batch[:1]), expected[:1], atol=1e-6, rtol=1e-5)


def test_a_row_is_the_same_to_the_bit_whichever_rows_were_asked_for_with_it(tmp_path):
    tokens = np.random.default_rng(1).integers(0, 200, (70, 9))
    whole, single = (cache(tmp_path, 2**20, tokens=tokens) for _ in range(2))
    rows = np.random.default_rng(2).permutation(70)
    expected = whole.residual(rows, torch.from_numpy(tokens[rows]))
    for place, row in enumerate(rows):
        found = single.residual(rows[place : place + 1], torch.from_numpy(tokens[[row]]))
        assert torch.equal(found[0], expected[place])


def test_a_file_is_read_again_and_checked_against_the_base(tmp_path, monkeypatch):
    rows = np.arange(6)
    first = cache(tmp_path, 0).residual(rows, torch.from_numpy(TOKENS))
    again = cache(tmp_path, 0)
    monkeypatch.setattr(again, "_computed", None)
    assert torch.equal(again.residual(rows, torch.from_numpy(TOKENS)), first)
    with pytest.raises(BadFile, match="does not hold what this base computes"):
        cache(tmp_path, 0, seed=1)
    cache(tmp_path, 0, layer=2)  # a file of its own
    next(tmp_path.glob("*.filled")).write_bytes(b"12")
    with pytest.raises(BadFile, match="has 2 bytes, not 6"):
        [cache(tmp_path, 0, layer=layer) for layer in (1, 2)]
