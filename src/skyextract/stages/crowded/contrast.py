"""Comets, nebulae, galaxies, broad trails: light that fits would fill with stars side by side.

A star is a peak of all that is left: whichever way one goes from it, there is less.  Extended
light is as bright along some line, and what stands out of it there is its noise.  The search
beneath sources would never end on it: what it adds has room for more at its sides.
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.kernels.detection.rays import brightest_floors
from skyextract.stages.crowded.lines import N_DIRECTIONS, rays

LENGTH = 5.0
"""Length of the lines in FWHM; the peak is anywhere on them."""
STEP = 0.5
"""Distance of the pixels on them that are looked at, in FWHM."""
MIN_FLOOR = 0.6
"""Light is extended where the faintest pixel of a line has this share of the peak's."""


def lacks_contrast(
    rest: F4, x: I8, y: I8, fwhm: float, threshold: float, photon_noise: float | F8
) -> Bools:
    """Tell which peaks stand upon extended light, and not enough above it to be stars.

    Parameters
    ----------
    rest : (ny, nx) float32
        What fits have left, filtered.
    x, y : (n,) int64
        Pixels of the peaks.
    fwhm : float
        Of stars, pixels.
    threshold : float
        Height of a star above an empty sky, in units of `rest`.
    photon_noise : float or (n,) float64
        Variance that one unit of light adds, in units of that of the empty sky.
    """
    height = rest[y, x].astype(np.float64)
    floor = _floor(rest, x, y, fwhm)
    least = threshold * np.sqrt(1.0 + photon_noise * np.maximum(floor, 0.0))
    lacking: Bools = (floor > MIN_FLOOR * height) & (height - floor < least)
    return lacking


def _floor(rest: F4, x: I8, y: I8, fwhm: float) -> F8:
    """Return the faintest pixel of the line on which that is brightest, for each peak.

    That is not looked for where it is less than MIN_FLOOR of the peak's.
    """
    n = round(LENGTH / STEP)
    direction = np.arange(N_DIRECTIONS) * np.pi / N_DIRECTIONS
    along = rays(np.cos(direction), np.sin(direction), STEP * fwhm * np.arange(-n, n + 1.0))
    floor = np.empty(x.size)
    brightest_floors(rest, x, y, along, np.float32(MIN_FLOOR), floor)
    return floor
