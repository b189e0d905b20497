"""The variance of the sky beneath sources.

A variance plane holds the photons of the sources.  Taken off with the gain of the frame, they leave
what flat field and its own noise make of them: a part of a hundredth of a bright star is many times
the noise of the sky, and differs from pixel to pixel.  Errors want all of it, a filter none: pixels
that it weighs by such a remainder deform what it finds.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, AnyArray, whole
from skyextract.kernels.background.skyvariance import fill_marked, sum_dark_pixels
from skyextract.run import Run

SIDE = 8
"""Pixels on a side of the smallest cells."""
LIGHT = 2.0
"""Pixels farther above the sky, in sigma, take the variance from others."""
ENOUGH = 16
"""Pixels that tell the variance of a cell; else it is that of the cell of twice the side."""


def sky_variance(variance: F4, subtracted: F4, run: Run) -> F4:
    """Return a background variance that is that of the pixels beside where sources are.

    Parameters
    ----------
    variance : (ny, nx) float32
        Background variance, image units squared, 1e30 where it is not known.
    subtracted : (ny, nx) float32
        Image without its background.

    Returns
    -------
    (ny, nx) float32
        Pixels without light keep theirs, and those of which nothing is known.
    """
    n_y, n_x = (math.ceil(size / SIDE) for size in variance.shape)
    total, number = np.zeros((n_y, n_x)), np.zeros((n_y, n_x), np.int64)
    out: F4 = whole(variance.shape, np.float32)
    bands = run.bands(n_y, least=8)

    def look(band: tuple[int, int]) -> None:
        sum_dark_pixels(variance, subtracted, LIGHT, SIDE, *band, out, total, number)

    run.map(look, bands)
    if not number.any():
        return variance
    cells = _filled(total, number)
    run.map(lambda band: fill_marked(out, cells, SIDE, *band), bands)
    return out


def _filled(total: F8, number: AnyArray) -> F8:
    """Return the means of cells; where pixels are too few, those of larger ones about them."""
    mean: F8 = total / np.maximum(number, 1)
    few = number < ENOUGH
    if not few.any() or mean.size == 1:
        return mean
    wider = _filled(_four(total), _four(number)).repeat(2, axis=0).repeat(2, axis=1)
    return np.where(few, wider[: few.shape[0], : few.shape[1]], mean)


def _four(values: AnyArray) -> AnyArray:
    """Return the sums of two by two cells."""
    even = np.pad(values, [(0, size % 2) for size in values.shape])
    sums: AnyArray = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return sums
