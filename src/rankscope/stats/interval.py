"""An estimate with its interval, as every reported number carries it."""

from pydantic import PositiveInt

from rankscope.base.config import Config


class Interval(Config):
    """A point estimate with a two-sided interval; ends are None where a side is unbounded or refused."""

    estimate: float
    low: float | None
    high: float | None
    level: float = 0.95
    """Two-sided confidence level."""
    method: str
    """How it was made, such as `crossed t, 5 seeds x 500 items`."""
    n_seeds: PositiveInt
    n_items: PositiveInt
    by_seed: tuple[float, ...] = ()
    """One value per seed, in seed order; what is shown as points when seeds are few."""
