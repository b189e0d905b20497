"""The variance of the sky beneath sources, from the pixels about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.values import NO_INFORMATION

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8


@kernel
def sum_dark_pixels(
    variance: F4, image: F4, n_sigma: float, side: int, first: int, past: int, out: F4,
    total: F8, number: I8,
) -> None:  # fmt: skip
    """Sum the variances of pixels without light in cells, and copy them; mark the others.

    Parameters
    ----------
    variance, image : (ny, nx) float32
        Background variance and background-subtracted image.
    n_sigma : float
        A pixel that is farther above the sky holds light.
    side : int
        Pixels on a side of a cell.
    first, past : int
        Rows of cells.
    out : (ny, nx) float32, output
        The variance; negative where there is light.
    total, number : (n_y, n_x), output
        Sums of the cells, 0 on entry.
    """
    ny, nx = image.shape
    square, unknown = np.float32(n_sigma * n_sigma), np.float32(NO_INFORMATION)
    for y in range(first * side, min(past * side, ny)):
        values, given, row = image[y], variance[y], out[y]
        for x in range(nx):
            v, value = given[x], max(values[x], np.float32(0.0))
            row[x] = -v if (v < unknown) & (value * value > square * v) else v
        for cell in range(total.shape[1]):
            dark, n = np.float32(0.0), 0
            for x in range(cell * side, min(cell * side + side, nx)):
                v = row[x]
                counts = (v >= np.float32(0.0)) & (v < unknown)
                dark += v if counts else np.float32(0.0)
                n += int(counts)
            total[y // side, cell] += np.float64(dark)
            number[y // side, cell] += n


@kernel
def fill_marked(variance: F4, cells: F8, side: int, first: int, past: int) -> None:
    """Give the negative pixels of rows of cells, in place, the value of their cell."""
    ny, nx = variance.shape
    for y in range(first * side, min(past * side, ny)):
        row = cells[y // side]
        for x in range(nx):
            if variance[y, x] < np.float32(0.0):
                variance[y, x] = row[x // side]
