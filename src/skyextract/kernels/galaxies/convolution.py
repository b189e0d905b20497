"""A profile seen through the PSF, in as few Gaussians as may be told apart.

Covariances of a Gaussian of the profile and of one of the PSF add up.  Where one of both decides,
others that differ little from each other are drawn as one of the same light and mean covariance:
narrow ones of the profile seen through each of the PSF, wide ones through all of the PSF.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.sersic import N_GAUSSIANS
from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8

LANES = 8
"""Gaussians whose numbers stand side by side, as in the lanes of registers: work space is `WIDTH`
numbers for each, of `LANES` of them first the weights, then the variances before the ellipse of the
profile, derivatives to ln n of the logarithms of both, centres and covariances of the PSF, and
`TABLE` others that follow from these for a grid."""
TERM, TABLE = 9, 22
WIDTH = TERM + TABLE
WEIGHT, VARIANCE, BY_WEIGHT, BY_VARIANCE, DX, DY, XX, XY, YY = (
    np.uint64(row * LANES) for row in range(TERM)
)

_LEAST_AREA = 0.1
"""Of all of the PSF, in square pixels: what is smaller is no ellipse."""


@helper
def with_whole(gaussians: F8, out: F8) -> None:
    """Write Gaussians, and behind them one with the first and second moments of all.

    Parameters
    ----------
    gaussians : (j, 6) float64
        Weight, centre x, y and covariance xx, xy, yy.
    out : (j + 1, 6) float64
    """
    n = gaussians.shape[0]
    out[n] = 0.0
    for j in range(n):
        out[j] = gaussians[j]
        out[n, 0] += gaussians[j, 0]
        for i in range(1, 3):
            out[n, i] += gaussians[j, 0] * gaussians[j, i]
    for i in range(1, 3):
        out[n, i] /= out[n, 0]
    for j in range(n):
        dx, dy = gaussians[j, 1] - out[n, 1], gaussians[j, 2] - out[n, 2]
        share = gaussians[j, 0] / out[n, 0]
        out[n, 3] += share * (gaussians[j, 3] + dx * dx)
        out[n, 4] += share * (gaussians[j, 4] + dx * dy)
        out[n, 5] += share * (gaussians[j, 5] + dy * dy)


@helper
def group_gaussians(mixture: F8, shape: F8, psf: F8, most: float, ends: I8) -> int:
    """Find which Gaussians are drawn as one.

    Parameters
    ----------
    mixture : (4, N_GAUSSIANS) float64
        As `sersic_mixture` writes it.
    shape : (3,) float64
        xx, xy, yy of an ellipse of unit variance, in square pixels.
    psf : (j + 1, 6) float64
        As `with_whole` writes it.
    most : float
        Change of the light per pixel, of unit flux, that is allowed for each group as small as the
        PSF; of larger ones the sum of squares over all pixels may be no more.
    ends : (j + 1, N_GAUSSIANS) int64
        Written: the first Gaussian of the profile behind each group that is seen through one of
        the PSF.

    Returns
    -------
    int
        The first Gaussian of the profile that is seen through all of the PSF as one.
    """
    whole = psf.shape[0] - 1
    middle, difference = 0.5 * (shape[0] + shape[2]), 0.5 * (shape[0] - shape[2])
    stretch = math.hypot(difference, shape[1])
    narrowest, widest = middle - stretch, middle + stretch
    split = N_GAUSSIANS
    area = psf[whole, 3] * psf[whole, 5] - psf[whole, 4] ** 2
    growth = math.sqrt(narrowest * widest / max(area, _LEAST_AREA * _LEAST_AREA))
    if whole > 1 and area > _LEAST_AREA * _LEAST_AREA:
        while split > 0:
            change = _change_by_psf(mixture, split - 1, shape, psf)
            if change * math.sqrt(1.0 + growth * mixture[1, split - 1]) > most:
                break
            split -= 1
    for j in range(whole + 1):
        first, end = (split, N_GAUSSIANS) if j == whole else (0, split)
        own = abs(psf[j, 0]) / (2.0 * math.pi)
        area = math.sqrt(max(psf[j, 3] * psf[j, 5] - psf[j, 4] ** 2, 0.0))
        count, weight, mean, square = 0, 0.0, 0.0, 0.0
        for k in range(first, end):
            w, s = mixture[0, k], mixture[1, k]
            weight, mean, square = weight + w, mean + w * s, square + w * s * s
            # variances that scatter by d about v change the peak by d**2 / v**2
            scatter = max(square - mean * mean / weight, 0.0) * widest * widest
            seen = area + mean / weight * narrowest
            change = own * scatter / (seen * seen * seen)
            if change * math.sqrt(1.0 + growth * mean / weight) > most:
                ends[j, count] = k
                count += 1
                weight, mean, square = w, w * s, w * s * s
        if end > first:
            ends[j, count] = end
    return split


@helper
def _change_by_psf(mixture: F8, k: int, shape: F8, psf: F8) -> float:
    """Return by how much the light changes if a Gaussian is seen through all of the PSF as one.

    Second order in covariances, third in positions.
    """
    whole, s = psf.shape[0] - 1, mixture[1, k]
    xx, xy = s * shape[0] + psf[whole, 3], s * shape[1] + psf[whole, 4]
    yy = s * shape[2] + psf[whole, 5]
    determinant = xx * yy - xy * xy
    a, b, c = yy / determinant, -xy / determinant, xx / determinant
    change = 0.0
    for j in range(whole):
        dx, dy = psf[j, 1] - psf[whole, 1], psf[j, 2] - psf[whole, 2]
        own_xx = psf[j, 3] + dx * dx - psf[whole, 3]
        own_xy = psf[j, 4] + dx * dy - psf[whole, 4]
        own_yy = psf[j, 5] + dy * dy - psf[whole, 5]
        # the inverse covariance times what differs
        left, right = a * own_xx + b * own_xy, b * own_xy + c * own_yy
        above, below = a * own_xy + b * own_yy, b * own_xx + c * own_xy
        square = left * left + right * right + 2.0 * above * below
        shift2 = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
        odd = math.sqrt(shift2) * (shift2 + 3.0 * math.sqrt(max(square, 0.0)))
        change += abs(psf[j, 0]) * (
            0.125 * (left + right) ** 2 + 0.25 * max(square, 0.0) + 0.25 * odd
        )
    peak: float = mixture[0, k] / (2.0 * math.pi * math.sqrt(determinant))
    return peak * change


@helper
def convolve(mixture: F8, psf: F8, split: int, ends: I8, terms: F8) -> int:
    """Write the Gaussians of a profile seen through the PSF.

    Parameters
    ----------
    mixture : (4, N_GAUSSIANS) float64
        As `sersic_mixture` writes it.
    psf : (j + 1, 6) float64
        As `with_whole` writes it.
    split, ends
        As from `group_gaussians`.
    terms : (>= j * N_GAUSSIANS * WIDTH,) float64
        Written, and the last one again up to a multiple of `LANES`.

    Returns
    -------
    int
        Number of Gaussians.
    """
    n, whole = 0, psf.shape[0] - 1
    for j in range(whole + 1):
        first, end = (split, N_GAUSSIANS) if j == whole else (0, split)
        count = 0
        while first < end:
            weight, variance, by_weight, by_variance = 0.0, 0.0, 0.0, 0.0
            for k in range(first, ends[j, count]):
                own = mixture[0, k]
                weight += own
                variance += own * mixture[1, k]
                by_weight += own * mixture[2, k]
                by_variance += own * mixture[1, k] * (mixture[2, k] + mixture[3, k])
            first, count = ends[j, count], count + 1
            at = _place_of(n)
            terms[WEIGHT + at], terms[VARIANCE + at] = weight * psf[j, 0], variance / weight
            terms[BY_WEIGHT + at] = by_weight / weight
            terms[BY_VARIANCE + at] = by_variance / variance - by_weight / weight
            _copy_place(psf, j, terms, at)
            n += 1
    _fill_lanes(terms, n)
    return n


@helper
def convolve_point(psf: F8, terms: F8) -> int:
    """Write the Gaussians of a point, those of the PSF, and return their number."""
    n: int = psf.shape[0] - 1
    for j in range(n):
        at = _place_of(j)
        terms[WEIGHT + at], terms[VARIANCE + at] = psf[j, 0], 0.0
        terms[BY_WEIGHT + at], terms[BY_VARIANCE + at] = 0.0, 0.0
        _copy_place(psf, j, terms, at)
    _fill_lanes(terms, n)
    return n


@helper
def _place_of(n: int) -> np.uint64:
    """Return where the numbers of a Gaussian begin."""
    return np.uint64(n // LANES * (WIDTH * LANES) + n % LANES)


@helper
def _copy_place(psf: F8, j: int, terms: F8, at: np.uint64) -> None:
    """Write centre and covariance of a Gaussian of the PSF."""
    terms[DX + at], terms[DY + at] = psf[j, 1], psf[j, 2]
    terms[XX + at], terms[XY + at], terms[YY + at] = psf[j, 3], psf[j, 4], psf[j, 5]


@helper
def _fill_lanes(terms: F8, n: int) -> None:
    """Write the last of n Gaussians again up to a multiple of `LANES`."""
    last = _place_of(n - 1)
    for k in range(n, -(-n // LANES) * LANES):
        at = _place_of(k)
        for row in range(TERM):
            terms[np.uint64(row * LANES) + at] = terms[np.uint64(row * LANES) + last]
