"""Items as token arrays: the one form in which training, scoring and capture see a task."""

import hashlib
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int, UInt, UInt8

from rankscope.base.errors import BadInput

NO_TOKEN = -1
SECTIONS = ("prompt", "trace", "answer", "stop", "padding")
"""Where in its item a token stands, in this order."""


@dataclass(frozen=True)
class EncodedItems:
    """N items, right-padded to T tokens. Each is prompt, then completion = trace + answer + stop.

    The loss and `exact_output` cover the completion, positions n_prompt to n_tokens - 1 (predicted from
    the position before). The answer is the slice answer_start to answer_end, stop excluded.
    """

    task: str
    """Name of the task, as the user gave it."""
    split: str
    """train, validation or test."""
    tokens_NT: Int[np.ndarray, "N T"]
    """Token ids; positions from n_tokens on hold padding."""
    n_prompt_N: Int[np.ndarray, " N"]
    n_tokens_N: Int[np.ndarray, " N"]
    answer_start_N: Int[np.ndarray, " N"]
    answer_end_N: Int[np.ndarray, " N"]
    candidates_NCA: Int[np.ndarray, "N C A"] | None = None
    """Token ids of the candidate answers, the true one first, filled with NO_TOKEN; None if there are none."""
    item_ids_N: Int[np.ndarray, " N"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Index of each item in its stream (task, data seed, split)."""
    groups: dict[str, Int[np.ndarray, " N"]] = field(default_factory=dict)
    """Named integer labels per item (`hops`, `shortest_length`, `ends_at_leaf`), for reporting apart."""
    objective: str = "answer"
    """`answer`: cross-entropy on the completion. `distill`: KL(teacher || student) on it (planted skills)."""
    loss_on_padding: bool = False
    """Whether the loss also covers each batch's padding, as arXiv 2412.00029 has it; scores never do."""

    def __len__(self) -> int:
        return len(self.tokens_NT)

    @property
    def completion_mask_NT(self) -> Bool[np.ndarray, "N T"]:
        """True where a token belongs to the completion."""
        at_T = np.arange(self.tokens_NT.shape[1])
        return (at_T >= self.n_prompt_N[:, None]) & (at_T < self.n_tokens_N[:, None])

    @property
    def sections_NT(self) -> UInt8[np.ndarray, "N T"]:
        """Index into SECTIONS of every token; distilled items, which have no answer, are prompt and trace."""
        at_T = np.arange(self.tokens_NT.shape[1])
        borders = (
            self.n_prompt_N,
            self.answer_start_N,
            np.minimum(self.answer_end_N, self.n_tokens_N),
            self.n_tokens_N,
        )
        return np.asarray(sum(at_T >= border_N[:, None] for border_N in borders), dtype=np.uint8)

    @property
    def chance_N(self) -> np.ndarray | None:
        """Chance level of forced choice: 1 / number of candidates; None without candidates."""
        if self.candidates_NCA is None:
            return None
        return 1.0 / (self.candidates_NCA[:, :, 0] != NO_TOKEN).sum(1)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over names and arrays: part of the cell key."""
        digest = hashlib.sha256(f"{self.task}|{self.split}|{self.objective}".encode())
        if self.loss_on_padding:
            digest.update(b"|loss on padding")
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                digest.update(item.name.encode() + str(value.shape).encode())
                digest.update(np.ascontiguousarray(value, dtype=np.int64).tobytes())
        return digest.hexdigest()

    @cached_property
    def tokens_hash(self) -> str:
        """SHA-256 over the tokens alone: equal for tasks that ask different things of the same text."""
        tokens_NT = np.ascontiguousarray(self.tokens_NT, dtype=np.int64)
        return hashlib.sha256(str(tokens_NT.shape).encode() + tokens_NT.tobytes()).hexdigest()

    def take(self, rows_M: UInt[np.ndarray, " M"] | Int[np.ndarray, " M"] | slice) -> "EncodedItems":
        """The given rows, in that order."""
        arrays = {
            item.name: getattr(self, item.name)[rows_M]
            for item in fields(self)
            if isinstance(getattr(self, item.name), np.ndarray)
        }
        return replace(self, **arrays, groups={name: labels[rows_M] for name, labels in self.groups.items()})


def check_fits(items: EncodedItems, n_positions: int, where: str) -> None:
    """Raises BadInput when an item is longer than the base can read."""
    longest = int(items.n_tokens_N.max()) if len(items) else 0
    if longest > n_positions:
        raise BadInput(
            f"The longest item of {items.task} has {longest} tokens; {where} reads at most {n_positions}. "
            "Use fewer map lines, shorter prompts, or a base with a longer context."
        )
