"""Trails of satellites, spikes, bleeding: lines of light that fits take for rows of stars."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools

N_DIRECTIONS = 24
STEPS = (1.0, 2.0, 3.0, 4.0)
"""Distances on both sides at which a line is as bright as here, in FWHM."""
STEADY = (0.6, 1.67)
"""Brightness there, over that here."""
ASIDE = 1.5
"""Distance on both sides of a line, in FWHM, ..."""
MAX_ASIDE = 0.5
"""... at which it is darker than this share."""


def on_lines(light: F4, x: I8, y: I8, fwhm: float) -> Bools:
    """Tell which peaks stand upon a line of light, and are no brighter than it.

    Parameters
    ----------
    light : (ny, nx) float32
        Filtered image without background.
    x, y : (n,) int64
        Pixels of the peaks.
    fwhm : float
        Of stars, pixels.
    """
    here = light[y, x]
    found = np.zeros(x.size, np.bool_)
    for angle in np.arange(N_DIRECTIONS) * np.pi / N_DIRECTIONS:
        cos, sin = fwhm * np.cos(angle), fwhm * np.sin(angle)
        steady = here > 0.0
        for step in (*STEPS, *(-step for step in STEPS)):
            there = pixels_at(light, x + step * cos, y + step * sin)
            steady &= (there > STEADY[0] * here) & (there < STEADY[1] * here)
        for step in (ASIDE, -ASIDE):
            steady &= pixels_at(light, x - step * sin, y + step * cos) < MAX_ASIDE * here
        found |= steady
    return found


def pixels_at(image: F4, x: F8, y: F8) -> F4:
    """Return the nearest pixels; NaN outside."""
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    inside = (row >= 0) & (row < image.shape[0]) & (column >= 0) & (column < image.shape[1])
    values = np.full(column.shape, np.nan, np.float32)
    values[inside] = image[row[inside], column[inside]]
    return values
