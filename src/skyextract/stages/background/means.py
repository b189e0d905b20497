"""Means of some pixels about each place of an image, weighted by a Gaussian."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, AnyArray, Bools
from skyextract.kernels.background.cells import smooth_cells, sum_cells, sum_squares


def weighted_mean(image: F4, used: Bools, edge_y: I8, edge_x: I8, sigma: float) -> F8:
    """Return means of some pixels about each cell, weighted by a Gaussian; 0 where there are none.

    Parameters
    ----------
    image : (ny, nx) float32
    used : (ny, nx) bool
    edge_y, edge_x : (n,) int64
        First row and column of each cell.
    sigma : float
        Cells.
    """
    total, number = np.empty((2, edge_y.size, edge_x.size))
    sum_cells(image, used.view(np.uint8), edge_y, edge_x, total, number)
    total, number = (smoothed(values, sigma) for values in (total, number))
    mean: F8 = total / np.maximum(number, 1e-6)
    return mean


def sums_of_squares(values: AnyArray, side: int) -> F8:
    """Return the sums of the pixels of square cells of `side` pixels."""
    ny, nx = values.shape
    sums = np.empty((-(-ny // side), -(-nx // side)))
    sum_squares(np.ascontiguousarray(values, np.float64), side, sums)
    return sums


def smoothed(values: F8, sigma: float) -> F8:
    """Return sums weighted by a Gaussian, along both axes; nothing is beyond the borders."""
    half = math.ceil(3.0 * sigma)
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    out = np.empty(values.shape)
    smooth_cells(np.ascontiguousarray(values), taps, out)
    return out
