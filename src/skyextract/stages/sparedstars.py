"""Cosmic rays that are found upon bright stars, one after another: parts of the stars.

What no point source of the measured PSF can look like is taken for a cosmic ray (`repair`).  A PSF
of few pixels, of faint stars, does not tell how sharp the rings and the cores of bright stars are:
these then lose pixels, and with them their place among the stars that the next PSF is made of.
Cosmic rays fall anywhere, and upon bright light as often as its share of the frame says; what
falls there more often belongs to the stars, and is put back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import distinct

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I8, Bools
    from skyextract.stages.repair import RepairPlanes

LIT = 20.0
"""A place is upon bright light where so many sigma of the sky ..."""
SHARE, PIXELS = 0.1, 5
"""... and this share of its own value are exceeded in so many pixels around that are no cosmic
rays."""
REACH, FARTHEST = 1.5, 6
"""Distance of these pixels, at most, along both axes: in FWHM, and in pixels."""
SHIFTS = ((23, 0), (-23, 0), (0, 23), (0, -23), (17, 17), (-17, 17), (17, -17), (-17, -17))
"""Displacements, pixels, of the same places: how often they are upon bright light by chance."""
CELL = 8
"""Side of the cells of the frame that count once, pixels: a star, or a track."""
MIN_CELLS, SIGMAS = 5, 5.0
"""Cells upon bright light beyond chance, at least, and in units of the scatter of their number."""
MOST = 4096
"""Pixels of cosmic rays that chance is told from, at most."""


def without_stars(planes: RepairPlanes, cosmic: I8, charge: F4, fwhm: float) -> tuple[I8, F4]:
    """Return cosmic-ray pixels and their values without those of stars, which are put back.

    Parameters
    ----------
    planes : RepairPlanes
        With the pixels repaired, and marked; changed.
    cosmic, charge, fwhm
        See `upon_stars`.
    """
    of_stars = upon_stars(planes, cosmic, charge, fwhm)
    planes.data.ravel()[cosmic[of_stars]] = charge[of_stars]
    planes.state.ravel()[cosmic[of_stars]] = 0
    return cosmic[~of_stars], charge[~of_stars]


def upon_stars(planes: RepairPlanes, cosmic: I8, charge: F4, fwhm: float) -> Bools:
    """Tell which pixels that pass for cosmic rays are parts of bright stars.

    Parameters
    ----------
    planes : RepairPlanes
        With these pixels repaired, and marked.
    cosmic, charge : (n,) int64, float32
        Index ``y * nx + x`` of the pixels, and their values as observed.
    fwhm : float
        Of the PSF, pixels.

    Returns
    -------
    (n,) bool
        None where chance explains how many are upon bright light.
    """
    ny, nx = planes.data.shape
    reach = min(max(2, math.ceil(REACH * fwhm)), FARTHEST)
    lit = _are_lit(planes, cosmic, charge, reach)
    if _n_cells(cosmic[lit], nx) < MIN_CELLS:
        return np.zeros(cosmic.size, np.bool_)
    step = 1 + cosmic.size // MOST
    some, value = cosmic[::step], charge[::step]
    y, x = np.divmod(some, nx)
    moved = [(y + dy) % ny * nx + (x + dx) % nx for dx, dy in SHIFTS]
    chance = np.mean([_n_cells(p[_are_lit(planes, p, value, reach)], nx) for p in moved])
    excess = _n_cells(some[lit[::step]], nx) - chance
    if excess < max(MIN_CELLS, SIGMAS * math.sqrt(chance + 1.0)):
        return np.zeros(cosmic.size, np.bool_)
    return _near(cosmic, cosmic[lit], reach, (ny, nx))


def _are_lit(planes: RepairPlanes, place: I8, value: F4, reach: int) -> Bools:
    """Tell which places are upon light that is bright beside these values."""
    ny, nx = planes.data.shape
    y, x = np.divmod(place, nx)
    least = np.float32(SHARE) * np.maximum(value, np.float32(0.0))
    number = np.zeros(place.size, np.int64)
    around = np.arange(-reach, reach + 1)[:, None]
    for dy in range(-reach, reach + 1):  # a row of pixels at a time
        at = np.clip(y + dy, 0, ny - 1) * nx + np.clip(x + around, 0, nx - 1)
        light, noise2 = planes.data.ravel()[at], planes.variance.ravel()[at]
        bright = (light > least) & (light > np.float32(LIT) * np.sqrt(noise2))
        number += np.count_nonzero(bright & (planes.state.ravel()[at] == 0), axis=0)
    lit: Bools = number >= PIXELS
    return lit


def _near(place: I8, others: I8, reach: int, shape: tuple[int, int]) -> Bools:
    """Tell which places are this near to others, along both axes."""
    marked = np.zeros(shape, np.bool_)
    y, x = np.divmod(others, shape[1])
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            marked[np.clip(y + dy, 0, shape[0] - 1), np.clip(x + dx, 0, shape[1] - 1)] = True
    near: Bools = marked.ravel()[place]
    return near


def _n_cells(place: I8, nx: int) -> int:
    """Return in how many cells of the frame places are."""
    y, x = np.divmod(place, nx)
    return int(distinct(y // CELL * nx + x // CELL).size)
