"""Laws of reasoning items over their knobs; that every item is right the independent solver checks as it is made."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankscope.base.vocabulary import SYMBOL_IDS
from rankscope.lm.word_tokenizer import build_word_tokenizer
from rankscope.tasks.catalog import load_items, load_task
from rankscope.tasks.reasoning import ALL_SKILLS, BLOCK
from rankscope.tasks.text import with_spans
from rankscope.tasks.word_items import WordItems

WORDS = build_word_tokenizer()
SMALL = {
    "hop": "lines=8,chains=2,max_length=4,hops=1",
    "chain": "lines=8,chains=2,max_length=4,hops=1",
    "add": "digits=1",
    "sort": "length=3,largest=5",
    "star": "arms=2,arm_length=2",
    "copy": "length=2",
}


@st.composite
def names(draw: st.DrawFn) -> str:
    knobs = {
        "skill": draw(st.sampled_from(["mix", *ALL_SKILLS])),
        "wrong": draw(st.sampled_from([0, 0.25, 1])),
        "digits": draw(st.integers(2, 5)),
        "length": draw(st.integers(3, 8)),
        "arms": draw(st.integers(2, 4)),
        "arm_length": draw(st.integers(1, 4)),
    }
    knobs |= draw(st.sampled_from([{}, {"trace": "shuffled"}, {"labels": "shuffled"}]))
    return "reasoning:" + ",".join(f"{key}={value}" for key, value in knobs.items())


@settings(max_examples=12, deadline=None)
@given(name=names(), seed=st.integers(0, 10**6), split=st.sampled_from(["train", "validation", "test"]))
def test_text_and_tokens_are_the_same(name: str, seed: int, split: str) -> None:
    items = load_items(name, split, 20, seed, WORDS)
    own = load_task(name).items(split, 20, seed)
    roles = own.roles
    for row, tokens in enumerate(items.tokens_NT):
        told = tokens[: items.n_tokens_N[row] - 1].tolist()
        assert WORDS.encode(WORDS.decode(told)) == told
        assert WORDS.decode(told) == with_spans(own, row).full
        assert (roles.surface_NT[row, : items.n_tokens_N[row]] > 0).all(), "a token without a surface"
        assert (roles.surface_NT[row, items.n_tokens_N[row] :] == 0).all()


@settings(max_examples=8, deadline=None)
@given(name=names(), start=st.integers(0, 2 * BLOCK), n=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_item_i_is_a_function_of_seed_and_i(name: str, start: int, n: int, seed: int) -> None:
    task = load_task(name)
    some, tail = (
        task.items("train", n, seed, start=start),
        task.items("train", start + n, seed).take(slice(start, None)),
    )
    assert some.item_ids_N.tolist() == tail.item_ids_N.tolist() == list(range(start, start + n))
    width = some.codes_NT.shape[1]
    assert (some.codes_NT == tail.codes_NT[:, :width]).all()
    assert (some.roles.tags_NT == tail.roles.tags_NT[:, :width]).all()
    assert (some.roles.known_from_NG == tail.roles.known_from_NG).all()
    assert {key: labels.tolist() for key, labels in some.groups.items()} == {
        key: labels.tolist() for key, labels in tail.groups.items()
    }


def prompts(name: str, split: str, seed: int, n: int) -> set[tuple[int, ...]]:
    items = load_task(name).items(split, n, seed)
    return {tuple(row[:k]) for row, k in zip(items.codes_NT.tolist(), items.n_prompt_N, strict=True)}


@pytest.mark.parametrize("skill", ALL_SKILLS)
def test_splits_share_no_prompt_even_where_contents_are_few(skill: str) -> None:
    name = f"reasoning:skill={skill},{SMALL[skill]}"
    train, validation, test = (prompts(name, split, 0, 3000) for split in ("train", "validation", "test"))
    assert not train & test
    assert not train & validation
    assert not validation & test
    assert not prompts(name, "train", 1, 3000) & test, "another data seed shares the test items"
    if skill in ("add", "sort"):
        assert len(train) < 200, "contents are few here, so that the law is tested"


@pytest.mark.parametrize("trace", ["true", "shuffled"])
@pytest.mark.parametrize("skill", ALL_SKILLS)
def test_what_is_scored_follows_from_the_prefix(skill: str, trace: str) -> None:
    """Items with the same tokens up to some place have the same tags there, as far as these are scored.

    Contents are few, and each is seen with a wrong step and without, so that prefixes meet whose futures differ.
    """
    knobs = f"skill={skill},trace={trace},{SMALL[skill]}"
    seen: dict[tuple[int, ...], tuple[int, int]] = {}
    n_met: dict[str, int] = defaultdict(int)
    for wrong in (0, 0.5, 1):
        items = load_task(f"reasoning:wrong={wrong},{knobs}").items("train", 500, 0)
        scored_NT = scored_bits(items)
        for row in range(len(items)):
            for at, prefix in enumerate(renamed_prefixes(items, row)):
                tags, scored = int(items.roles.tags_NT[row, at]), int(scored_NT[row, at])
                other_tags, other_scored = seen.setdefault(prefix, (tags, scored))
                assert scored == other_scored, "from where a tag is known follows from the prefix"
                assert (tags ^ other_tags) & scored == 0, names_of(items, (tags ^ other_tags) & scored)
                for tag in names_of(items, tags & scored):
                    n_met[tag] += 1
    wanted = {"repeat", "step_first", "after_wait", "correction"} | ({"wrong"} if trace == "true" else set())
    assert all(n_met[tag] > 20 for tag in wanted), dict(n_met)


def renamed_prefixes(items: WordItems, row: int) -> Iterator[tuple[int, ...]]:
    """Every prefix of an item, its symbols renamed as they appear: nothing depends on which they are."""
    prefix: tuple[int, ...] = ()
    names: dict[int, int] = {}
    for code in items.codes_NT[row, : items.n_tokens_N[row]].tolist():
        prefix = (*prefix, code if code < SYMBOL_IDS[0] else names.setdefault(code, 1000 + len(names)))
        yield prefix


def scored_bits(items: WordItems) -> np.ndarray:
    at = np.arange(items.codes_NT.shape[1])
    known = items.roles.known_from_NG
    return sum((at >= known[:, g, None]).astype(np.int64) << g for g in range(known.shape[1]))


def names_of(items: WordItems, bits: int) -> list[str]:
    return [tag for g, tag in enumerate(items.roles.tags) if bits >> g & 1]


def test_wrong_steps_come_at_their_rate_and_at_every_step() -> None:
    items = load_task("reasoning:wrong=0.25").items("train", 5000, 0)
    assert abs(items.groups["corrected"].mean() - 0.25) < 6 * (0.25 * 0.75 / 5000) ** 0.5
    sums = load_task("reasoning:skill=add,digits=3,wrong=1").items("train", 900, 0)
    first_N = sums.roles.has("wrong").argmax(1)
    n_before = [sums.roles.has("step_first")[row, : first_N[row]].sum() for row in range(900)]
    assert np.abs(np.bincount(n_before, minlength=4)[1:] / 900 - 1 / 3).max() < 0.1
