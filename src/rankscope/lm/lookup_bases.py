"""The lookup bases by name, before training."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from transformers import PreTrainedModel

from rankscope.lm.lookup_gpt2 import SIZES, untrained_lookup_gpt2
from rankscope.lm.lookup_qwen2 import untrained_lookup_qwen2

UNTRAINED: dict[str, Callable[[int], PreTrainedModel]] = {
    **{name: partial(untrained_lookup_gpt2, size) for name, size in SIZES.items()},
    "tiny-qwen2": untrained_lookup_qwen2,
}
"""Name -> a function of the seed that gives the base with its first weights."""


@dataclass(frozen=True)
class Family:
    """What cards say of an architecture."""

    name: str
    placed: str
    """Which heads were placed by hand."""
    loading: str = ""
    """What to know when loading it without rankscope."""


FAMILIES = {
    "gpt2": Family("GPT-2", "Two attention heads start as the lookup circuit (previous token, then matching)"),
    "qwen2": Family(
        "Qwen2",
        "Three attention heads start as the lookup circuit (previous token, even places, then matching)",
        "\nLoad its tokenizer with `PreTrainedTokenizerFast`: for this architecture transformers' `AutoTokenizer` puts "
        "Qwen2's own\nsplitting rules in place of those in `tokenizer.json`.\n",
    ),
}
"""Model type -> family; `lookup_gpt2.py` and `lookup_qwen2.py` hold their first weights."""
