"""Which detections are a few stars, seen without a fit of a profile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools

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
PLAIN_EXCESS = 2.0 * MAX_EXCESS
"""... more than MIN_REPLACED sources also by so many times what they leave, because that is how
stars upon a profile are judged."""


def are_stars(
    exposure: Exposure, variance: F4, hidden: Hidden, found: Detections, row: I8, first: I8
) -> Bools:  # fmt: skip
    """Tell which detections are a few stars, seen without a fit.

    What the stars leave is noise, and they are far from any single smooth profile: Gaussians of the
    PSF's width differ from that with the moments of all of them by more than noise.

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
    gain = exposure.detector.gain
    pixel = found.pixel
    models = hidden.models.ravel()[pixel].astype(np.float64)
    noise = variance.ravel()[pixel] + (SYSTEMATIC * models) ** 2
    if gain > 0.0:
        noise += np.maximum(models, 0.0) / gain
    residual = hidden.plane.subtracted.ravel()[pixel] - models
    chi2 = np.add.reduceat(residual**2 / noise, found.first[:-1])
    number = np.diff(found.first)
    plain = chi2 < number + PLAIN_CHI2 * np.sqrt(2.0 * number)
    members = np.diff(first)
    plain &= (members > 1) & (members <= MOST_PLAIN)
    hosts = np.flatnonzero(plain)
    member = np.arange(members[hosts].max(initial=0))
    some = member < members[hosts, None]
    rows = row[np.where(some, first[hosts, None] + member, 0)]
    flux = np.where(some, np.maximum(hidden.flux[rows], 0.0), 0.0)
    largest = np.maximum.reduceat(noise, found.first[:-1])[hosts]
    sigma2 = (hidden.psf.fwhm / 2.3548) ** 2
    distance = distance_of_stars(flux, hidden.x[rows], hidden.y[rows], sigma2)
    several = members[hosts] > MIN_REPLACED
    least = np.where(several, np.maximum(PLAIN, PLAIN_EXCESS * chi2[hosts]), PLAIN)
    plain[hosts] = distance > least * largest
    return plain


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
