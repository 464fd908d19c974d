"""What was read off adapters that exist already, by truncation: frozen and torch-free."""

from typing import Literal

from rankscope.base.config import Config
from rankscope.rank.records import FunctionalRank
from rankscope.stats.interval import Interval

ScoreName = Literal["exact_output", "nats"]
SMALL_LEAD = 0.1
"""Share of the gain: an order of directions that is ahead of chance by less than that is worth nothing."""


class ScoreReading(Config):
    """What one score says of one training, or of several that differ in their seed."""

    score: ScoreName
    n_items: int
    base: float
    """Mean score of the base."""
    reference: float
    """Mean score that gain is measured from: the base's, or chance where guessing is possible and better."""
    whole: tuple[float, ...]
    """Mean score of each whole adapter."""
    gain: tuple[Interval, ...]
    """Each adapter's gain, with its interval over items only."""
    functional: tuple[FunctionalRank, ...]
    """One for each q; its interval is over seeds, from five on. The truncation curve stands in the first."""
    over_items: tuple[tuple[Interval | None, ...], ...]
    """For each q, every adapter's functional rank with its interval over items only; None where there is no gain."""
    order_tells: bool | None
    """Whether the order by singular value is clearly ahead of chance: all of `order_lead` is above 0; None as there."""
    order_lead: Interval | None
    """How much more of the score directions of large singular value keep than random ones, as a mean over the cuts up
    to the functional rank, with its interval over items; None where no cut could show it."""

    @property
    def order_is_idle(self) -> bool:
        """Whether that order is shown to be worth little: even the upper end is below a tenth of the mean gain."""
        if self.order_lead is None or self.order_lead.high is None or not self.gains or self.order_tells:
            return False
        gain = sum(one.estimate for one in self.gain) / len(self.gain)
        return self.order_lead.high < SMALL_LEAD * gain

    @property
    def gains(self) -> bool:
        """Whether the median adapter has a gain by this score."""
        return not self.functional[0].no_gain

    @property
    def is_worse(self) -> bool:
        """Whether every adapter is clearly below the reference."""
        return all(gain.high is not None and gain.high < 0 for gain in self.gain)


class AdapterReading(Config):
    """Functional rank of one adapter on one task, or of several trainings of it; the primary score comes first."""

    nominal_rank: int
    """The largest over sites."""
    matrix_rank: int
    """Largest rank of an update as a matrix (singular values above rounding), over sites and adapters."""
    ks: tuple[int, ...]
    """Directions per site that were tried."""
    n_adapters: int
    n_items: int
    scores: tuple[ScoreReading, ...]

    @property
    def primary(self) -> ScoreReading:
        """Exact output, or the log-probability where only that shows a gain; -KL on planted skills."""
        return self.scores[0]

    @property
    def is_planted(self) -> bool:
        """Whether `nats` is -KL(teacher || model): on planted skills there is no output to be exact."""
        return all(score.score != "exact_output" for score in self.scores)
