"""The paper's ways of reading and judging an answer, by hand."""

import itertools

import pytest

from rankscope.evals.paper_scores import is_exact, is_fuzzy_chain, is_fuzzy_hop, read_answer


@pytest.mark.parametrize(
    ("text", "read"),
    [(" ab3d!!!!", "ab3d"), ("\n ab", "ab"), (" AB3D", "ab3d"), ("", ""), (" ab3dxyzabcdef", "ab3d")],
)
def test_the_answer_is_the_first_characters_in_lower_case(text: str, read: str) -> None:
    assert read_answer(text, 4) == read


def test_rules_over_every_way_to_miss_characters() -> None:
    gold = "ab3d"
    for kept in itertools.product((True, False), repeat=4):
        answer = "".join(symbol if keep else "-" for symbol, keep in zip(gold, kept, strict=True))
        assert is_exact(answer, gold) is all(kept)
        assert is_fuzzy_hop(answer, gold) is (all(kept[:3]) or all(kept[1:]))
        assert is_fuzzy_chain(answer, gold) is all(kept[:3])


def test_the_offset_has_to_be_the_same() -> None:
    assert not is_fuzzy_hop("xab3", "ab3d")
    assert not is_fuzzy_hop("b3d", "ab3d")


def test_an_answer_cut_short_is_wrong_but_may_pass_the_fuzzy_rules() -> None:
    assert not is_exact("ab3", "ab3d")
    assert is_fuzzy_hop("ab3", "ab3d")
    assert is_fuzzy_chain("ab3", "ab3d")
    assert not is_fuzzy_chain("ab", "ab3d")
