"""The zero point of matched stars: a likelihood with outliers, an error from the scatter seen.

Each star gives y = reference magnitude + 2.5 log10(flux).  Good stars scatter about the zero
point by their own errors and an intrinsic scatter common to all; the rest (variable, blended,
falsely matched) come from a broad distribution of their own (D. W. Hogg, J. Bovy & D. Lang 2010,
arXiv:1008.4686, sect. 3; W. H. Press 1997, astro-ph/9604126).  For each of some trial scatters
the EM algorithm finds the zero point, and the fits are averaged with their evidence (J. A.
Hoeting et al. 1999, Statist. Sci. 14, 382).

Few stars cannot tell whether there is an intrinsic scatter, and a few with small errors would
rule where it is taken for none.  So the error of each fit comes from the residuals, not from the
errors that are quoted (the sandwich of P. J. Huber 1967; corrected for the stars' own pull on
the fit as HC2 of J. G. MacKinnon & H. White 1985, J. Econometrics 29, 305), and no star counts
much more than a typical one.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.noise import median, medians, robust_sigma
from skyextract.record import record

MIN_STARS = 5
"""Fewer make no zero point."""
MIN_ERROR = 1e-3
"""No single magnitude is better known than this."""
MAX_WEIGHT = 3.0
"""No star counts more than so many with the median error: of the few that would, the error of
the zero point could not be told."""
MAX_SCATTER = 1.0
"""Largest intrinsic scatter that is tried, mag."""
_TRIALS = 12
"""Eight give the same widths of (zero point - truth) / error."""
_STEPS = 200
_CLOSE = 1e-3
"""Iterations end where they change the zero point by less than this part of its error."""
_BROAD = 4.0
"""Outliers are spread at least this much wider than good stars..."""
_BROAD_MAG = 0.1
"""... and at least by this, mag."""
_PRIOR_BAD, _PRIOR_GOOD = 0.2, 0.8
"""Stars that the fraction of outliers rests on before any is seen."""
_MIN_KEPT = 0.2
"""Least part of the weight that doubtful stars leave."""


@record
class ZeroPointFit:
    """A zero point and what was fitted with it.

    Attributes
    ----------
    zero_point, error : float
        Magnitudes; for stars with the mean of each column of `design`.
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
    slopes: F8
    slope_errors: F8
    means: F8
    intrinsic: float
    scatter: float
    outlier_fraction: float
    good: F8
    residuals: F8


def shortest_half(values: F8) -> tuple[float, float]:
    """Return centre and length of the shortest interval that holds half of the values.

    It stays with the majority even where the others all lie on one side
    (Rousseeuw 1984, J. Am. Stat. Assoc. 79, 871).
    """
    ordered = np.sort(values)
    half = len(ordered) // 2 + 1
    lengths = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
    first = int(np.argmin(lengths))
    return median(ordered[first : first + half]), float(lengths[first])


def fit_zero_point(y: F8, errors: F8, design: F8 | None = None) -> ZeroPointFit:
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
    e2 = np.maximum(errors, MIN_ERROR) ** 2
    centre, length = shortest_half(y)
    middle = design.mean(axis=0)
    columns = np.column_stack([np.ones(n), design - middle])
    seen = max(length / 1.35, math.sqrt(median(e2)))
    scatters = _trial_scatters(e2, seen)
    trials = _iterate(y - centre, e2, columns, scatters)

    # Any scatter up to twice the one seen is as likely as another before the fit.
    share = np.gradient(scatters) * np.exp(trials.evidence - trials.evidence.max())
    share /= share.sum()
    coefficients = share @ trials.coefficients
    off = trials.coefficients - coefficients
    covariance = np.tensordot(share, trials.covariance + off[:, :, None] * off[:, None, :], 1)
    good = share @ trials.good
    weight = share @ trials.weight
    means = np.asarray(weight @ design / max(float(weight.sum()), 1e-300), dtype=np.float64)
    at_means = np.concatenate([[1.0], means - middle])
    residuals = y - centre - columns @ coefficients
    return ZeroPointFit(
        zero_point=centre + float(at_means @ coefficients),
        error=math.sqrt(float(at_means @ covariance @ at_means)),
        slopes=coefficients[1:],
        slope_errors=np.sqrt(np.diag(covariance)[1:]),
        means=means,
        intrinsic=_intrinsic(residuals, e2, good, scatters, p),
        scatter=robust_sigma(residuals[good > 0.5]),
        outlier_fraction=float(1.0 - good.mean()),
        good=good,
        residuals=residuals,
    )


def _trial_scatters(e2: F8, seen: float) -> F8:
    """Return none and a geometric series up to twice the scatter seen."""
    least = 0.2 / math.sqrt(float(np.mean(1.0 / e2)))
    most = min(2.0 * seen, MAX_SCATTER)
    return np.concatenate([[0.0], np.geomspace(min(least, 0.5 * most), most, _TRIALS - 1)])


