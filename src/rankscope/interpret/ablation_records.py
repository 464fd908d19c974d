"""What ablations found: frozen and torch-free. Pages and tables read these and nothing else."""

from pathlib import Path
from typing import Literal

from rankscope.base.atomic import write_json
from rankscope.base.config import Config
from rankscope.base.errors import BadInput
from rankscope.interpret.read_record import read_record
from rankscope.interpret.wrong_steps import WrongSteps
from rankscope.stats.interval import Interval

ABLATION_FILE = "ablation.json"

How = Literal["zero", "mean", "keep only"]
"""Taken out; held at what it adds for its mean input; everything else taken out."""


class Ablation(Config):
    """One group of sites, or one direction, and what doing that to it costs."""

    unit: Literal["site", "kind", "layer", "block", "part", "direction"]
    name: str
    how: How
    layer: int | None
    """Of a site, a direction or a layer."""
    kind: str | None
    """Of a site, a direction or a kind of map."""
    n_sites: int
    kl: Interval
    """KL(whole || changed) in nats per completion token."""
    floor: float
    """99th percentile of the KL of draws that change no function, from the same layer on: rounding."""
    exact_loss: Interval
    """Share of items lost by exact output; below 0 where some are won."""
    nats_loss: Interval
    """Log-probability of the completion lost, per item."""
    random_kl: float | None = None
    """Mean KL of random shifts as large as the update taken out; None where none was drawn."""
    excess: Interval | None = None
    """kl - random_kl, paired by item and adapter."""
    p: float | None = None
    """Error at which the KL exceeds a random shift's, over items and over draws, corrected by Holm over the unit."""
    attributed: float | None = None
    """First-order guess of nats_loss."""

    @property
    def below_resolution(self) -> bool:
        """Whether the KL could be rounding."""
        return self.kl.estimate <= self.floor

    @property
    def significant(self) -> bool:
        """Whether taking it out moves the model more than a random shift of its size, at 5 %."""
        return self.p is not None and self.p <= 0.05 and not self.below_resolution


class RoleEffect(Config):
    """KL of one ablation at the tokens of one role."""

    unit: str
    name: str
    how: How
    role: str
    """`section:trace`, `surface:step` or `tag:on_path`: of the token that is predicted."""
    kl: float
    """Nats per token of that role."""
    floor: float
    """99th percentile, over rescalings that change no function, of the KL at the same tokens."""
    n_tokens: int

    @property
    def below_resolution(self) -> bool:
        """Whether the KL could be rounding."""
        return self.kl <= self.floor


class Screen(Config):
    """How well first-order attribution foretells what single ablations cost."""

    n: int
    rank_correlation: float | None
    """Spearman's, between attributed and real loss in nats; None for fewer than three, or no variation."""
    share_of_top: float | None
    """Of the quarter of units that cost most, the share among the quarter attributed most."""


class ScreenCheck(Config):
    """Sites that a screen left out, drawn at random and taken out all the same: what it may have missed."""

    n_chosen: int
    """Sites that the screen ranked first."""
    n_left_out: int
    n_drawn: int
    """Of those left out."""
    costliest: str
    """The site among the drawn ones that costs most."""
    kl: float
    """What taking that one out costs."""
    n_cheaper: int
    """Chosen sites that cost less than it."""


class AblationReading(Config):
    """Everything that ablations say of one adapter, or of several trainings of it."""

    n_adapters: int
    n_items: int
    n_tokens: int
    """Completion tokens."""
    base: float
    """Exact output of the base, a share of items."""
    whole: float
    """Exact output of the whole adapter, mean over adapters."""
    ablations: tuple[Ablation, ...]
    roles: tuple[RoleEffect, ...]
    screen: Screen | None
    check: ScreenCheck | None = None
    """None where no screen left anything out."""
    missing: tuple[str, ...] = ()
    """What could not be measured, and why, in sentences."""
    wrong_steps: WrongSteps | None = None
    """Items on which exact output is out of reach; None where there are none."""

    def of(self, unit: str, how: How = "zero") -> tuple[Ablation, ...]:
        """The ablations of one unit."""
        return tuple(one for one in self.ablations if one.unit == unit and one.how == how)


class AblationSubject(Config):
    """What ablations are of. Two records that agree in all of this hold the same."""

    base_hash: str
    adapter_hashes: tuple[str, ...]
    items_hash: str
    roles_hash: str | None
    """None where the items have no roles."""
    most_sites: int | None
    """How many single sites a screen chose; None is all."""
    directions: bool
    """Whether single directions were taken out too."""
    seed: int
    """Of the random shifts."""


_SUBJECT_WORDS = {
    "base_hash": "base",
    "adapter_hashes": "adapter",
    "items_hash": "items",
    "roles_hash": "roles of the items",
    "most_sites": "screen",
    "directions": "choice about single directions",
    "seed": "seed",
}


class AblationRecord(Config):
    """A reading, and what it is of: what a page is made from."""

    study: str = "ablation"
    title: str
    base: str
    task: str
    adapters: tuple[str, ...]
    subject: AblationSubject
    reading: AblationReading
    reproduce: dict[str, str]
    provenance: dict[str, str]


def write_ablation(path: Path, record: AblationRecord) -> None:
    """Writes the record as JSON, atomically."""
    write_json(path, record.model_dump(mode="json"))


def read_ablation(path: Path) -> AblationRecord:
    """The record in a file. Raises BadFile when there is none, or it is no such record."""
    return read_record(path, AblationRecord, "ablations", "rankscope ablate --out FOLDER")


def check_subject(path: Path, found: AblationSubject, wanted: AblationSubject) -> None:
    """Raises BadInput when the record in a file is not of what is wanted; it is left as it is."""
    differ = [words for name, words in _SUBJECT_WORDS.items() if getattr(found, name) != getattr(wanted, name)]
    if differ:
        raise BadInput(
            f"{path} holds earlier ablations, which differ in {', '.join(differ)} and are not replaced. Choose another "
            "folder, or ask for what it holds."
        )
