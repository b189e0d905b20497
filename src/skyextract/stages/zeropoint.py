"""The zero point of matched stars: a likelihood with outliers and intrinsic scatter.

Each star gives y = reference magnitude + 2.5 log10(flux).  Good stars scatter about the zero
point by their own errors and an intrinsic scatter common to all; the rest (variable, blended,
falsely matched) come from a broad distribution of its own.  Maximum likelihood by the EM
algorithm, then the zero point's distribution after the intrinsic scatter and the fraction of
outliers are integrated out: D. W. Hogg, J. Bovy & D. Lang 2010, arXiv:1008.4686, sect. 3;
W. H. Press 1997, in Unsolved Problems in Astrophysics (astro-ph/9604126).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_ERROR = 1e-3
"""No single magnitude is better known than this."""
NO_SCATTER = 0.35
"""Probability, before the stars are seen, that their errors tell all of their scatter."""
LIKELY_SCATTER = 3.0
"""Else half of the probability is below so many times the stars' typical error."""
_SCATTERS = np.concatenate([[0.0], np.geomspace(5e-4, 1.0, 60)])
_STEPS = 200
_SIDE = 30
"""Steps of the zero point's distribution on either side."""
_ODDS = np.array([0.5, 0.75, 1.0, 1.33, 2.0])
_BROAD = 4.0
"""Outliers are spread at least this much wider than good stars..."""
_BROAD_MAG = 0.1
"""... and at least by this, mag."""


@dataclass(frozen=True)
class ZeroPointFit:
    """A zero point and what was fitted with it.

    Attributes
    ----------
    zero_point, error : float
        Magnitudes; the standard deviation of its distribution.  Ten stars cannot tell whether
        there is an intrinsic scatter: the error then is up to a quarter too large where there
        is none, and as much too small where it is large.
    slopes, slope_errors : (p,) float64
        Coefficients of the columns of `design`, each taken from its mean over the good stars.
    means : (p,) float64
        Those means.
    intrinsic : float
        Scatter of the good stars that their errors do not explain, mag.
    scatter : float
        1.48 MAD of the good stars' residuals, mag.
    outlier_fraction : float
        Of the stars given.
    good : (n,) float64
        Probability that the star is a good one.
    residuals : (n,) float64
        y minus the model, mag.
    """

    zero_point: float
    error: float
    slopes: Floats
    slope_errors: Floats
    means: Floats
    intrinsic: float
    scatter: float
    outlier_fraction: float
    good: Floats
    residuals: Floats


def robust_sigma(values: Floats) -> float:
    """Return 1.48 times the median absolute deviation; NaN of nothing."""
    if not len(values):
        return math.nan
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def shortest_half(values: Floats) -> tuple[float, float]:
    """Return centre and length of the shortest interval that holds half of the values.

    It stays with the majority even where the others all lie on one side
    (Rousseeuw 1984, J. Am. Stat. Assoc. 79, 871).
    """
    ordered = np.sort(values)
    half = len(ordered) // 2 + 1
    lengths = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
    first = int(np.argmin(lengths))
    return float(np.median(ordered[first : first + half])), float(lengths[first])


def fit_zero_point(y: Floats, errors: Floats, design: Floats | None = None) -> ZeroPointFit:
    """Fit a zero point, and slopes on further columns, to stars with outliers among them.

    Parameters
    ----------
    y : (n,) float64
        Reference magnitude + 2.5 log10(flux), finite; n at least 3.
    errors : (n,) float64
        Standard errors, finite.
    design : (n, p) float64, optional
        Further columns: colour, powers of position.

    Raises
    ------
    ValueError
        Fewer than 3 + p stars.
    """
    n = len(y)
    design = np.zeros((n, 0)) if design is None else design
    p = design.shape[1]
    if n < 3 + p:
        raise ValueError(f"{n} stars are too few for {1 + p} coefficients")
    e2 = np.maximum(errors, LEAST_ERROR) ** 2
    centre, length = shortest_half(y)
    intrinsic = max(length / 1.35, math.sqrt(float(np.median(e2))))
    slopes: Floats = np.zeros(p)
    means: Floats = np.zeros(p)
    covariance: Floats = np.zeros((p, p))
    normal: Floats
    outliers = _Outliers(centre, max(float(np.std(y)), 0.5), 0.2)
    good = np.ones(n)
    model = np.full(n, centre)
    for _ in range(_STEPS):
        before = centre
        good = outliers.probability_good(y, model, e2 + intrinsic**2)
        weight = good / (e2 + intrinsic**2)
        total = float(weight.sum())
        if good.sum() < 1.0:
            break  # no two stars agree: the caller sees it in `good`
        means = np.asarray(weight @ design / total, dtype=np.float64)
        centred = design - means
        centre = float(weight @ (y - centred @ slopes) / total)
        if p:
            normal = (centred * weight[:, None]).T @ centred
            normal += np.eye(p) * (1e-9 * max(float(np.trace(normal)), 1e-6 * total))
            covariance = np.asarray(np.linalg.inv(normal), dtype=np.float64)
            slopes = covariance @ (centred.T @ (weight * (y - centre)))
        model = centre + centred @ slopes
        intrinsic = _intrinsic(y - model, e2, good, p)
        outliers = outliers.refit(y, good, e2 + intrinsic**2)
        if abs(centre - before) < 1e-7:
            break
    residuals = y - model
    mean, error = _marginal(residuals, e2, intrinsic, outliers, centre, p)
    kept = good > 0.5
    return ZeroPointFit(
        zero_point=centre + mean,
        error=error,
        slopes=slopes,
        slope_errors=np.sqrt(np.diag(covariance)),
        means=means,
        intrinsic=intrinsic,
        scatter=robust_sigma(residuals[kept] - mean),
        outlier_fraction=float(1.0 - good.mean()),
        good=good,
        residuals=residuals - mean,
    )