@record
class _Trials:
    """Fits of q coefficients to n stars, with t trial scatters."""

    coefficients: F8
    covariance: F8
    good: F8
    weight: F8
    evidence: F8
    """Logarithm of the probability of the data, (t,)."""


@record
class _Outliers:
    """Per trial, as columns: the broad distribution, and the part of the stars it holds."""

    mean: F8
    width: F8
    fraction: F8

    def density(self, y: F8) -> F8:
        return self.fraction * (_normal((y - self.mean) ** 2, self.width**2) + 1e-12)

    def refit(self, y: F8, good: F8, variance: F8) -> _Outliers:
        """Return the distribution of the stars that are not good (a weak prior keeps it broad)."""
        bad = 1.0 - good
        total = bad.sum(axis=1, keepdims=True)
        fraction = (total + _PRIOR_BAD) / (len(y) + _PRIOR_BAD + _PRIOR_GOOD)
        mean = (bad @ y)[:, None] / np.maximum(total, 1.0)
        squares = (bad * (y - mean) ** 2).sum(axis=1, keepdims=True)
        width = np.sqrt((squares + 0.25) / (total + 1.0))
        least = np.maximum(_BROAD * np.sqrt(medians(variance)), _BROAD_MAG)[:, None]
        some = total >= 1.0
        return _Outliers(
            np.where(some, mean, self.mean),
            np.where(some, np.maximum(width, least), self.width),
            fraction,
        )


def _normal(squares: F8, variance: F8) -> F8:
    density: F8 = np.exp(-0.5 * squares / variance) / np.sqrt(2.0 * np.pi * variance)
    return density


def _iterate(y: F8, e2: F8, columns: F8, scatters: F8) -> _Trials:
    """Fit with each of the scatters."""
    t, q = len(scatters), columns.shape[1]
    variance = e2 + scatters[:, None] ** 2
    single = 1.0 / (variance + median(e2) / (MAX_WEIGHT - 1.0))
    # A prior of 1 mag keeps every coefficient defined.
    unit = np.eye(q)
    coefficients: F8 = np.zeros((t, q))
    wide = max(float(np.std(y)), 0.5)
    outliers = _Outliers(np.zeros((t, 1)), np.full((t, 1), wide), np.full((t, 1), 0.2))
    squares: F8 = np.broadcast_to(y**2, (t, len(y)))
    normal: F8
    for _ in range(_STEPS):
        inside = (1.0 - outliers.fraction) * _normal(squares, variance)
        both = inside + outliers.density(y)
        good = inside / both
        weight = good * single
        normal = columns.T @ (weight[:, :, None] * columns) + unit
        before = coefficients
        solved = np.linalg.solve(normal, ((weight * y) @ columns)[:, :, None])
        coefficients = np.asarray(solved[:, :, 0], dtype=np.float64)
        squares = (y - coefficients @ columns.T) ** 2
        fraction = outliers.fraction[:, 0]
        outliers = outliers.refit(y, good, variance)
        change = normal[:, 0, 0] * (coefficients - before)[:, 0] ** 2
        if change.max() < _CLOSE**2:
            break
    volume = columns.T @ ((good / variance)[:, :, None] * columns) + unit
    evidence = (
        np.log(both).sum(axis=1)
        - 0.5 * np.linalg.slogdet(volume)[1]
        + _PRIOR_BAD * np.log(fraction)
        + _PRIOR_GOOD * np.log(1.0 - fraction)
    )
    covariance = _covariance(squares, variance, good, single, columns, normal)
    return _Trials(coefficients, covariance, good, weight, evidence)


def _covariance(
    squares: F8, variance: F8, good: F8, single: F8, columns: F8,
    normal: F8,
) -> F8:  # fmt: skip
    """Return the coefficients' covariance from the residuals, (t, q, q)."""
    q = columns.shape[1]
    weight = good * single
    inverse = np.linalg.inv(normal)
    pull = np.minimum(weight * ((columns @ inverse) * columns).sum(axis=2), 0.9)
    # The less a star tells the more it may be an outlier: the rest of the second derivative.
    doubt = (weight * (1.0 - good) * squares / variance).sum(axis=1)
    kept = 1.0 - doubt / np.maximum(weight.sum(axis=1), 1.0)
    kept = np.maximum(kept, _MIN_KEPT)[:, None]
    # Few residuals can be small by accident, hence one star more with what is expected of it.
    free = np.maximum(good.sum(axis=1, keepdims=True) - q, 1.0)
    expected = good * single**2 * variance / kept
    found = weight**2 * squares / (1.0 - pull) / kept**2
    each = found + expected / free
    meat = columns.T @ (each[:, :, None] * columns) + np.eye(q)
    result: F8 = inverse @ meat @ inverse
    return result


def _intrinsic(residuals: F8, e2: F8, good: F8, scatters: F8, p: int) -> float:
    """Return the scatter for which the good stars' chi square is their degrees of freedom."""
    chi2 = (residuals**2 / (e2 + scatters[:, None] ** 2)) @ good
    return float(np.interp(good.sum() - 1.0 - p, chi2[::-1], scatters[::-1]))
