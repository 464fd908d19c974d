"""Everything that `rankscope look` found about one adapter, as its page reads it: frozen and torch-free."""

from pathlib import Path
from typing import Literal

from rankscope.base.atomic import write_text
from rankscope.base.config import Config
from rankscope.interpret.ablation_records import Ablation, AblationReading
from rankscope.interpret.read_record import read_record
from rankscope.stats.interval import Interval

LOOK_FILE, LABELS_FILE = "look.json", "labels.json"
ExampleKind = Literal["positive", "negative", "decile", "random", "near zero"]


class Example(Config):
    """One token at which a direction was seen, with what stands around it."""

    kind: ExampleKind
    item: int
    """Index in the item set."""
    position: int
    """Token within the item."""
    value: float
    """Signed, canonical: sigma (v . x)."""
    start: int
    """Position of the first token shown."""
    tokens: tuple[int, ...]
    """Places in the record's `words`, one per token shown."""
    values: tuple[float, ...]
    """The direction's value at each token shown."""
    sections: tuple[int, ...]
    """Places in `section_names`."""
    surfaces: tuple[int, ...] = ()
    """Places in `surface_names`; empty without roles."""
    tags: tuple[int, ...] = ()
    """Bit g set where the token has `tag_names[g]` and the text so far determines it; empty without roles."""


class RoleScore(Config):
    """The role that a direction tells best, chosen on half the items and scored on the other half."""

    role: str
    sign: Literal[1, -1]
    auroc: float
    """Held out, stratified by position; 0.5 is chance."""
    q: float
    """p-value against circular shifts, corrected over all pairs of direction and role."""
    position_only: float
    """AUROC of the token's position alone, over all positions together; within them it is 0.5 by construction."""
    token_within: float
    """AUROC of the token's identity alone, stratified by position as the direction's is."""


class LensToken(Config):
    """A token and what the direction gives it."""

    word: str
    logit: float


class Lens(Config):
    """What a direction reads and writes in terms of tokens, norms taken into account."""

    writes_up: tuple[LensToken, ...] = ()
    """Tokens whose logits it raises most, per its root-mean-square value, were nothing else in between."""
    writes_down: tuple[LensToken, ...] = ()
    reads_up: tuple[LensToken, ...] = ()
    """Tokens whose normalised embedding it reads with the largest positive value."""
    reads_down: tuple[LensToken, ...] = ()
    missing: tuple[str, ...] = ()
    """Why a side is empty, in sentences."""


class TextChange(Config):
    """What an item's generated text was, and became."""

    item: int
    prompt: str
    before: str
    after: str


class CausalCheck(Config):
    """What scaling or steering one direction does."""

    how: Literal["scale", "steer"]
    value: float
    """Factor of the direction, or what is added to its value at every token."""
    exact: Interval
    """Exact output."""
    exact_change: Interval
    """Change of exact output, paired by item, against the adapter left alone."""
    answer_correct: Interval
    """Share of items whose final answer is right after the model's own trace."""
    answer_correct_change: Interval
    text_changed: Interval
    """Share of items whose greedy text differs."""
    trace_changed: Interval | None
    """Of its part before the answer; None where items have no trace."""
    answer_changed: Interval
    """Of its final answer."""
    examples: tuple[TextChange, ...]


class Direction(Config):
    """One singular direction of one site, or several that can't be told apart."""

    slug: str
    """Unique, short and safe in a link, such as `L3.mlp.up_proj.0`."""
    site: str
    layer: int | None
    kind: str
    """Kind of map."""
    indices: tuple[int, ...]
    """Places among the site's singular values; several where those lie within 5 % of each other."""
    sigma: float
    """Singular value; of several, the root of their sum of squares."""
    mean: float
    rms: float
    bin_edges: tuple[float, ...]
    bin_counts: tuple[int, ...]
    """Histogram of values over all tokens; one bin fewer than edges."""
    examples: tuple[Example, ...]
    role: RoleScore | None = None
    ablation: Ablation | None = None
    lens: Lens | None = None
    causal: tuple[CausalCheck, ...] = ()

    @property
    def is_subspace(self) -> bool:
        """Whether several directions share this record; its values are norms then, and have no sign."""
        return len(self.indices) > 1


class LookCard(Config):
    """A claim about the whole adapter, and what the measurement says of it."""

    claim: str
    rule: str
    verdict: Literal["supported", "refuted", "undecided", "underpowered", "not measured"]
    estimate: str
    because: str
    limits: tuple[str, ...] = ()


class Population(Config):
    """Role scores of adapter directions beside those of something else, matched in number and tokens."""

    name: str
    n: int
    share_significant: float
    median_auroc: float
    auroc: tuple[float, ...]
    """Held-out score of every member's best role."""


class LookRecord(Config):
    """Everything on the page."""

    study: str = "look"
    title: str
    base: str
    base_hash: str
    task: str
    adapter: str
    adapter_hash: str
    n_items: int
    n_tokens: int
    answer: tuple[str, ...]
    """What was found, in sentences, the most important first."""
    words: tuple[str, ...]
    """Text of every token that is shown, once."""
    section_names: tuple[str, ...]
    surface_names: tuple[str, ...] = ()
    tag_names: tuple[str, ...] = ()
    reading: AblationReading | None = None
    populations: tuple[Population, ...] = ()
    cards: tuple[LookCard, ...] = ()
    directions: tuple[Direction, ...]
    missing: tuple[str, ...] = ()
    """What could not be measured, and why, in sentences."""
    reproduce: dict[str, str]
    provenance: dict[str, str]


def write_look(path: Path, record: LookRecord) -> None:
    """Writes the record as compact JSON, atomically."""
    write_text(path, record.model_dump_json())


def read_look(path: Path) -> LookRecord:
    """The record in a file. Raises BadFile when there is none, or it is no such record."""
    return read_record(path, LookRecord, "a look", "rankscope look ADAPTER --out FOLDER")
