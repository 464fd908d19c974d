"""Items of planted skills: plain maps, on which a student imitates a teacher whose update has a known rank."""

from dataclasses import dataclass, field, replace

import numpy as np

from rankscope.base.vocabulary import ID
from rankscope.tasks.planted_spec import PlantedSpec
from rankscope.tasks.roles import TAGS
from rankscope.tasks.twins import TwinKnobs, TwinTask
from rankscope.tasks.word_items import WordItems

_MAP_TAGS = np.uint32(sum(1 << TAGS.index(tag) for tag in ("distractor", "branch", "leaf")))
"""Tags of the map alone; no question is asked here, so nothing lies on its path."""
MAP_KNOBS = ("lines", "chains", "distractors", "max_length", "min_length", "symbols")


def teacher_knobs(knobs: dict[str, str]) -> dict[str, str]:
    """The knobs that describe the teacher rather than the maps."""
    return {name: value for name, value in knobs.items() if name not in MAP_KNOBS}


@dataclass(frozen=True)
class PlantedTask:
    """Maps alone, all tokens after the first in the completion; `adapters.planted` draws the teacher.

    Raises UnknownName or BadInput at once for a knob, of the maps or the teacher, that can not be.
    """

    name: str
    knobs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        PlantedSpec.parse(teacher_knobs(self.knobs))
        self._maps()

    def _maps(self) -> TwinTask:
        """The twin task whose maps these are."""
        asked = {key: value for key, value in self.knobs.items() if key in MAP_KNOBS}
        return TwinTask(
            self.name, "chain", TwinKnobs.parse(self.name, {"mode": "direct", "end": "leaf", "hops": "1"} | asked)
        )

    def items(self, split: str, n: int, data_seed: int, start: int = 0) -> WordItems:
        """Items start to start + n - 1 of a split."""
        whole = self._maps().items(split, n, data_seed, start)
        n_tokens_N = (whole.codes_NT == ID["Start:"]).argmax(1)
        width = int(n_tokens_N.max())
        tags_NT = whole.roles.tags_NT[:, :width] & _MAP_TAGS
        roles = replace(whole.roles, surface_NT=whole.roles.surface_NT[:, :width], tags_NT=tags_NT)
        return replace(
            whole,
            codes_NT=whole.codes_NT[:, :width],
            n_prompt_N=np.ones(n, dtype=np.int64),
            n_tokens_N=n_tokens_N,
            answer_at_N=n_tokens_N,
            answer_end_N=n_tokens_N + 1,
            candidates_NC=whole.candidates_NC[:, :0],
            roles=roles,
            groups={},
            objective="distill",
        )
