"""A capture of many tokens is read in bounded memory, item by item, and damage is named."""

import tracemalloc

import numpy as np
import pytest

from rankscope.base.errors import BadFile
from rankscope.capture.recorder import passes
from rankscope.capture.store import (
    KIND,
    CaptureSpec,
    SiteColumns,
    open_capture,
    read_view,
    shard_plan,
    write_shard,
    write_view,
)
from rankscope.capture.tokens import Tokens
from rankscope.capture.views import plain_view
from rankscope.runs.folder import RunFolder

D, N_TOKENS, N_SHARDS = 448, 12000, 3


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Three shards of 448 columns, items of 50 tokens: 64 MB."""
    folder = tmp_path_factory.mktemp("large") / "capture"
    spec = CaptureSpec(
        population="mlp",
        adapter_hash="",
        base="",
        base_hash="",
        task="",
        split="test",
        items_hash="",
        n_items=N_TOKENS * N_SHARDS // 50,
        n_tokens=N_TOKENS * N_SHARDS,
        sites=(SiteColumns(site="map", n_columns=D, units=tuple(range(D))),),
    )
    with RunFolder.open(folder, spec.model_dump(mode="json"), KIND) as run:
        write_view(folder, plain_view([("map", range(D))]))
        at_M = np.arange(N_TOKENS)
        none_M = np.zeros(N_TOKENS, dtype=np.uint32)
        for number in range(N_SHARDS):
            item_M = (at_M // 50 + number * N_TOKENS // 50).astype(np.int32)
            tokens = Tokens(
                at_M.astype(np.int32),
                item_M,
                (at_M % 50).astype(np.int32),
                none_M.astype(np.uint8),
                none_M,
                none_M,
                none_M.astype(np.uint8),
            )
            state_MD = np.broadcast_to(item_M[:, None], (N_TOKENS, D)).astype(np.float32)
            write_shard(folder, number, state_MD, tokens)
        run.finish()
    return folder


def test_reading_takes_memory_for_a_few_blocks_whatever_the_tokens(large):
    state = open_capture(large)
    assert state.spec.size_bytes == N_TOKENS * N_SHARDS * (448 * 4 + 22)
    n_read = 0
    tracemalloc.start()
    for block in state.iter_shown(block_tokens=1000):
        assert len(block.tokens) == 1000
        assert (block.values_MF == block.tokens.item[:, None]).all()
        n_read += len(block.tokens)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_read == N_TOKENS * N_SHARDS
    assert peak < 6 * 1000 * D * 4 + 2**21  # the map of the view is 448 x 448


def test_no_item_is_split_between_blocks(large):
    for block in open_capture(large).iter_raw(block_tokens=120):
        assert len(block.tokens) == 100
        assert len(block.tokens.item_starts) == 2


def test_damage_is_named(large, tmp_path):
    (large / "shards" / "00001" / "tags.npy").rename(tmp_path / "tags.npy")
    with pytest.raises(BadFile, match="00001 is damaged"):
        list(open_capture(large).iter_raw())
    (tmp_path / "tags.npy").rename(large / "shards" / "00001" / "tags.npy")
    with pytest.raises(BadFile, match=r"view\.npz is missing or damaged"):
        read_view(tmp_path)


def test_plans_keep_items_whole_and_fill_what_fits():
    assert shard_plan(np.array([4, 4, 3, 20, 1, 1]), 10) == [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 6)]
    rows = [rows.tolist() for rows in passes(np.array([5, 2, 9, 2, 30]), pass_tokens=10)]
    assert rows == [[1, 3], [0], [2], [4]]
