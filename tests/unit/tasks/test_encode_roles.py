"""Roles on the tokens of any tokenizer: by hand, against the words they come from, and through a file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from subwords import subword_tokenizer
from transformers import PreTrainedTokenizerFast

from rankscope.base.errors import BadFile, BadInput
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.catalog import load_items, load_role_items, load_task
from rankscope.tasks.encoded import SECTIONS
from rankscope.tasks.export import export_items
from rankscope.tasks.jsonl import split_of
from rankscope.tasks.roles import RoleTable, concatenate_roles

N = 40
NAMES = ["hashhop:mode=trace", "hashchain:mode=matched", "hashhop", "planted:k=2", "relabel"]
LINE = {"prompt": "2 + 3 =", "trace": "so 5", "answer": "5"}


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return build_word_tokenizer()


@pytest.fixture(scope="module")
def subwords() -> PreTrainedTokenizerFast:
    return subword_tokenizer()


def named(roles: RoleTable, row: int, token: int) -> tuple[str, frozenset[str]]:
    surface, tags = roles.names(row, token)
    return surface, frozenset(tags)


@pytest.mark.parametrize("name", NAMES)
def test_word_level_roles_are_the_generators_own(name: str, words: PreTrainedTokenizerFast) -> None:
    items, roles = load_role_items(name, "test", N, 1, words)
    own = load_task(name).items("test", N, 1).roles
    assert items.content_hash == load_items(name, "test", N, 1, words).content_hash
    assert roles.surface_NT.shape == items.tokens_NT.shape
    width = items.tokens_NT.shape[1]
    assert (roles.tags_NT == own.tags_NT[:, :width]).all()
    assert (roles.surface_NT == own.surface_NT[:, :width]).all()
    assert (roles.known_from_NG == own.known_from_NG).all()


@pytest.mark.parametrize("name", NAMES)
def test_sub_words_take_the_roles_of_their_word(
    name: str, words: PreTrainedTokenizerFast, subwords: PreTrainedTokenizerFast
) -> None:
    by_word, word_roles = load_role_items(name, "test", N, 1, words)
    by_part, part_roles = load_role_items(name, "test", N, 1, subwords)
    assert part_roles.surface_NT.shape == by_part.tokens_NT.shape
    n_split = 0
    for row in range(N):
        n_words, n_parts = by_word.n_tokens_N[row], by_part.n_tokens_N[row]
        texts = [subwords.decode([token]).strip("\n =>") for token in by_part.tokens_NT[row, :n_parts]]
        parts = [at for at, text in enumerate(texts) if text]
        whole = [words.convert_ids_to_tokens(int(token)) for token in by_word.tokens_NT[row, :n_words]]
        at_part, spelt, first_of_word = iter(parts), "", []
        for word, text in enumerate(whole):
            spelt, begin = "", None
            while spelt != text.replace(" ", "") and (text != "<stop>" or begin is None):
                part = next(at_part)
                begin = part if begin is None else begin
                spelt += texts[part].replace(" ", "")
                assert named(part_roles, row, part) == named(word_roles, row, word)
                n_split += begin != part
            first_of_word.append(begin)
        assert next(at_part, None) is None
        for tag, known_word, known_part in zip(
            word_roles.tags, word_roles.known_from_NG[row], part_roles.known_from_NG[row], strict=True
        ):
            if known_word < n_words:
                before = first_of_word[known_word - 1] if known_word else -1
                assert before < known_part <= first_of_word[known_word], tag
            else:
                assert not part_roles.scored(tag)[row].any()
        for at in set(range(n_parts)) - set(parts):
            assert named(part_roles, row, at) == ("none", frozenset()), "a delimiter has no role"
    assert n_split > 0, "no word was split, so nothing was tested"


@pytest.mark.parametrize("which", ["words", "subwords"])
def test_roles_come_back_through_a_file(which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(which)
    name = "hashhop:mode=trace"
    export_items(load_task(name), 60, 0, tmp_path / "hops.jsonl")
    _, ours = load_role_items(name, "train", 60, 0, tokenizer)
    loaded, theirs = load_role_items(str(tmp_path / "hops.jsonl"), "train", 30, 3, tokenizer)
    assert theirs.surfaces == ("none", "mark", "key", "value", "query", "number", "step", "separator", "answer", "stop")
    assert set(theirs.tags) <= set(ours.tags)
    for row, line in enumerate(loaded.item_ids_N.tolist()):
        for token in range(loaded.n_tokens_N[row]):
            assert named(theirs, row, token) == named(ours, line, token)
        for tag in theirs.tags:
            if theirs.has(tag)[row].any():
                known = ours.known_from_NG[line, ours.tags.index(tag)]
                assert theirs.known_from_NG[row, theirs.tags.index(tag)] == known
            else:
                assert not theirs.scored(tag)[row].any()


def written(path: Path, *roles: object) -> str:
    lines = []
    for number, value in enumerate(roles):
        prompt = next(f"{n} + 3 =" for n in range(number * 1000, 10**6) if split_of(f"{n} + 3 =") == "train")
        lines.append(json.dumps(LINE | {"prompt": prompt} | ({} if value is None else {"roles": value})))
    path.write_text("\n".join(lines))
    return str(path)


def span(**changes: object) -> dict[str, object]:
    return {"start": 0, "end": 1, "surface": "number", "tags": ["odd"], "known_from": [0]} | changes


def test_roles_of_a_users_file_by_hand(tmp_path: Path, subwords: PreTrainedTokenizerFast) -> None:
    roles = [span(surface="digit"), span(start=8, end=10, surface="word", tags=["told", "odd"], known_from=[4, 0])]
    name = written(tmp_path / "sums.jsonl", roles, None)
    items, table = load_role_items(name, "train", 2, 0, subwords)
    row = items.item_ids_N.tolist().index(0)
    assert (table.surfaces, table.tags) == (("none", "digit", "word", "stop"), ("odd", "told"))
    assert named(table, row, 0) == ("digit", frozenset({"odd"}))
    trace = [named(table, row, at) for at in range(items.n_prompt_N[row], items.answer_start_N[row])]
    assert trace[0] == ("word", frozenset({"odd", "told"}))
    assert trace[-1] == ("none", frozenset())
    assert named(table, row, int(items.n_tokens_N[row]) - 1) == ("stop", frozenset())
    told_from = table.known_from_NG[row, 1]
    assert subwords.decode(items.tokens_NT[row, : told_from + 1]).strip() == "0 + 3"
    assert not table.scored("odd")[1 - row].any(), "a line without roles says nothing of them"


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ("user", "line 1: roles can not be read"),
        ([{"start": 0}], "line 1: roles .* at 0.end"),
        ([span(end=0)], "does not lie within the 14 characters"),
        ([span(end=15)], "0 to 15 does not lie"),
        ([span(known_from=[])], "has 1 tags but 0 places"),
        ([span(tags=[f"t{n}" for n in range(33)], known_from=[0] * 33)], "uses 33 tags .* at most 32"),
    ],
)
def test_roles_that_can_not_be_are_named(
    roles: object, message: str, tmp_path: Path, words: PreTrainedTokenizerFast
) -> None:
    name = written(tmp_path / "bad.jsonl", roles)
    with pytest.raises(BadFile, match=message):
        load_role_items(name, "train", 1, 0, words)
    assert len(load_items(name, "train", 1, 0, words)) == 1, "the items themselves are fine"


def test_tasks_and_files_without_roles_have_none(
    tmp_path: Path, words: PreTrainedTokenizerFast, subwords: PreTrainedTokenizerFast
) -> None:
    assert load_role_items(written(tmp_path / "plain.jsonl", None), "train", 1, 0, words)[1] is None
    assert load_role_items("paper-hop", "train", 2, 0, subwords)[1] is None


def test_a_table_holds_32_tags() -> None:
    zeros = np.zeros((1, 2), np.uint8)
    tags = tuple(f"t{n}" for n in range(33))
    with pytest.raises(BadInput, match="at most 32 tags, not 33"):
        RoleTable(zeros, zeros.astype(np.uint32), np.zeros((1, 33), np.int64), tags=tags)


def test_tables_are_taken_and_joined_with_their_names() -> None:
    own = ("none", "digit"), ("odd",)
    one = RoleTable(
        np.array([[1, 0], [0, 1]], np.uint8), np.array([[1, 0], [0, 0]], np.uint32), np.array([[0], [1]]), *own
    )
    longer = RoleTable(np.ones((1, 3), np.uint8), np.ones((1, 3), np.uint32), np.array([[2]]), *own)
    joined = concatenate_roles([one, longer]).take([2, 0])
    assert (joined.surfaces, joined.tags) == own
    assert joined.surface_NT.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert joined.tags_NT.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert joined.known_from_NG.tolist() == [[2], [0]]
    with pytest.raises(AssertionError, match="different roles"):
        concatenate_roles([one, replace(longer, tags=("even",))])


def test_sections_by_hand(words: PreTrainedTokenizerFast) -> None:
    items = load_items("hashhop:mode=trace,lines=10,chains=2,hops=2", "test", N, 0, words)
    for row, sections in enumerate(items.sections_NT):
        n_trace = items.answer_start_N[row] - items.n_prompt_N[row]
        n_left = items.tokens_NT.shape[1] - items.n_tokens_N[row]
        counts = (items.n_prompt_N[row], n_trace, 1, 1, n_left)
        told = [name for name, count in zip(SECTIONS, counts, strict=True) for _ in range(count)]
        assert [SECTIONS[at] for at in sections] == told
    assert (items.sections_NT[:, -1] == SECTIONS.index("padding")).any()
