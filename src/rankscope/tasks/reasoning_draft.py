"""Reasoning items while they are made: a prompt, steps, and an answer, then their tokens with roles.

A step is a few words, of which the last is decisive: it follows from what stands before. A wrong step has another word
in its place, is broken off there with `wait`, and is written again, rightly.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt32

from rankscope.base.vocabulary import ID, PAD, STOP
from rankscope.tasks.roles import SURFACES, TAGS, RoleTable
from rankscope.tasks.word_items import NO_CODE, WordItems

REASONING_SURFACES = (*SURFACES, "digit", "operator", "item", "target", "think", "wait")
"""Those of map tasks; `digit` and `operator` of a sum, `item` of a list, `target`: the leaf asked for, `think`: <think>
and </think>."""
REASONING_TAGS = (
    *TAGS,
    "smallest",
    "largest",
    "carry_in",
    "carry_out",
    "wrong",
    "correction",
    "after_wait",
    "repeat",
    "step_first",
    "final_step",
)
"""Those of map tasks, and: `smallest`, `largest` of a list, wherever it is named; `carry_in`, `carry_out`: of a column,
where it is written; `wrong`: the wrong word; `correction`: the step written again; `after_wait`: all that comes after
`wait`; `repeat`: a word that stood before; `step_first`: first word of a step; `final_step`: in the last step."""
SKILL_TAGS = {
    "hop": TAGS,
    "chain": TAGS,
    "star": TAGS,
    "sort": ("smallest", "largest"),
    "add": ("carry_in", "carry_out"),
    "copy": (),
}
"""Tags that mean something in one skill; in items of other skills they are never scored, so that telling skills apart
is not taken for telling these tags."""
SURFACE = {name: np.uint8(at) for at, name in enumerate(REASONING_SURFACES)}
BIT = {name: np.uint32(1 << at) for at, name in enumerate(REASONING_TAGS)}
NOT_IN_SHUFFLED = ("wrong", "final_step")
"""Tags that the prefix does not determine where the steps are another item's."""


