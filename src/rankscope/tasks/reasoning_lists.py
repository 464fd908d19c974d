"""Reasoning without maps: sums, sorting, and copying, as drafts. Splits go by what is asked, so they share nothing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int

from rankscope.base.errors import BadInput
from rankscope.base.seeds import stream_seed
from rankscope.base.vocabulary import ID, SIZE, SYMBOL_IDS
from rankscope.tasks.reasoning_draft import BIT, REASONING_TAGS, SURFACE, Draft
from rankscope.tasks.word_items import NO_CODE

_SHARE_OF_256 = {"test": (0, 26), "validation": (26, 52), "train": (52, 256)}
"""Low byte of a content's hash -> split: about 10 % test, 10 % validation, 80 % train, as for JSONL files."""
_MOST_POOLS = 400
ZERO = ID["0"]


def in_split(content_NK: Int[np.ndarray, "N K"], split: str) -> Bool[np.ndarray, " N"]:
    """Whether each content, a row of small numbers, belongs to the split; a function of the content alone."""
    hashed = np.full(len(content_NK), stream_seed("reasoning splits"), dtype=np.uint64)
    for column in content_NK.T:
        # The finaliser of SplitMix64 (Steele, Lea and Flood 2014), column by column.
        hashed = (hashed + column.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
        hashed = (hashed ^ (hashed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        hashed = (hashed ^ (hashed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashed = hashed ^ (hashed >> np.uint64(31))
    low, high = _SHARE_OF_256[split]
    byte = hashed & np.uint64(255)
    return np.asarray((byte >= low) & (byte < high))


def draw_in_split(
    draw: Callable[[int], np.ndarray], content: Callable[[np.ndarray], np.ndarray], split: str, n: int
) -> Int[np.ndarray, "N K"]:
    """The first n rows of a stream whose content belongs to the split. Raises BadInput where there are next to none."""
    parts: list[np.ndarray] = []
    for _ in range(_MOST_POOLS):
        drawn = draw(2 * n)
        parts.append(drawn[in_split(content(drawn), split)])
        if sum(map(len, parts)) >= n:
            return np.concatenate(parts)[:n]
    raise BadInput(f"With these knobs there are too few different items for a {split} split. Ask for longer ones.")


def draw_sums(digits: int, split: str, n: int, rng: np.random.Generator) -> Draft:
    """Sums of two numbers, column by column from the right: `7 + 5 = 12`, `4 + 8 carry = 13`; the answer's digits last.

    a + b and b + a are in the same split. A wrong sum is one too many or too few.
    """
    low, high = 10 ** (digits - 1), 10**digits
    pair_N2 = draw_in_split(
        lambda m: rng.integers(low if digits > 1 else 0, high, size=(m, 2)), lambda drawn: np.sort(drawn, 1), split, n
    )
    tens_D = 10 ** np.arange(digits)
    one_ND, other_ND = (pair_N2[:, at, None] // tens_D % 10 for at in (0, 1))
    carry_ND = ((pair_N2[:, 0, None] % tens_D) + (pair_N2[:, 1, None] % tens_D)) // tens_D
    sum_ND = one_ND + other_ND + carry_ND
    word_N = np.ones((n, 1), dtype=np.int64)
    prompt = [ZERO + one_ND[:, ::-1], word_N * ID["+"], ZERO + other_ND[:, ::-1], word_N * ID["="]]
    operator = np.ones_like(one_ND)
    step_NJW = np.stack(
        [
            ZERO + one_ND,
            operator * ID["+"],
            ZERO + other_ND,
            np.where(carry_ND > 0, ID["carry"], NO_CODE),
            operator * ID["="],
            ZERO + sum_ND,
        ],
        axis=2,
    )
    surfaces_W = [SURFACE[name] for name in ("digit", "operator", "digit", "operator", "operator", "step")]
    into_ND = np.where(carry_ND > 0, BIT["carry_in"], np.uint32(0))
    out_of_ND = np.where(sum_ND >= 10, BIT["carry_out"], np.uint32(0))
    tags_NJW = np.repeat(into_ND[:, :, None], 6, axis=2)
    tags_NJW[:, :, 2:] |= out_of_ND[:, :, None]
    up_ND = np.where(sum_ND == 0, True, np.where(sum_ND == 19, False, rng.random(sum_ND.shape) < 0.5))
    total_N = pair_N2.sum(1)
    places = np.arange(digits, -1, -1)
    answer_NA = np.where(total_N[:, None] >= 10**places, ZERO + total_N[:, None] // 10**places % 10, NO_CODE)
    answer_NA[:, -1] = ZERO + total_N % 10
    return Draft(
        prompt_NP=np.concatenate(prompt, axis=1),
        prompt_surface_NP=_surfaces([*["digit"] * digits, "operator", *["digit"] * digits, "operator"], n),
        step_NJW=step_NJW,
        step_surface_NJW=np.broadcast_to(np.array(surfaces_W), step_NJW.shape).copy(),
        wrong_NJ=ZERO + sum_ND + np.where(up_ND, 1, -1),
        answer_NA=answer_NA,
        named_NV=np.zeros((n, SIZE), dtype=np.uint32),
        step_tags_NJW=tags_NJW,
        answer_tags_NA=np.concatenate([np.where(sum_ND[:, -1:] >= 10, BIT["carry_in"], 0), into_ND[:, ::-1]], 1).astype(
            np.uint32
        ),
        groups={"n_carries": (sum_ND >= 10).sum(1)},
    )


def draw_sorting(length: int, largest: int, split: str, n: int, rng: np.random.Generator) -> Draft:
    """Different numbers from 0 to `largest` to be sorted, each step the smallest one left; the answer is all of them.

    Lists of the same numbers are in the same split. A wrong step names another number of the list, one that is left
    as long as one is.
    """
    list_NK = draw_in_split(
        lambda m: rng.random((m, largest + 1)).argsort(1)[:, :length], lambda drawn: np.sort(drawn, 1), split, n
    )
    sorted_NK = np.sort(list_NK, 1)
    step_K = np.arange(length)
    left_K = np.maximum(length - 1 - step_K, 1)
    other_NK = np.where(step_K < length - 1, step_K + 1, 0) + (rng.random((n, length)) * left_K).astype(np.int64)
    known = np.zeros((n, len(REASONING_TAGS)), dtype=np.int64)
    known[:, [REASONING_TAGS.index(tag) for tag in ("smallest", "largest")]] = length + 1
    named = np.zeros((n, SIZE), dtype=np.uint32)
    named[np.arange(n), ZERO + sorted_NK[:, 0]] = BIT["smallest"]
    named[np.arange(n), ZERO + sorted_NK[:, -1]] = BIT["largest"]
    wrong_NK = ZERO + np.take_along_axis(sorted_NK, other_NK, 1)
    return replace(
        _list_draft("sort", ZERO + list_NK, ZERO + sorted_NK, wrong_NK),
        named_NV=named,
        known_from_NG=known,
        answer_NA=ZERO + sorted_NK,
    )


def draw_copying(length: int, split: str, n: int, rng: np.random.Generator) -> Draft:
    """Symbols to be copied, after as many steps `so`, which say nothing; a wrong step says `then`."""
    symbols = np.array(SYMBOL_IDS)
    list_NK = draw_in_split(
        lambda m: symbols[rng.random((m, len(symbols))).argsort(1)[:, :length]], lambda drawn: drawn, split, n
    )
    fillers = (np.full(list_NK.shape, ID[word]) for word in ("so", "then"))
    return _list_draft("?", list_NK, *fillers)


def _list_draft(mark: str, list_NK: np.ndarray, step_NK: np.ndarray, wrong_NK: np.ndarray) -> Draft:
    """The draft of `MARK list =` with steps of one word; the answer is the list as it stands."""
    n, length = list_NK.shape
    word_N = np.ones((n, 1), dtype=np.int64)
    return Draft(
        prompt_NP=np.concatenate([word_N * ID[mark], list_NK, word_N * ID["="]], axis=1),
        prompt_surface_NP=_surfaces(["operator", *["item"] * length, "operator"], n),
        step_NJW=step_NK[:, :, None],
        step_surface_NJW=np.full((n, length, 1), SURFACE["step"]),
        wrong_NJ=wrong_NK,
        answer_NA=list_NK,
        named_NV=np.zeros((n, SIZE), dtype=np.uint32),
    )


def _surfaces(names: list[str], n: int) -> np.ndarray:
    return np.tile(np.array([SURFACE[name] for name in names], dtype=np.uint8), (n, 1))
