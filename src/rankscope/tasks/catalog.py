"""Task names: `hashhop`, `hashchain:mode=matched,lines=10`, `planted:k=2`, `relabel`, `shuffled`, or a FILE.jsonl."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from rankscope.base.errors import BadInput, UnknownName, near_matches
from rankscope.tasks.encode import Tokenizer, encode
from rankscope.tasks.encode_roles import roles_of_items
from rankscope.tasks.encoded import EncodedItems
from rankscope.tasks.jsonl import JsonlTask
from rankscope.tasks.paper import KINDS, PaperKnobs, PaperTask
from rankscope.tasks.planted import PlantedTask
from rankscope.tasks.reasoning import ReasoningTask
from rankscope.tasks.relabel import RelabelTask
from rankscope.tasks.roles import RoleTable
from rankscope.tasks.twins import TwinKnobs, TwinTask
from rankscope.tasks.word_items import WordItems

P1_PRESET = {
    "lines": "none",
    "distractors": "0",
    "lengths": "p1",
    "chains": "4",
    "max_length": "6",
    "symbol_length": "4",
}
"""The LoRA training distribution of arXiv 2412.00029: 4 chains of 2 to 6 nodes, lines as they fall."""

TASKS = {
    "hashhop": "planning: from a node with one way on, where are you after k hops?",
    "hashchain": "reasoning: from the branching start, the end of the shortest chain",
    "shuffled": "null: HashChain (or of=hashhop) whose completions name exchanged nodes; only the format can be learnt",
    "relabel": "calibration: one-hop lookup whose answers a permutation of m symbols in c cycles exchanges",
    "paper-hop": "HashHop as arXiv 2412.00029 generates it, in text, for bases that read any text",
    "paper-chain": "its HashChain, with the leak through the number of lines unless lines=N fills maps up",
    "paper-mix": "every other item paper-hop, every other paper-chain",
    "paper-lookup": "one-hop lookups after a map in the paper's layout; what its small base begins with",
    "reasoning": "hops, chains, sums, sorting and path-stars with steps, some wrong and corrected; or one, by skill=",
    "planted": "calibration: imitate the base plus a planted update of known rank k",
}


@runtime_checkable
class Task(Protocol):
    """A seeded generator of items."""

    @property
    def name(self) -> str:
        """The full name with knobs."""
        ...

    def items(self, split: str, n: int, data_seed: int, start: int = 0) -> WordItems:
        """Items start to start + n - 1 of a split."""
        ...


def split_name(name: str) -> tuple[str, dict[str, str]]:
    """Kind and knobs of a task name, all text: `a:b=1,c=2` -> ("a", {"b": "1", "c": "2"})."""
    kind, _, rest = name.partition(":")
    knobs: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key or key in knobs:
            raise BadInput(f"Knobs of a task are written key=value, each once, not {part!r} in {name!r}.")
        knobs[key] = value
    return kind, knobs


def load_task(name: str) -> Task | JsonlTask | PaperTask:
    """The task of that name. Raises UnknownName for a task or knob that does not exist, BadInput for its value."""
    if name.endswith((".jsonl", ".json")):
        return JsonlTask(Path(name))
    kind, knobs = split_name(name)
    if kind == "planted":
        return PlantedTask(name, knobs)
    if kind == "relabel":
        return RelabelTask(name, knobs)
    if kind == "reasoning":
        return ReasoningTask.parse(name, knobs)
    if kind in KINDS:
        return PaperTask(name, kind, PaperKnobs.parse(name, knobs))
    if kind == "shuffled":
        kind = knobs.pop("of", "hashchain")
        knobs = {"labels": "shuffled"} | knobs
    if kind not in ("hashhop", "hashchain"):
        raise UnknownName(
            f"There is no task named {kind!r}. {near_matches(kind, TASKS)} "
            "A FILE.jsonl of prompts and answers also works."
        )
    return TwinTask(name, "hop" if kind == "hashhop" else "chain", twin_knobs(name, knobs))


def twin_knobs(name: str, knobs: dict[str, str]) -> TwinKnobs:
    """Knobs of a twin task from text; `preset=p1` stands for P1_PRESET, `lines=none` for no padding."""
    knobs = dict(knobs)
    preset = knobs.pop("preset", None)
    if preset not in (None, "p1"):
        raise UnknownName(f"The only preset is p1, not {preset!r}.")
    knobs = (P1_PRESET if preset else {}) | knobs
    values: dict[str, str | None] = dict(knobs)
    if knobs.get("lines") == "none":
        values["lines"] = None
    return TwinKnobs.parse(name, values)


def load_role_items(
    task: str, split: str, n: int, data_seed: int, tokenizer: Tokenizer
) -> tuple[EncodedItems, RoleTable | None]:
    """The items of `load_items` with their roles, aligned with the same tokens; None for a task that has no roles.

    Raises: BadFile for a file whose roles can not be read; NotSupported for a tokenizer that is not a fast one.
    """
    _check_split(split)
    loaded = load_task(task)
    if isinstance(loaded, JsonlTask | PaperTask):
        items = loaded.encoded(split, n, data_seed, tokenizer)
        return items, loaded.roles(items, tokenizer) if isinstance(loaded, JsonlTask) else None
    made = loaded.items(split, n, data_seed)
    items = encode(made, tokenizer)
    return items, roles_of_items(made, items, tokenizer)


def load_items(task: str, split: str, n: int, data_seed: int, tokenizer: Tokenizer) -> EncodedItems:
    """Token arrays of the first n items of a split; items of different splits are disjoint streams."""
    _check_split(split)
    loaded = load_task(task)
    if isinstance(loaded, JsonlTask | PaperTask):
        return loaded.encoded(split, n, data_seed, tokenizer)
    return encode(loaded.items(split, n, data_seed), tokenizer)


def _check_split(split: str) -> None:
    if split not in ("train", "validation", "test"):
        raise BadInput(f"A split is train, validation or test, not {split!r}.")
