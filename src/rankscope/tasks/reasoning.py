"""Reasoning traces over several skills: `<think>` steps `</think>` answer, at times a wrong step and its correction.

A wrong step can not be foreseen, so `exact_output` means something on items with `corrected` = 0 alone: greedy decoding
never has to write one. All that follows the wrong word is determined.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.base.seeds import numpy_stream
from rankscope.base.vocabulary import WORDS
from rankscope.tasks.knobs import parse_knobs
from rankscope.tasks.reasoning_draft import (
    NOT_IN_SHUFFLED,
    REASONING_TAGS,
    SKILL_TAGS,
    Draft,
    rolled,
    write_draft,
)
from rankscope.tasks.reasoning_lists import draw_copying, draw_sorting, draw_sums
from rankscope.tasks.reasoning_maps import draw_chain, draw_hop, draw_star
from rankscope.tasks.reasoning_solver import check_reasoning
from rankscope.tasks.roles import NEVER
from rankscope.tasks.twins import TwinKnobs
from rankscope.tasks.word_items import WordItems, concatenate

SKILLS = ("hop", "chain", "add", "sort", "star")
"""Item i of the mix is item i // 5 of skill i % 5."""
ALL_SKILLS = (*SKILLS, "copy")
"""The group `skill` holds an index into it; `copy` is the control without reasoning, and in no mix."""
BLOCK = 1024
"""Items drawn at once; item i is a function of knobs, data seed, split and i."""


class ReasoningKnobs(Config):
    """Which skill, how hard, and what is shuffled."""

    skill: Literal["mix", "hop", "chain", "add", "sort", "star", "copy"] = "mix"
    """One alone, or the five of SKILLS in equal shares; `copy` copies symbols after steps that say nothing."""
    wrong: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of items with one wrong step, then `wait`, then the step again."""
    lines: int = Field(default=10, ge=4)
    """Map lines of hop and chain."""
    chains: int = Field(default=2, ge=2)
    """Chains from the branching start (hop, chain)."""
    max_length: int = Field(default=4, ge=3)
    """Nodes of the longest chain (hop, chain); for hop at least hops + 3, so that paths of every kind fit."""
    hops: int = Field(default=2, ge=1, le=8)
    """Most hops asked for (hop)."""
    arms: int = Field(default=3, ge=2)
    """Arms of a path-star."""
    arm_length: int = Field(default=2, ge=1, le=8)
    """Nodes of an arm, the centre left out."""
    digits: int = Field(default=3, ge=1, le=9)
    """Digits of the numbers to be added."""
    length: int = Field(default=5, ge=2)
    """Numbers to be sorted, symbols to be copied."""
    largest: int = Field(default=32, ge=2, le=32)
    """Largest number to be sorted."""
    trace: Literal["true", "shuffled"] = "true"
    """`shuffled`: the steps are those of another item of the skill, so that they say nothing about the answer."""
    labels: Literal["true", "shuffled"] = "true"
    """`shuffled`: steps and answer are those of another item, so that only the format can be learnt."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.trace == self.labels == "shuffled":
            raise BadInput("labels=shuffled shuffles steps and answer; leave trace out.")
        if self.length > self.largest + 1:
            raise BadInput(f"There are {self.largest + 1} numbers from 0 to largest, too few for length={self.length}.")
        if self.arms * self.arm_length + 1 > 128:
            raise BadInput("A path-star has at most 128 nodes: lower arms or arm_length.")
        for skill in ("hop", "chain"):
            if self.skill in ("mix", skill):
                self.map_knobs(skill)
        return self

    def map_knobs(self, skill: str) -> TwinKnobs:
        """Knobs of the twin maps that hop, or chain, is asked of."""
        longest = max(self.max_length, self.hops + 3) if skill == "hop" else self.max_length
        return TwinKnobs(
            lines=self.lines, chains=self.chains, max_length=longest, hops=self.hops, distractors=1, mode="trace"
        )


