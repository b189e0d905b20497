"""Logarithms of the chance that sources at random stand as those that are found."""

from __future__ import annotations

import math


def log_as_many(n: int, mean: float) -> float:
    """Return the log of a bound of the chance to see `n` or more where `mean` are expected.

    The tail of Poisson's distribution is below its first term over 1 - mean / n: twice that term
    where `mean`, above 0, is below half of `n`.
    """
    return n * math.log(mean) - mean - math.lgamma(n + 1.0) + math.log(2.0)


def log_choices(n: int, k: int) -> float:
    """Return the log of the number of ways to choose `k` of `n`."""
    return math.lgamma(n + 1.0) - math.lgamma(k + 1.0) - math.lgamma(n - k + 1.0)
