"""Fieller's confidence set for a ratio of two means."""

from rankscope.base.errors import BadInput


def fieller(
    numerator: float,
    denominator: float,
    var_numerator: float,
    var_denominator: float,
    covariance: float,
    quantile: float,
) -> tuple[float | None, float | None]:
    """Ends of the confidence interval of numerator / denominator; (None, None) when it is unbounded.

    The variances and the covariance are those of the two means, `quantile` is the t (or normal) quantile of
    the level. The set is every ratio r at which |numerator - r * denominator| stays within quantile standard
    errors of 0; it is bounded only where the denominator itself differs from 0 by more than that.
    Source: Fieller 1954.
    """
    if min(var_numerator, var_denominator, quantile) < 0:
        raise BadInput(f"Variances and quantile must be >= 0, not {var_numerator}, {var_denominator}, {quantile}.")
    a = denominator**2 - quantile**2 * var_denominator
    b = numerator * denominator - quantile**2 * covariance
    c = numerator**2 - quantile**2 * var_numerator
    if a <= 0:
        return None, None
    root = max(b**2 - a * c, 0.0) ** 0.5
    return (b - root) / a, (b + root) / a