@dataclass(frozen=True)
class ReasoningTask:
    """The mix, or one skill alone."""

    name: str
    knobs: ReasoningKnobs

    @classmethod
    def parse(cls, name: str, values: Mapping[str, str]) -> "ReasoningTask":
        """The task of that name with its knobs as text."""
        return cls(name, parse_knobs(ReasoningKnobs, name, values))

    @cached_property
    def skills(self) -> tuple[str, ...]:
        """What items are of, in turn."""
        return SKILLS if self.knobs.skill == "mix" else (self.knobs.skill,)

    def items(self, split: str, n: int, data_seed: int, start: int = 0) -> WordItems:
        """Items start to start + n - 1 of a split; every one is checked by an independent solver."""
        if n < 1 or start < 0:
            raise BadInput(f"At least one item must be asked for, from 0 on, not {n} from {start}.")
        parts = []
        for turn, skill in enumerate(self.skills):
            first, end = (max(0, -(-(at - turn) // len(self.skills))) for at in (start, start + n))
            if first < end:
                part = self._of_skill(skill, split, data_seed, first, end)
                parts.append(replace(part, item_ids_N=part.item_ids_N * len(self.skills) + turn))
        items = concatenate(parts)
        items = items.take(items.item_ids_N.argsort())
        width = int(items.n_tokens_N.max())
        roles = replace(
            items.roles, surface_NT=items.roles.surface_NT[:, :width], tags_NT=items.roles.tags_NT[:, :width]
        )
        return replace(items, codes_NT=items.codes_NT[:, :width], roles=roles)

    def _of_skill(self, skill: str, split: str, data_seed: int, first: int, end: int) -> WordItems:
        """Items first to end - 1 of one skill's own stream."""
        blocks = range(first // BLOCK, (end - 1) // BLOCK + 1)
        whole = concatenate([self._block(skill, split, data_seed, block) for block in blocks])
        return whole.take(slice(first - blocks[0] * BLOCK, end - blocks[0] * BLOCK))

    def _block(self, skill: str, split: str, data_seed: int, block: int) -> WordItems:
        stream = (skill, split, data_seed, block)
        drawn = _draw(self.knobs, skill, split, numpy_stream("reasoning", *stream))
        draft = _shuffled(_of_its_own_tags(drawn, skill), self.knobs)
        if len(self.skills) > 1:
            draft = replace(draft, candidates_NC=None)
        coin_N, which_N = numpy_stream("reasoning wrong", *stream).random((2, BLOCK))
        wrong_step_N = np.where(coin_N < self.knobs.wrong, (which_N * draft.n_steps_N).astype(np.int64), -1)
        ids_N = np.arange(BLOCK) + block * BLOCK
        items = write_draft(draft, wrong_step_N, self.name, split, WORDS, ids_N)
        items.groups["skill"] = np.full(BLOCK, ALL_SKILLS.index(skill))
        items.groups.setdefault("n_carries", np.zeros(BLOCK, dtype=np.int64))
        if self.knobs.labels == "true":
            check_reasoning(items, checks_trace=self.knobs.trace == "true")
        return items


def _draw(knobs: ReasoningKnobs, skill: str, split: str, rng: np.random.Generator) -> Draft:
    """A block of one skill."""
    if skill == "hop":
        return draw_hop(knobs.map_knobs(skill), BLOCK, rng)
    if skill == "chain":
        return draw_chain(knobs.map_knobs(skill), BLOCK, rng)
    if skill == "star":
        return draw_star(knobs.arms, knobs.arm_length, BLOCK, rng)
    if skill == "add":
        return draw_sums(knobs.digits, split, BLOCK, rng)
    if skill == "sort":
        return draw_sorting(knobs.length, knobs.largest, split, BLOCK, rng)
    return draw_copying(knobs.length, split, BLOCK, rng)


def _of_its_own_tags(draft: Draft, skill: str) -> Draft:
    """The draft with the tags of other skills never known."""
    known = np.zeros((len(draft), len(REASONING_TAGS)), np.int64)
    if draft.known_from_NG is not None:
        known = draft.known_from_NG.copy()
    others = {tag for tags in SKILL_TAGS.values() for tag in tags} - set(SKILL_TAGS[skill])
    known[:, [REASONING_TAGS.index(tag) for tag in sorted(others)]] = NEVER
    return replace(draft, known_from_NG=known)


def _shuffled(draft: Draft, knobs: ReasoningKnobs) -> Draft:
    """The draft with the steps, and perhaps the answers, of other items.

    Tags that then stand for nothing are never known.
    """
    if knobs.trace == knobs.labels == "true":
        return draft
    names = ["step_NJW", "step_surface_NJW", "wrong_NJ", "step_tags_NJW"]
    if knobs.labels == "shuffled":
        names += ["answer_NA", "answer_tags_NA"]
    assert draft.known_from_NG is not None
    known = draft.known_from_NG.copy()
    known[:, [REASONING_TAGS.index(tag) for tag in NOT_IN_SHUFFLED]] = NEVER
    changes: dict[str, Any] = {name: rolled(getattr(draft, name)) for name in names}
    return replace(draft, known_from_NG=known, **changes)
