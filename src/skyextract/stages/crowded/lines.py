"""Trails of satellites, spikes, bleeding: lines of light that fits take for rows of stars."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.record import record

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
    reach = math.ceil(max(STEPS) * fwhm)
    around = Around.of(light, x, y, reach)
    found = np.zeros(x.size, np.bool_)
    for angle in np.arange(N_DIRECTIONS) * np.pi / N_DIRECTIONS:
        cos, sin = fwhm * np.cos(angle), fwhm * np.sin(angle)
        # Few peaks are left after the first steps.
        left = np.flatnonzero((here > 0.0) & ~found)
        for step in (*STEPS, *(-step for step in STEPS)):
            there = around.at(step * cos, step * sin, left)
            steady = (there > STEADY[0] * here[left]) & (there < STEADY[1] * here[left])
            left = left[steady]
        for step in (ASIDE, -ASIDE):
            left = left[around.at(-step * sin, step * cos, left) < MAX_ASIDE * here[left]]
        found[left] = True
    return found


@record
class Around:
    """An image at places about some of its pixels; NaN outside.

    Attributes
    ----------
    image : (ny, nx) float32
    x, y : (n,) int64
        The pixels that others are looked for about.
    at_edge : (n,) bool
        Some of those are outside.
    """

    image: F4
    x: I8
    y: I8
    at_edge: Bools

    @classmethod
    def of(cls, image: F4, x: I8, y: I8, reach: int) -> Around:
        """Return what is no farther than `reach` along both axes from pixels x, y."""
        ny, nx = image.shape
        at_edge = (np.minimum(x, y) <= reach) | (x >= nx - 1 - reach) | (y >= ny - 1 - reach)
        return cls(image, x, y, at_edge)

    def at(self, dx: float | F8, dy: float | F8, rows: I8) -> F4:
        """Return the nearest pixels at one offset, or several, from some of the middle ones."""
        right, up = np.rint(dx).astype(np.int64), np.rint(dy).astype(np.int64)
        ny, nx = self.image.shape
        x, y = self.x[rows], self.y[rows]
        if right.ndim:
            x, y = x[:, None], y[:, None]
        values: F4 = self.image.ravel().take(y * nx + x + (up * nx + right), mode="clip")
        edge = np.flatnonzero(self.at_edge[rows])
        if edge.size:
            x, y = x[edge] + right, y[edge] + up
            outside = (x < 0) | (x >= nx) | (y < 0) | (y >= ny)
            values[edge] = np.where(outside, np.float32(np.nan), values[edge])
        return values