def _normal(r: Floats, variance: Floats | float) -> Floats:
    density: Floats = np.exp(-0.5 * r**2 / variance) / np.sqrt(2.0 * np.pi * variance)
    return density


@dataclass(frozen=True)
class _Outliers:
    """The broad distribution and the fraction of stars that belong to it."""

    centre: float
    width: float
    fraction: float

    def density(self, y: Floats) -> Floats:
        return _normal(y - self.centre, self.width**2) + 1e-12

    def probability_good(self, y: Floats, model: Floats, variance: Floats) -> Floats:
        inside = (1.0 - self.fraction) * _normal(y - model, variance)
        probability: Floats = inside / (inside + self.fraction * self.density(y))
        return probability

    def refit(self, y: Floats, good: Floats, variance: Floats) -> _Outliers:
        """Return the distribution of the stars that are not good (a weak prior keeps it broad)."""
        bad = 1.0 - good
        total = float(bad.sum())
        fraction = (total + 0.2) / (len(y) + 1.0)
        if total < 1.0:
            return _Outliers(self.centre, self.width, fraction)
        centre = float(bad @ y / total)
        width = math.sqrt(float(bad @ (y - centre) ** 2 + 0.25) / (total + 1.0))
        least = max(_BROAD * math.sqrt(float(np.median(variance))), _BROAD_MAG)
        return _Outliers(centre, max(width, least), fraction)


def _intrinsic(residuals: Floats, e2: Floats, good: Floats, p: int) -> float:
    """Return the intrinsic scatter of highest likelihood, for 1 + p fitted coefficients."""
    variance = e2[None] + _SCATTERS[:, None] ** 2
    total = max(float(good.sum()), 1.0)
    lost = min((1.0 + p) / total, 0.9)
    log_likelihood = -0.5 * (residuals**2 / variance + (1.0 - lost) * np.log(variance)) @ good
    return float(_SCATTERS[int(np.argmax(log_likelihood))])


def _marginal(
    residuals: Floats, e2: Floats, intrinsic: float, outliers: _Outliers, centre: float, p: int
) -> tuple[float, float]:
    """Return mean and standard deviation of the zero point about its most likely value."""
    n = len(residuals)
    # A common error that tells as much as all of them.
    typical = 1.0 / math.sqrt(float(np.mean(1.0 / e2)))
    scale = math.hypot(intrinsic, typical)
    scatters = np.concatenate([[0.0], np.geomspace(0.05 * typical, 8.0 * scale, 28)])
    # Prior of the scatter: perhaps none, else of the order of the errors with a long tail.
    # Its two numbers matter for few stars only, and are set so that errors come out true
    # without any scatter as well as with it.
    unit = LIKELY_SCATTER * typical
    prior = (1.0 - NO_SCATTER) * np.gradient(scatters) * unit / (scatters + unit) ** 2
    prior[0] = NO_SCATTER
    broad = outliers.density(residuals + centre)
    odds = outliers.fraction / (1.0 - outliers.fraction) * _ODDS
    fractions = odds / (1.0 + odds)
    shifts: Floats
    step = 8.0 * scale / math.sqrt(max((1.0 - outliers.fraction) * n, 1.0)) / _SIDE
    for _ in range(6):
        shifts = np.arange(-_SIDE, _SIDE + 1, dtype=np.float64) * step
        density = _density(residuals, e2, shifts, scatters, prior, broad, fractions)
        if p:
            density **= (n - p) / n
        density /= density.sum()
        mean = float(density @ shifts)
        error = math.sqrt(float(density @ (shifts - mean) ** 2))
        if density[0] + density[-1] > 1e-4:
            step *= 2.0
        elif error < 2.0 * step:
            step *= 0.5
        else:
            break
    return mean, error


def _density(
    residuals: Floats, e2: Floats, shifts: Floats, scatters: Floats, prior: Floats,
    broad: Floats, fractions: Floats,
) -> Floats:  # fmt: skip
    """Return the zero point's distribution at the shifts, up to a factor."""
    variance = e2[None, :] + scatters[:, None] ** 2
    norm = 1.0 / np.sqrt(2.0 * np.pi * variance)
    logs = np.empty((len(shifts), len(scatters), len(fractions)))
    for k, shift in enumerate(shifts):
        inside = norm * np.exp(-0.5 * (residuals - shift) ** 2 / variance)
        for f, fraction in enumerate(fractions):
            logs[k, :, f] = np.log((1.0 - fraction) * inside + fraction * broad).sum(axis=1)
    logs += np.log(prior)[None, :, None]
    density: Floats = np.exp(logs - logs.max()).sum(axis=(1, 2))
    return density
