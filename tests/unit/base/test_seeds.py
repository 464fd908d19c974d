"""Named random streams."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rankscope.base.seeds import Seeds, numpy_stream, stream_seed, torch_stream

NAMES = st.lists(st.text(max_size=4) | st.integers(-99, 99), max_size=4)


def test_a_seed_is_the_first_63_bits_of_the_names_hash() -> None:
    """By `printf 5:twins5:train1:01:0 | sha256sum`."""
    assert stream_seed("twins", "train", 0, 0) == 825170945030275200


@given(one=NAMES, other=NAMES)
def test_seeds_agree_only_where_every_part_of_the_name_does(one: list[str | int], other: list[str | int]) -> None:
    same = list(map(str, one)) == list(map(str, other))
    assert (stream_seed(*one) == stream_seed(*other)) is same
    assert 0 <= stream_seed(*one) < 2**63


def test_streams_follow_their_name_and_no_global_state() -> None:
    first = numpy_stream("a", 1).random(3).tolist(), torch.rand(3, generator=torch_stream("a", 1)).tolist()
    torch.manual_seed(5)
    again = numpy_stream("a", 1).random(3).tolist(), torch.rand(3, generator=torch_stream("a", 1)).tolist()
    assert first == again
    assert numpy_stream("a", 2).random(3).tolist() != first[0]


def test_a_study_seed_sets_every_stream() -> None:
    assert set(Seeds.all(7).model_dump().values()) == {7}
