"""The tasks of arXiv 2412.00029 in text, for any tokenizer: HashHop, HashChain, their mixture, one-hop lookup."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from pydantic import Field, PositiveInt, ValidationError, model_validator

from rankscope.base.config import Config
from rankscope.base.errors import BadInput, UnknownName, near_matches
from rankscope.base.seeds import numpy_stream
from rankscope.tasks.encode import Tokenizer, is_word_level, stop_token
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.paper_maps import (
    PaperItem,
    draw_chain_item,
    draw_hash,
    draw_hop_item,
    map_lines,
    most_lines,
)
from rankscope.tasks.text import TextItem

Kind = Literal["paper-hop", "paper-chain", "paper-mix", "paper-lookup"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Range = tuple[PositiveInt, PositiveInt]


class PaperKnobs(Config):
    """Sizes and quirks; the defaults are those of the paper's adapters."""

    symbols: Annotated[int, Field(ge=1, le=10)] = 4
    """Symbols of a hash."""
    nodes: Range = (20, 20)
    """Hashes of HashHop's chain, fewest and most."""
    hops: Range = (1, 10)
    """Hops asked for, fewest and most."""
    lengths: Range = (2, 6)
    """Nodes of HashChain's chains, start included, shortest and longest."""
    chains: Annotated[int, Field(ge=2)] = 4
    """Chains from the start."""
    lines: PositiveInt | None = None
    """Lines that every HashChain map is filled up to by a detached chain; none as in the paper, which leaks."""
    queries: PositiveInt = 6
    """Lookups asked after each map of `paper-lookup`."""
    loss: Literal["paper", "answer"] = "paper"
    """`paper`: on the colon, the answer and all padding of the batch. `answer`: on the answer and one stop token."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if self.nodes[0] < 2 or self.lengths[0] < 2:
            raise ValueError("a chain has at least 2 nodes")
        if any(low > high for low, high in (self.nodes, self.hops, self.lengths)) or self.lengths[0] == self.lengths[1]:
            raise ValueError("a range is written LOW-HIGH, and lengths need two different ones")
        most = most_lines(self.allowed, self.chains)
        if self.lines is not None and self.lines <= most:
            raise ValueError(f"maps have up to {most} lines, so filling them up takes lines={most + 1} at least")
        return self

    @property
    def allowed(self) -> tuple[int, ...]:
        """Every length from the shortest to the longest."""
        return tuple(range(self.lengths[0], self.lengths[1] + 1))

    @classmethod
    def parse(cls, name: str, knobs: Mapping[str, str]) -> "PaperKnobs":
        """The knobs of a task name, all text. Raises UnknownName for an unknown knob, BadInput for its value."""
        for knob in knobs:
            if knob not in cls.model_fields:
                raise UnknownName(f"{name} has no knob {knob!r}. {near_matches(knob, cls.model_fields)}")
        try:
            return cls.model_validate({knob: _value(knob, text) for knob, text in knobs.items()})
        except ValidationError as error:
            first = error.errors()[0]
            where = f"knob {first['loc'][0]}" if first["loc"] else "knobs"
            raise BadInput(f"{name}: {where} can not be so: {first['msg']}.") from None


def _value(knob: str, text: str) -> Any:
    """`4` or `1-4` of a range as a pair, `none` of lines as None; the rest as it is."""
    if knob in ("nodes", "hops", "lengths"):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
        return (int(found[1]), int(found[2] or found[1])) if found else text
    return None if text == "none" else text


@dataclass(frozen=True)
class PaperTask:
    """One of the four kinds with its knobs."""

    name: str
    kind: Kind
    knobs: PaperKnobs

    def items(self, split: str, n: int, data_seed: int) -> list[PaperItem]:
        """The first n items of a split; item i is a function of (kind, knobs' sizes, split, data seed, i)."""
        return [self._item(numpy_stream(self.kind, split, data_seed, index), index) for index in range(n)]

    def _item(self, rng: np.random.Generator, index: int) -> PaperItem:
        knobs = self.knobs
        if self.kind == "paper-lookup":
            return _lookup_item(rng, self._n_nodes(rng), knobs.symbols, knobs.queries)
        if self.kind == "paper-hop" or (self.kind == "paper-mix" and index % 2 == 0):
            return draw_hop_item(rng, self._n_nodes(rng), knobs.symbols, knobs.hops)
        return draw_chain_item(rng, knobs.allowed, knobs.chains, knobs.symbols, knobs.lines)

    def _n_nodes(self, rng: np.random.Generator) -> int:
        fewest, most = self.knobs.nodes
        return fewest if fewest == most else int(rng.integers(fewest, most + 1))

    def texts(self, split: str, n: int, data_seed: int) -> list[TextItem]:
        """The items as prompt and answer."""
        return [TextItem(item.prompt, item.answer, None) for item in self.items(split, n, data_seed)]

    def encoded(self, split: str, n: int, data_seed: int, tokenizer: Tokenizer) -> EncodedItems:
        """Token arrays for training and teacher-forced scores; every item ends in one stop token.

        With loss=paper the loss begins at the colon of `Target:` and goes on over the padding of each batch, which
        repeats the stop token. Raises BadInput for a tokenizer that knows whole words only.
        """
        if is_word_level(tokenizer):
            raise BadInput(
                f"{self.name} needs a base with a tokenizer for any text; this base knows words of maps only."
            )
        items, stop = self.items(split, n, data_seed), stop_token(tokenizer)
        before = 1 if self.knobs.loss == "paper" and self.kind != "paper-lookup" else 0
        prompts, answers = ([*_ids(tokenizer, texts)] for texts in zip(*(_parts(item) for item in items), strict=True))
        rows = [[*prompt, *answer, stop] for prompt, answer in zip(prompts, answers, strict=True)]
        n_tokens_N = np.array([len(row) for row in rows])
        start_N = np.array([len(prompt) for prompt in prompts])
        return EncodedItems(
            task=self.name,
            split=split,
            tokens_NT=np.array([row + [stop] * (int(n_tokens_N.max()) - len(row)) for row in rows]),
            n_prompt_N=start_N - before,
            n_tokens_N=n_tokens_N,
            answer_start_N=start_N,
            answer_end_N=n_tokens_N - 1,
            item_ids_N=np.arange(n),
            groups={name: np.array([item.groups.get(name, 0) for item in items]) for name in _GROUPS},
            loss_on_padding=before == 1,
        )


_GROUPS = ("hops", "shortest_length", "n_lines")


def _parts(item: PaperItem) -> tuple[str, str]:
    """What precedes the answer, and the answer with its space. (Lookups begin their own line.)."""
    return item.prompt, item.answer if item.answer.startswith("\n") else f" {item.answer}"


def _ids(tokenizer: Tokenizer, texts: tuple[str, ...]) -> list[list[int]]:
    return list(tokenizer(list(texts), add_special_tokens=False)["input_ids"])


def _lookup_item(rng: np.random.Generator, n_nodes: int, n_symbols: int, n_queries: int) -> PaperItem:
    """A chain's map, then lookups of one hop in HashHop's layout from any of its nodes; all of them are the answer."""
    chain = [draw_hash(rng, n_symbols) for _ in range(n_nodes)]
    onward = dict(itertools.pairwise(chain))
    lines = list(onward.items())
    shown = [lines[at] for at in rng.permutation(len(lines))]
    asked = [lines[at] for at in rng.integers(0, len(lines), size=n_queries)]
    told = "".join(f"\nStart: {key}\nHops: 1\nTarget: {value}" for key, value in asked)
    return PaperItem("\n".join(["Map:", *map_lines(shown)]), told, {"hops": 1, "n_lines": len(lines)})
