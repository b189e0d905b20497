"""How densely sources stand about each star of a zero point, beside the rest of the frame.

In a cluster the light that is neither told apart nor sky makes fluxes too large, and its mean is
that of no other part of the frame.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.datamodel.positions import positions

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8, Bools
    from skyextract.datamodel.catalog import Catalog

CELL, REACH = 4.0, 2
"""Sources are counted in cells of so many FWHM, and so many cells on either side of each."""
MANY = 3.0
"""Stars in a cluster have so many times as dense a company as places of the frame have, ..."""
LOOSE = 3.0
"""... and more sources than so many per 100 FWHM^2."""


def in_cluster(catalog: Catalog, rows: I8, shape: tuple[int, int], fwhm: float) -> Bools:
    """Tell which sources stand where sources are far denser than in most of the frame.

    Parameters
    ----------
    catalog : Catalog
        All sources.
    rows : (n,) int64
        Those that are asked for.
    shape : (int, int)
        Of the frame [y, x].
    fwhm : float
        Of the PSF, pixels.
    """
    found = positions(catalog)
    if found is None or not fwhm > 0.0:
        return np.zeros(rows.size, np.bool_)
    x, y = (np.where(np.isfinite(v), v, -1.0) - 0.5 for v in found[:2])
    ny, nx = (max(1, math.floor(size / (CELL * fwhm))) for size in shape)
    column = np.clip((x * nx / shape[1]).astype(np.int64), 0, nx - 1)
    row = np.clip((y * ny / shape[0]).astype(np.int64), 0, ny - 1)
    number = np.bincount(row * nx + column, minlength=ny * nx).reshape(ny, nx).astype(np.float64)
    cells = _around(np.ones((ny, nx)))
    area = cells * (shape[0] * shape[1]) / (ny * nx) / fwhm**2 / 100.0
    density = _around(number) / area
    own = density[row[rows], column[rows]] - 1.0 / area[row[rows], column[rows]]
    return np.asarray(own > max(LOOSE, MANY * median(density)))


def _around(values: F8) -> F8:
    """Return the sums of the cells about each cell."""
    for axis in (0, 1):
        sums = np.cumsum(values, axis=axis)
        n = values.shape[axis]
        last = np.take(sums, np.minimum(np.arange(n) + REACH, n - 1), axis=axis)
        first = np.maximum(np.arange(n) - REACH - 1, -1)
        before = np.take(sums, np.maximum(first, 0), axis=axis)
        shape = [1, 1]
        shape[axis] = n
        values = last - np.where(first.reshape(shape) < 0, 0.0, before)
    return values
