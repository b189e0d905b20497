"""Trails of satellites, spikes, bleeding: lines of light that fits take for rows of stars."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.kernels.detection.rays import Rays, mark_on_lines

N_DIRECTIONS = 24
STEPS = (1.0, 2.0, 3.0, 4.0)
"""Distances on both sides at which a line is as bright as here, in FWHM."""
STEADY = (0.6, 1.67)
"""Brightness there, over that here."""
ASIDE = 1.5
"""Distance on both sides of a line, in FWHM, ..."""
MAX_ASIDE = 0.5
"""... at which it is darker than this share, but for ..."""
MAX_BRIGHT = 4
"""... so many of the places, none of them beside the peak: where stars are dense some line in 24 is
even by chance, and the light beside it as bright."""


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
    direction = np.arange(N_DIRECTIONS) * np.pi / N_DIRECTIONS
    cos, sin = fwhm * np.cos(direction), fwhm * np.sin(direction)
    along = rays(cos, sin, np.array([*STEPS, *(-step for step in STEPS)]))
    aside = rays(-sin, cos, np.array([ASIDE, -ASIDE]))
    found = np.zeros(x.size, np.uint8)
    mark_on_lines(
        light, x, y, along, aside, np.float32(STEADY[0]), np.float32(STEADY[1]),
        np.float32(MAX_ASIDE), MAX_BRIGHT, found,
    )  # fmt: skip
    return found.view(np.bool_)


def rays(x: F8, y: F8, steps: F8) -> Rays:
    """Return the nearest pixels at some steps along directions.

    Parameters
    ----------
    x, y : (n_directions,) float64
        One step, pixels.
    steps : (n,) float64
    """
    return Rays(
        *(np.rint(np.multiply.outer(one, steps)).astype(np.int64) for one in (x, y))
    )  # fmt: skip