@dataclass(frozen=True)
class Draft:
    """N items of one skill. Codes are filled with NO_CODE: prompts and answers on the right, steps on the left."""

    prompt_NP: Int[np.ndarray, "N P"]
    prompt_surface_NP: UInt8[np.ndarray, "N P"]
    step_NJW: Int[np.ndarray, "N J W"]
    """J steps of up to W words; the last of each is the decisive one."""
    step_surface_NJW: UInt8[np.ndarray, "N J W"]
    wrong_NJ: Int[np.ndarray, "N J"]
    """What a wrong step has in place of its decisive word."""
    answer_NA: Int[np.ndarray, "N A"]
    named_NV: UInt32[np.ndarray, "N V"]
    """Tags of every token that names a word: of map and list tags, which go by what is named."""
    step_tags_NJW: UInt32[np.ndarray, "N J W"] | None = None
    """Tags that go by the place in the trace."""
    answer_tags_NA: UInt32[np.ndarray, "N A"] | None = None
    known_from_NG: Int[np.ndarray, "N G"] | None = None
    """First place in the prompt from which each tag is known; by default the first token."""
    candidates_NC: Int[np.ndarray, "N C"] | None = None
    groups: dict[str, Int[np.ndarray, " N"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompt_NP)

    @property
    def n_steps_N(self) -> Int[np.ndarray, " N"]:
        """Steps of each item."""
        return (self.step_NJW[:, :, -1] != NO_CODE).sum(1)


def rolled(array: np.ndarray | None) -> np.ndarray | None:
    """Each item's rows given to the next item, so that nobody keeps its own."""
    return None if array is None else np.roll(array, 1, axis=0)


@dataclass(frozen=True)
class _Slots:
    """A stretch of columns, absent where the code is NO_CODE."""

    code: np.ndarray
    surface: np.ndarray
    tags: np.ndarray

    @classmethod
    def of(cls, code: np.ndarray, surface: np.ndarray | str, tags: np.ndarray | int = 0) -> "_Slots":
        number = SURFACE[surface] if isinstance(surface, str) else surface
        return cls(code, np.broadcast_to(number, code.shape), np.broadcast_to(np.uint32(tags), code.shape))


def write_draft(
    draft: Draft, wrong_step_N: Int[np.ndarray, " N"], task: str, split: str, words: tuple[str, ...], ids_N: np.ndarray
) -> WordItems:
    """The items as tokens: `prompt <think> steps </think> answer <stop>`.

    Step wrong_step_N of an item is wrong first; -1 for none.
    """
    is_wrong_NJ = wrong_step_N[:, None] == np.arange(draft.step_NJW.shape[1])
    think, end, stop = (np.full((len(draft), 1), ID[mark]) for mark in ("<think>", "</think>", STOP))
    slots = [
        _Slots.of(draft.prompt_NP, draft.prompt_surface_NP, _named(draft, draft.prompt_NP)),
        _Slots.of(think, "think"),
        *_step_slots(draft, is_wrong_NJ),
        _Slots.of(end, "think"),
        _Slots.of(draft.answer_NA, "answer", _either(_named(draft, draft.answer_NA), draft.answer_tags_NA)),
        _Slots.of(stop, "stop"),
    ]
    codes, surfaces, tags = (
        np.concatenate([getattr(part, name) for part in slots], axis=1) for name in ("code", "surface", "tags")
    )
    present = codes != NO_CODE
    order = (~present).argsort(1, kind="stable")[:, : int(present.sum(1).max())]
    codes, surfaces, tags, present = (np.take_along_axis(a, order, 1) for a in (codes, surfaces, tags, present))
    codes, surfaces, tags = (
        np.where(present, a, blank)
        for a, blank in ((codes, ID[PAD]), (surfaces, SURFACE["none"]), (tags, np.uint32(0)))
    )
    tags = tags | _sequence_tags(codes, surfaces, present)
    n_tokens_N = present.sum(1)
    answer_at_N = n_tokens_N - 1 - (draft.answer_NA != NO_CODE).sum(1)
    n = len(draft)
    known = draft.known_from_NG if draft.known_from_NG is not None else np.zeros((n, len(REASONING_TAGS)), np.int64)
    return WordItems(
        task=task,
        split=split,
        words=words,
        codes_NT=codes,
        n_prompt_N=(draft.prompt_NP != NO_CODE).sum(1),
        n_tokens_N=n_tokens_N,
        answer_at_N=answer_at_N,
        answer_end_N=n_tokens_N - 1,
        candidates_NC=draft.candidates_NC if draft.candidates_NC is not None else np.zeros((n, 0), np.int64),
        roles=RoleTable(surfaces, tags, known, REASONING_SURFACES, REASONING_TAGS),
        item_ids_N=ids_N,
        groups=draft.groups | {"corrected": is_wrong_NJ.any(1).astype(np.int64), "n_steps": draft.n_steps_N},
    )


def _step_slots(draft: Draft, is_wrong_NJ: Bool[np.ndarray, "N J"]) -> list[_Slots]:
    """For every step: its wrong form and `wait`, where it has one, and its right form."""
    slots = []
    own_tags = np.zeros(draft.step_NJW.shape, np.uint32) if draft.step_tags_NJW is None else draft.step_tags_NJW
    last_N = draft.n_steps_N - 1
    for step in range(draft.step_NJW.shape[1]):
        code, surface = draft.step_NJW[:, step], draft.step_surface_NJW[:, step]
        is_wrong_N = is_wrong_NJ[:, step, None]
        tags = own_tags[:, step] | _first_of_step(code) | np.where(last_N == step, BIT["final_step"], 0)[:, None]
        tags = tags.astype(np.uint32)
        wrong = code.copy()
        wrong[:, -1] = draft.wrong_NJ[:, step]
        wrong_tags = tags | _named(draft, wrong)
        wrong_tags[:, -1] |= BIT["wrong"]
        wait = np.full((len(draft), 1), ID["wait"])
        again = np.where(is_wrong_N, BIT["correction"], np.uint32(0))
        slots += [
            _Slots.of(np.where(is_wrong_N, wrong, NO_CODE), surface, wrong_tags),
            _Slots.of(np.where(is_wrong_N, wait, NO_CODE), "wait"),
            _Slots.of(code, surface, tags | _named(draft, code) | again),
        ]
    return slots


def _first_of_step(code_NW: np.ndarray) -> UInt32[np.ndarray, "N W"]:
    """The bit of `step_first` at the first word of each step."""
    present = code_NW != NO_CODE
    return np.where(present & (present.cumsum(1) == 1), BIT["step_first"], np.uint32(0))


def _named(draft: Draft, code_NX: np.ndarray) -> UInt32[np.ndarray, "N X"]:
    """Tags by the word that each token names."""
    return np.where(code_NX != NO_CODE, np.take_along_axis(draft.named_NV, np.maximum(code_NX, 0), 1), np.uint32(0))


def _either(one: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    return one if other is None else one | other


def _sequence_tags(codes: np.ndarray, surfaces: np.ndarray, present: np.ndarray) -> UInt32[np.ndarray, "N T"]:
    """`after_wait` and `repeat`, which show in the tokens themselves."""
    waits = surfaces == SURFACE["wait"]
    after = present & (waits.cumsum(1) - waits > 0)
    earlier = np.tri(codes.shape[1], k=-1, dtype=bool)
    repeat = present & ((codes[:, :, None] == codes[:, None, :]) & earlier).any(2)
    return np.where(after, BIT["after_wait"], np.uint32(0)) | np.where(repeat, BIT["repeat"], np.uint32(0))
