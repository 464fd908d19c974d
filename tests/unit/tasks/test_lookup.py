"""One-hop lookup: what the tiny bases learn."""

import numpy as np
import pytest

from rankscope.base.vocabulary import ID
from rankscope.tasks.lookup import draw_lookups


@pytest.mark.parametrize("lines", [4, 6, 8, 10, 12, 14])
def test_every_lookup_is_a_line_of_its_map_from_a_node_with_one_way_on(lines: int) -> None:
    batch = draw_lookups(lines, 30, 5, "here", 0)
    assert batch.tokens_NT.shape == (30, 2 * lines + 2 + 10)
    for tokens, asked in zip(batch.tokens_NT, batch.asked_NT, strict=True):
        assert (tokens[0], tokens[1 + 2 * lines]) == (ID["Map:"], ID["Look:"])
        keys, values = tokens[1 : 1 + 2 * lines : 2].tolist(), tokens[2 : 2 + 2 * lines : 2].tolist()
        assert np.flatnonzero(asked).tolist() == list(range(2 * lines + 3, len(tokens), 2))
        for at in np.flatnonzero(asked):
            assert keys.count(tokens[at - 1]) == 1
            assert values[keys.index(tokens[at - 1])] == tokens[at]


def test_batches_follow_their_stream() -> None:
    one, same, other = (draw_lookups(6, 8, 2, "s", step).tokens_NT for step in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()
