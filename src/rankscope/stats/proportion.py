"""Intervals for a share of independent items."""

from scipy import stats

from rankscope.base.errors import BadInput


def _check_counts(n_right: int, n: int) -> None:
    if n < 1 or not 0 <= n_right <= n:
        raise BadInput(f"A share needs 0 <= n_right <= n and n >= 1, not {n_right} of {n}.")


def wilson(n_right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval, close to its level on average over shares.

    Source: Wilson 1927; recommended by Brown, Cai and DasGupta 2001.
    """
    _check_counts(n_right, n)
    z = float(stats.norm.ppf((1 + level) / 2))
    share = n_right / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def clopper_pearson(n_right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial interval, never below its level.

    Source: Clopper and Pearson 1934.
    """
    _check_counts(n_right, n)
    tail = (1 - level) / 2
    low = 0.0 if n_right == 0 else float(stats.beta.ppf(tail, n_right, n - n_right + 1))
    high = 1.0 if n_right == n else float(stats.beta.ppf(1 - tail, n_right + 1, n - n_right))
    return low, high
