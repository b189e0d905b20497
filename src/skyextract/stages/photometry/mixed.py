"""Two zero points among stars that stand side by side: a reference made of two surveys.

A fit between both groups has no outliers but a scatter, which passes for that of the stars.  Two
normal distributions of one width beyond the errors describe the residuals far better then than
one does (expectation and maximisation: Dempster, Laird & Rubin 1977, JRSS B 39, 1).
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.noise import median
from skyextract.record import record

MIN_SCATTER = 0.015
"""Scatter beyond the errors, mag, where groups are looked for..."""
SHARP, MIN_STARS = 0.6, 15
"""... by so many stars with errors below this part of it."""
MIN_SHARE = 0.2
"""Share of the stars in the smaller group, at least..."""
APART = 3.0
"""... and how far apart both are, in units of the width of each: skewed distributions have less."""
SURE = 12.0
"""How much twice the logarithm of the likelihood must gain beyond the criterion of Schwarz (1978)
for two parameters more: of single distributions fewer than 1 in 1000 do."""
_ROUNDS = 60
_STARTS = (0.3, 0.5, 0.7)
_MOST = 500


@record
class Mixture:
    """Two groups of stars.

    Attributes
    ----------
    apart : float
        Of the larger from the smaller group, mag; 0 where there are no two.
    share : float
        Of the smaller one.
    """

    apart: float = 0.0
    share: float = 0.0


def two_zero_points(residuals: F8, errors: F8, intrinsic: float) -> Mixture:
    """Find two groups of residuals.

    Parameters
    ----------
    residuals, errors : (n,) float64
        Of stars that are no outliers, mag.
    intrinsic : float
        Scatter beyond the errors.
    """
    sharp = np.flatnonzero(errors < SHARP * intrinsic)
    if sharp.size < MIN_STARS or intrinsic < MIN_SCATTER:
        return Mixture()
    some = sharp[:: max(1, sharp.size // _MOST)]
    values, square = residuals[some], errors[some] ** 2
    total = square + intrinsic**2
    middle = float(np.average(values, weights=1.0 / total))
    single = _log_normal(values, middle, total).sum()
    best, found = -math.inf, Mixture()
    for start in _STARTS:
        likelihood, mixture = _two(values, square, intrinsic, start)
        if likelihood > best:
            best, found = likelihood, mixture
    gain = 2.0 * (best - single) - 2.0 * math.log(values.size)
    return found if gain > SURE else Mixture()


def _two(values: F8, square: F8, intrinsic: float, start: float) -> tuple[float, Mixture]:
    """Return likelihood and groups of what begins with the lowest share of the values apart."""
    edge = np.quantile(values, start)
    second = (values > edge).astype(np.float64)
    width2 = (0.3 * intrinsic) ** 2
    means, share, likelihood = np.zeros(2), 0.5, -math.inf
    for _ in range(_ROUNDS):
        total = square + width2
        weight = np.stack([1.0 - second, second]) / total
        means = (weight @ values) / np.maximum(weight.sum(axis=1), 1e-30)
        share = min(max(float(second.mean()), 1e-3), 1.0 - 1e-3)
        logs = np.stack([_log_normal(values, mean, total) for mean in means])
        logs += np.log([[1.0 - share], [share]])
        whole = np.logaddexp(*logs)
        second = np.exp(logs[1] - whole)
        before, likelihood = likelihood, float(whole.sum())
        off = (1.0 - second) * (values - means[0]) ** 2 + second * (values - means[1]) ** 2
        # One width beyond the errors; with the weights of the present one this converges.
        width2 = max(float(np.sum((off - square) / total**2) / np.sum(total**-2.0)), 0.0)
        if abs(likelihood - before) < 1e-4:
            break
    width = math.sqrt(width2 + median(square))
    apart = float(means[0] - means[1]) if share < 0.5 else float(means[1] - means[0])
    smaller = min(share, 1.0 - share)
    if smaller < MIN_SHARE or abs(apart) < APART * width:
        return -math.inf, Mixture()
    return likelihood, Mixture(apart, smaller)


def _log_normal(values: F8, mean: float, variance: F8) -> F8:
    out: F8 = -0.5 * ((values - mean) ** 2 / variance + np.log(2.0 * math.pi * variance))
    return out
