"""Weighted straight fits to what stars show, some of which is not theirs."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.noise import median
from skyextract.kernels.values import MAD_TO_SIGMA

_ROUNDS = 3


def solve(terms: F8, values: F8, sigma: F8) -> F8:
    """Weighted least squares."""
    solution = np.linalg.lstsq(terms / sigma[:, None], values / sigma, rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)


def clip(residuals: F8, sigma: F8) -> Bools:
    """Values within 3 sigma of the median; sigma at least what the scatter says."""
    good = np.ones(len(residuals), dtype=bool)
    for _ in range(10):
        middle = median(residuals[good])
        normalised = (residuals - middle) / sigma
        width = MAD_TO_SIGMA * median(np.abs(normalised[good]))
        before, good = good, np.abs(normalised) <= 3 * max(width, 1.0)
        if np.array_equal(before, good):
            break
    return good


def clipped_fit(terms: F8, values: F8, sigma: F8) -> tuple[F8, F8, F8, Bools]:
    """Coefficients, residuals, errors with what is beyond the noise, and which values are good."""
    total = sigma
    for _ in range(_ROUNDS):
        good = clip(values, total)
        for _ in range(10):
            coefficients = solve(terms[good], values[good], total[good])
            residuals = values - terms @ coefficients
            before, good = good, clip(residuals, total)
            if np.array_equal(before, good) or good.sum() <= terms.shape[1]:
                break
        total = np.hypot(sigma, _beyond_noise(residuals[good], sigma[good], terms.shape[1]))
    return coefficients, residuals, total, good


def straight_line(x: F8, values: F8, sigma: F8) -> tuple[float, float, float]:
    """Return constant and slope of a clipped fit, and the error of the slope."""
    terms = np.stack([np.ones(len(x)), x], axis=1)
    (constant, slope), _, total, good = clipped_fit(terms, values, sigma)
    normal = terms[good].T @ (terms[good] / total[good, None] ** 2)
    determinant = normal[0, 0] * normal[1, 1] - normal[0, 1] ** 2
    error = math.sqrt(normal[0, 0] / determinant) if determinant > 0.0 else math.inf
    return float(constant), float(slope), error


def _beyond_noise(residuals: F8, sigma: F8, n_terms: int) -> float:
    """Return the scatter of residuals that their errors do not explain."""
    weights = sigma**-2.0
    if not weights.sum() > 0.0:
        return 0.0
    free = weights.sum() - float(np.sum(weights**2)) / weights.sum()
    excess = float(weights @ residuals**2) - (len(residuals) - n_terms)
    return math.sqrt(max(excess / free, 0.0)) if free > 0.0 else 0.0


def mean_of_stars(terms: F8, values: F8, sigma: F8) -> tuple[F8, float, float, int]:
    """Return coefficients of a clipped fit, error of the mean, scatter, number of stars.

    Light of neighbours that were not found is in some of the apertures: what the stars scatter by
    beyond their noise (R. DerSimonian & N. Laird 1986) keeps the brightest one from ruling.
    """
    if len(values) < terms.shape[1]:
        return np.full(terms.shape[1], np.nan), math.nan, math.nan, 0
    coefficients, residuals, total, good = clipped_fit(terms, values, sigma)
    weights = 1.0 / total[good] ** 2
    expected = float(1.0 / math.sqrt(weights.sum()))
    # Few stars that rule can agree by chance.
    effective = float(weights.sum() ** 2 / np.sum(weights**2))
    unsure = math.sqrt(effective / max(effective - 1.0, 0.5))
    scatter = float(MAD_TO_SIGMA * median(np.abs(residuals[good])))
    return coefficients, expected * unsure, scatter, int(good.sum())


def constant_term(
    terms: F8, values: F8, sigma: F8, expected: tuple[float, float]
) -> tuple[float, float]:
    """Return the coefficient of the first of two columns of a clipped fit, and its error.

    The second coefficient is expected with an error, so that equal stars tell something, too.
    """
    terms = np.append(terms, [[0.0, 1.0]], axis=0)
    values, sigma = np.append(values, expected[0]), np.append(sigma, expected[1])
    coefficients, _, total, good = clipped_fit(terms, values, sigma)
    normal = terms[good].T @ (terms[good] / total[good, None] ** 2)
    if not np.linalg.det(normal) > 0.0:
        return math.nan, math.nan
    return float(coefficients[0]), math.sqrt(float(np.linalg.inv(normal)[0, 0]))
