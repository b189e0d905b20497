"""Stars that are broad because the detector is: saturated, without a word of it in the header.

The brightest stars of photographic plates, and of frames whose saturation level is not known, have
flat tops.  The PSF does not describe them, and a fit would fill them with stars.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.detections import Detections

MIN_PEAK = 0.6
"""Flat tops are as bright as this share of the brightest pixel of all sources, ..."""
MIN_AREA = 4.0
"""... cover so many times the area of a star within half of its peak, ..."""
MIN_FALL = 4.0
"""... and less than all of the footprint by this factor: nebulae fall slowly."""


MIN_FLAT = 0.4
"""At least this share of that area is within 80 % of the peak: of a Gaussian it is 0.32."""
CORE = 1.5
"""Nothing is told apart within so many radii of the flat top; ..."""
MIN_CONTRAST = 2.0
"""... beyond, stars are where the light is so many times the median at that distance."""

BESIDE = 4.0
"""Nothing is told apart within so many radii of the saturated pixels of a source."""


def beside_saturated(found: Detections, saturated: Bools, fwhm: float, width: int) -> I8:
    """Return the pixels of footprints of saturated stars in which no other star can be told.

    That is not all of them: the halo of a bright star is smooth.

    Parameters
    ----------
    found : Detections
    saturated : (n,) bool
        Which of the pixels of `found` are.
    fwhm : float
        Of stars, pixels.
    width : int
        Columns of the image.

    Returns
    -------
    (n,) int64
        Of the raveled image.
    """
    number = np.add.reduceat(saturated.astype(np.int64), found.first[:-1])
    pixels = [np.zeros(0, np.int64)]
    for k in np.flatnonzero(number):
        own = slice(found.first[k], found.first[k + 1])
        y, x = np.divmod(found.pixel[own], width)
        there = saturated[own]
        aside = [np.maximum(np.maximum(v[there].min() - v, v - v[there].max()), 0) for v in (x, y)]
        near = np.hypot(*aside) < BESIDE * math.sqrt(number[k] / math.pi) + fwhm
        pixels.append(found.pixel[own][near])
    return np.concatenate(pixels)


def beside_flat_tops(found: Detections, image: F4, fwhm: float) -> I8:
    """Return the pixels of footprints of stars with a flat top in which no other star shows.

    Parameters
    ----------
    found : Detections
    image : (ny, nx) float32
        Background-subtracted.
    fwhm : float
        Of stars, pixels.

    Returns
    -------
    (n,) int64
        Of the raveled image.
    """
    value = image.ravel()[found.pixel]
    number = np.diff(found.first)
    peak = np.maximum.reduceat(value, found.first[:-1])
    share = value / np.repeat(np.where(peak > 0.0, peak, np.inf), number)
    high = share > 0.5
    area, top = (
        np.add.reduceat(some.astype(np.int64), found.first[:-1]) for some in (high, share > 0.8)
    )
    flat = peak > MIN_PEAK * peak.max()
    flat &= area > MIN_AREA * 0.25 * math.pi * fwhm**2
    flat &= (number > MIN_FALL * area) & (top > MIN_FLAT * area)
    pixels = [np.zeros(0, np.int64)]
    for k in np.flatnonzero(flat):
        own = slice(found.first[k], found.first[k + 1])
        y, x = np.divmod(found.pixel[own], image.shape[1])
        distance = np.hypot(y - y[high[own]].mean(), x - x[high[own]].mean())
        lost = found.filtered[own] < MIN_CONTRAST * _median_around(found.filtered[own], distance)
        lost |= distance < CORE * math.sqrt(area[k] / math.pi) + 0.5 * fwhm
        pixels.append(found.pixel[own][lost])
    return np.concatenate(pixels)


def _median_around(value: F4, distance: F8) -> F4:
    """Return the median of the values at the same distance, in pixels, of each."""
    ring = distance.astype(np.int64)
    order = np.lexsort((value, ring))
    first = np.searchsorted(ring[order], np.arange(ring.max() + 2))
    middle = np.minimum((first[:-1] + first[1:]) // 2, order.size - 1)
    medians: F4 = value[order][middle][ring]
    return medians
