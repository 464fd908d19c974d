"""Items as word codes with roles: what generators make, before a tokenizer is known."""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from jaxtyping import Int

from rankscope.base.vocabulary import ID, PAD
from rankscope.tasks.roles import RoleTable, concatenate_roles

NO_CODE = -1


@dataclass(frozen=True)
class WordItems:
    """N items of prompt and completion (trace, answer, stop), right-padded with the code of PAD."""

    task: str
    split: str
    words: tuple[str, ...]
    """code -> word."""
    codes_NT: Int[np.ndarray, "N T"]
    n_prompt_N: Int[np.ndarray, " N"]
    n_tokens_N: Int[np.ndarray, " N"]
    answer_at_N: Int[np.ndarray, " N"]
    """Position of the answer's first word."""
    answer_end_N: Int[np.ndarray, " N"]
    """The position after its last word."""
    candidates_NC: Int[np.ndarray, "N C"]
    """Codes of the candidates, the true one first, filled with NO_CODE."""
    roles: RoleTable
    item_ids_N: Int[np.ndarray, " N"]
    groups: dict[str, Int[np.ndarray, " N"]] = field(default_factory=dict)
    objective: str = "answer"

    def __len__(self) -> int:
        return len(self.codes_NT)

    def take(self, rows: Any) -> "WordItems":
        """The given rows, in that order."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        taken = {name: value[rows] for name, value in arrays.items() if isinstance(value, np.ndarray)}
        groups = {name: labels[rows] for name, labels in self.groups.items()}
        return WordItems(**(arrays | taken | {"roles": self.roles.take(rows), "groups": groups}))


def pad_width(array_NT: np.ndarray, width: int, fill: int) -> np.ndarray:
    """The array widened to `width` columns with `fill`."""
    return np.pad(array_NT, ((0, 0), (0, width - array_NT.shape[1])), constant_values=fill)


def concatenate(parts: list[WordItems]) -> WordItems:
    """Items of the same task one after another, padded to the longest."""
    first = parts[0]
    if len(parts) == 1:
        return first
    width = max(part.codes_NT.shape[1] for part in parts)
    n_candidates = max(part.candidates_NC.shape[1] for part in parts)
    return WordItems(
        task=first.task,
        split=first.split,
        words=first.words,
        codes_NT=np.concatenate([pad_width(part.codes_NT, width, ID[PAD]) for part in parts]),
        n_prompt_N=np.concatenate([part.n_prompt_N for part in parts]),
        n_tokens_N=np.concatenate([part.n_tokens_N for part in parts]),
        answer_at_N=np.concatenate([part.answer_at_N for part in parts]),
        answer_end_N=np.concatenate([part.answer_end_N for part in parts]),
        candidates_NC=np.concatenate([pad_width(part.candidates_NC, n_candidates, NO_CODE) for part in parts]),
        roles=concatenate_roles([part.roles for part in parts]),
        item_ids_N=np.concatenate([part.item_ids_N for part in parts]),
        groups={name: np.concatenate([part.groups[name] for part in parts]) for name in first.groups},
        objective=first.objective,
    )
