"""What hash_paper found: frozen, versioned, torch-free. Its page reads this and nothing else."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from rankscope.base.atomic import write_json
from rankscope.base.config import Config
from rankscope.rank.records import read_record
from rankscope.stats.interval import Interval

VERSION = 1
SATURATED = 0.98
"""A count above this share of the nominal rank says nothing of the task."""


class TaskNumbers(Config):
    """The headline numbers of one task under one setting of the switches."""

    retrained: bool
    """Whether this setting has trainings of its own, or reads the published ones another way."""
    accuracy: Interval
    """Of the adapters of largest rank, a share of items; the interval is over items alone."""
    change: Interval | None
    """Accuracy less that as published; None as published."""
    base: Interval
    gain: Interval
    """accuracy - base, paired by item."""
    effective_rank: float
    """N(1e-3), the paper's headline: singular values above a thousandth of the largest, mean over layers and seeds."""
    by_layer: tuple[float, ...]
    """N(1e-3) of each layer, mean over seeds."""
    functional: tuple[int, ...]
    """Functional rank at q = 0.9 of each seed's adapter; 0 where it has no gain."""


class ConfigurationNumbers(Config):
    """One row of the table of defects."""

    key: str
    title: str
    planning: TaskNumbers
    reasoning: TaskNumbers

    def ratio(self, nominal: int) -> float | None:
        """Effective rank of planning over that of reasoning: the paper's claim is 2 to 3.

        None where both counts are the nominal rank, so that their ratio is 1 whatever was learnt.
        """
        counts = self.planning.effective_rank, self.reasoning.effective_rank
        return None if min(counts) >= SATURATED * nominal else counts[0] / counts[1]

    @property
    def gains(self) -> bool:
        """Whether any of its adapters is surely better than its base."""
        return any((task.gain.low or 0) > 0 for task in (self.planning, self.reasoning))


class SweepPoint(Config):
    """Adapters of one rank, trained as published, read in two ways."""

    task: Literal["planning", "reasoning"]
    rank: int
    """0 for the base."""
    as_published: Interval
    """With ban and fuzzy scoring."""
    clean: Interval
    """Without ban, exact scoring; the same trainings."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """Relative threshold -> N(t), mean over layers and seeds; empty for the base."""
    absolute_count: float | None = None
    """Singular values above 1e-5, mean over layers and seeds."""
    top5_share: float | None = None
    """Share of the sum of singular values that the five largest hold."""

    @property
    def falling(self) -> list[str]:
        """The thresholds from the largest to the smallest; a file keeps them in another order."""
        return sorted(self.thresholds, key=float, reverse=True)


class GroupPoint(Config):
    """Accuracy by hops, or by the shortest length, at the largest rank."""

    task: Literal["planning", "reasoning"]
    group: int
    n_items: int
    trained: bool
    """Whether the adapters' training has such items."""
    base: Interval
    as_published: Interval
    clean: Interval
    paper: float | None
    """The paper's accuracy at its largest rank, where its repository stores it."""


class TokenFacts(Config):
    """What the tokenizer and the ban do to the answers of one task's test items, before any model."""

    task: Literal["planning", "reasoning"]
    tokens_per_hash: float
    """As the answer, with its space."""
    splits_differ: float
    """Share of hashes that the space splits in other places."""
    whole_allowed: Interval
    """Share of true answers that the ban lets be written: the most that an oracle can score by the exact rule."""
    first_three_allowed: Interval
    """Share whose first three characters it lets be written."""


class PublishedNumber(Config):
    """A figure of the paper's repository beside ours."""

    name: str
    published: str
    ours: str
    note: str = ""


class HashPaperFindings(Config):
    """All that the study found; one JSON file."""

    version: Literal[1] = 1
    study: str
    title: str
    base: str
    answer: tuple[str, ...]
    """The plain-language answer, one sentence each."""
    setting: tuple[str, ...]
    """What was run, in sentences."""
    configurations: tuple[ConfigurationNumbers, ...]
    sweep: tuple[SweepPoint, ...]
    groups: tuple[GroupPoint, ...]
    tokens: tuple[TokenFacts, ...]
    published: tuple[PublishedNumber, ...]
    limits: tuple[str, ...]
    reproduce: dict[str, str] = Field(default_factory=dict)
    provenance: dict[str, str] = Field(default_factory=dict)

    @property
    def largest(self) -> int:
        """Nominal rank of the adapters that are compared."""
        return max(point.rank for point in self.sweep)

    def configuration(self, key: str) -> ConfigurationNumbers:
        """The row of that key."""
        return next(row for row in self.configurations if row.key == key)


def write_paper_findings(path: Path, findings: HashPaperFindings) -> None:
    """Writes the findings as JSON, atomically."""
    write_json(path, findings.model_dump(mode="json"))


def read_paper_findings(path: Path) -> HashPaperFindings:
    """Reads findings; BadFile when the file is missing, malformed or of another version."""
    return read_record(path, HashPaperFindings, f"no findings file of hash_paper, version {VERSION}")
