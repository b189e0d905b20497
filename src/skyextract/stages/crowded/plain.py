"""Which detections are a few stars, seen without a fit of a profile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools, each_of

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.stages.crowded.hidden import Hidden

SYSTEMATIC = 0.03
"""Error of models as a share of their light: PSFs are not perfect, nor are galaxies smooth."""
MIN_REPLACED = 3
"""A profile stands for at least so many of the point sources."""
MAX_EXCESS = 2.0
"""A profile that leaves more than so many times what the point sources leave is none."""
MOST_PLAIN = 8
"""Groups of so many point sources, at most, may be seen to be stars without a fit: ..."""
PLAIN_CHI2 = 3.0
"""... what they leave is noise, within so many sigma of chi2, ..."""
PLAIN = 100.0
"""... and by so much of chi2 they differ from a Gaussian of their moments: the best profile may
be a few times nearer to them, and is judged by some ten units; ..."""
MAX_UNEXPLAINED = 2.0
"""Stars that leave more reduced chi2 than this are not told from other things here, ..."""
N_FOR_PAIRS = 10
"""... nor so many, which two profiles may stand for, unless what they leave is noise."""
SCALES = (0.0, 0.25, 1.0, 2.5)
"""Squares of the widths of concentric Gaussians, in the moments of a group of stars: of discs and
of spheroids their sums leave a few hundredths of the light."""
PLAIN_OF_PROFILES = 2.0
"""Times what is enough for a Gaussian of the moments: in the noise of each pixel, not the largest
one, a star upon a profile may move them so far from its own."""
RIDGE = 1e-9
"""Of their normal equations: Gaussians of small groups are all alike."""
PLAIN_EXCESS = 2.0 * MAX_EXCESS
"""... more than MIN_REPLACED sources also by so many times what they leave, because that is how
stars upon a profile are judged."""


def chi2_of_footprints(
    exposure: Exposure, variance: F4, hidden: Hidden, found: Detections
) -> tuple[F8, F8, F8]:
    """Return what the point sources leave in each footprint, their light and the noise of pixels.

    Parameters
    ----------
    exposure : Exposure
    variance : (ny, nx) float32
        Of the background.
    hidden : Hidden
    found : Detections

    Returns
    -------
    chi2 : (n,) float64
    models, variance : (m,) float64
        In the pixels of the footprints.
    """
    gain, pixel = exposure.detector.gain, found.pixel
    models = hidden.models.ravel()[pixel].astype(np.float64)
    noise = variance.ravel()[pixel] + (SYSTEMATIC * models) ** 2
    if gain > 0.0:
        noise += np.maximum(models, 0.0) / gain
    residual = hidden.plane.subtracted.ravel()[pixel] - models
    return np.add.reduceat(residual**2 / noise, found.first[:-1]), models, noise


def are_stars(
    exposure: Exposure, variance: F4, hidden: Hidden, found: Detections, row: I8, first: I8
) -> Bools:  # fmt: skip
    """Tell which detections are a few stars, seen without a fit.

    What the stars leave is noise, and they are far from any single smooth profile: Gaussians of the
    PSF's width differ from that with the moments of all of them by more than noise, or the pixels
    of their models from sums of several.

    Parameters
    ----------
    exposure : Exposure
    variance : (ny, nx) float32
        Of the background.
    hidden : Hidden
    found : Detections
    row, first : int64
        Sources in the footprint of detection h are ``row[first[h]:first[h + 1]]``.
    """
    chi2, models, noise = chi2_of_footprints(exposure, variance, hidden, found)
    number = np.diff(found.first)
    plain = chi2 < number + PLAIN_CHI2 * np.sqrt(2.0 * number)
    members = np.diff(first)
    doubted = (members > 1) & (
        plain | ((members < N_FOR_PAIRS) & (chi2 < MAX_UNEXPLAINED * number))
    )
    plain &= (members > 1) & (members <= MOST_PLAIN)
    hosts = np.flatnonzero(plain)
    member = np.arange(members[hosts].max(initial=0))
    some = member < members[hosts, None]
    rows = row[np.where(some, first[hosts, None] + member, 0)]
    flux = np.where(some, np.maximum(hidden.flux[rows], 0.0), 0.0)
    largest = np.maximum.reduceat(noise, found.first[:-1])[hosts]
    sigma2 = (hidden.psf.fwhm / 2.3548) ** 2
    distance = distance_of_stars(flux, hidden.x[rows], hidden.y[rows], sigma2)
    least = _least(chi2[hosts], members[hosts])
    plain[hosts] = distance > least * largest
    return plain | _far_from_profiles(
        hidden, found, noise, models, doubted & ~plain, chi2, row, first
    )


def _least(chi2: F8, members: I8) -> F8:
    """Return the chi2 between groups of stars and a profile near the best that is enough."""
    several = members > MIN_REPLACED
    least: F8 = np.where(several, np.maximum(PLAIN, PLAIN_EXCESS * chi2), PLAIN)
    return least


def _far_from_profiles(
    hidden: Hidden, found: Detections, noise: F8, models: F8, doubted: Bools, chi2: F8, row: I8,
    first: I8,
) -> Bools:  # fmt: skip
    """Tell which groups of stars no sum of concentric Gaussians of their moments comes near.

    Parameters
    ----------
    noise, models : (m,) float64
        Variance, and the light of the stars, in the pixels of the footprints.
    doubted : (n,) bool
        Detections that are looked at.
    chi2 : (n,) float64
        What the stars leave in each footprint.
    """
    far = np.zeros(doubted.size, np.bool_)
    hosts = np.flatnonzero(doubted)
    members = np.diff(first)[hosts]
    of, place = each_of(members)
    rows = row[first[hosts][of] + place]
    start = np.cumsum(members) - members
    flux = np.maximum(hidden.flux[rows], 1e-30)

    def mean(values: F8) -> F8:
        """Return the mean of each group, weighted by flux."""
        out: F8 = np.add.reduceat(flux * values, start) / np.add.reduceat(flux, start)
        return out

    if hosts.size == 0:
        return far
    x, y = hidden.x[rows], hidden.y[rows]
    middle = mean(x), mean(y)
    dx, dy = x - middle[0][of], y - middle[1][of]
    moments = mean(dx * dx), mean(dx * dy), mean(dy * dy)
    sigma2 = (hidden.psf.fwhm / 2.3548) ** 2
    number = np.diff(found.first)[hosts]
    of, place = each_of(number)
    at = found.first[hosts][of] + place
    pixel_y = found.pixel[at] // found.image_shape[1]
    pixel_x = found.pixel[at] - pixel_y * found.image_shape[1]
    dx, dy = pixel_x - middle[0][of], pixel_y - middle[1][of]
    shapes = []
    for scale in SCALES:
        xx, yy = (scale * moments[k] + sigma2 for k in (0, 2))
        xy = scale * moments[1]
        determinant = xx * yy - xy * xy
        a, b, c = (v / determinant for v in (-0.5 * yy, xy, -0.5 * xx))
        shapes.append(np.exp(a[of] * dx * dx + b[of] * dx * dy + c[of] * dy * dy))
    start = np.cumsum(number) - number
    light, weight = models[at], 1.0 / noise[at]
    n = len(SCALES)
    normal, vector = np.empty((hosts.size, n, n)), np.empty((hosts.size, n))
    for j, shape in enumerate(shapes):
        weighted = weight * shape
        vector[:, j] = np.add.reduceat(weighted * light, start)
        for k in range(j + 1):
            normal[:, j, k] = normal[:, k, j] = np.add.reduceat(weighted * shapes[k], start)
    largest = np.einsum("njj->nj", normal).max(axis=1)[:, None, None]
    normal += RIDGE * np.where(largest > 0.0, largest, 1.0) * np.eye(n)
    amplitude = np.linalg.solve(normal, vector[:, :, None])[:, :, 0]
    rest = light - sum(amplitude[of, k] * shape for k, shape in enumerate(shapes))
    least = PLAIN_OF_PROFILES * _least(chi2[hosts], members)
    far[hosts] = np.add.reduceat(weight * rest**2, start) > least
    return far


def distance_of_stars(flux: F8, x: F8, y: F8, sigma2: float) -> F8:
    """Return the squared distance of groups of Gaussians from that with their moments.

    Parameters
    ----------
    flux, x, y : (n, k) float64
    sigma2 : float
        Variance of the Gaussians.
    """
    total = np.maximum(flux.sum(axis=1), 1e-30)
    dx, dy = (v - ((flux * v).sum(axis=1) / total)[:, None] for v in (x, y))
    xx, xy, yy = ((flux * v).sum(axis=1) / total for v in (dx * dx, dx * dy, dy * dy))

    def value(x: F8, y: F8, xx: F8, xy: F8, yy: F8) -> F8:
        """Return a Gaussian of unit integral."""
        determinant = xx * yy - xy * xy
        square = (yy * x * x - 2.0 * xy * x * y + xx * y * y) / determinant
        out: F8 = np.exp(-0.5 * square) / (2.0 * math.pi * np.sqrt(determinant))
        return out

    both = np.array([2.0 * sigma2])
    own = np.zeros(len(flux))
    for i in range(flux.shape[1]):
        apart = dx - dx[:, i : i + 1], dy - dy[:, i : i + 1]
        own += (flux * flux[:, i : i + 1] * value(*apart, both, 0.0 * both, both)).sum(axis=1)
    wide, high = (v[:, None] + 2.0 * sigma2 for v in (xx, yy))
    cross = (flux * value(dx, dy, wide, xy[:, None], high)).sum(axis=1)
    zero = np.zeros_like(xx)
    square = value(zero, zero, 2.0 * (xx + sigma2), 2.0 * xy, 2.0 * (yy + sigma2))
    distance: F8 = own - cross**2 / square
    return distance
