"""Comets, nebulae, galaxies, broad trails: light that fits would fill with stars side by side.

A star is a peak of all that is left: whichever way one goes from it, there is less.  Extended
light is as bright along some line, and what stands out of it there is its noise.  The search
beneath sources would never end on it: what it adds has room for more at its sides.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.stages.crowded.lines import N_DIRECTIONS, Around

LENGTH = 5.0
"""Length of the lines in FWHM; the peak is anywhere on them."""
STEP = 0.5
"""Distance of the pixels on them that are looked at, in FWHM."""
MIN_FLOOR = 0.6
"""Light is extended where the faintest pixel of a line has this share of the peak's."""
CHUNK = 4096


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
    steps = np.arange(-n, n + 1) * STEP * fwhm
    floor = np.full(x.size, -np.inf)
    around = Around.of(rest, x, y, math.ceil(LENGTH * fwhm))
    least = MIN_FLOOR * rest[y, x]
    everyone = np.arange(x.size)
    for angle in np.arange(N_DIRECTIONS) * np.pi / N_DIRECTIONS:
        cos, sin = np.cos(angle), np.sin(angle)
        # All of a line goes half its length to one of both sides.
        sides = [around.at(s * cos, s * sin, everyone) for s in steps[[n - n // 2, n + n // 2]]]
        rows = np.flatnonzero(np.fmax(*sides) > least)
        for first in range(0, rows.size, CHUNK):
            part = rows[first : first + CHUNK]
            values = np.nan_to_num(around.at(steps * cos, steps * sin, part), nan=-np.inf)
            floor[part] = np.maximum(floor[part], _least_of(values, n + 1).max(axis=1))
    return floor


def _least_of(values: F4, width: int) -> F4:
    """Return the least of each `width` neighbouring columns."""
    size = 1
    while 2 * size <= width:
        values = np.minimum(values[:, :-size], values[:, size:])
        size *= 2
    rest = width - size
    return np.minimum(values[:, : values.shape[1] - rest], values[:, rest:])
