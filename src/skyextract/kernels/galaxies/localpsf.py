"""The PSF at a source: its Gaussians, and what they leave of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.galaxies.convolution import (
    LANES,
    WIDTH,
    convolve_point,
    with_whole,
)
from skyextract.kernels.galaxies.render import SPARE, Grid, Sums, add_values
from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8


class LocalPsf(NamedTuple):
    """The PSF at a source.

    Attributes
    ----------
    gaussians : (j + 1, 6) float64
        As `with_whole` writes them.
    area : float
        Square root of the determinant of its second moments.
    misfit : (size * size + SPARE,) float32
        What the Gaussians leave of the PSF as measured, pixel by pixel.
    size : int
        Its side; 0: that is left out.
    x, y : int
        First pixel of `misfit`.
    """

    gaussians: F8
    area: float
    misfit: F4
    size: int
    x: int
    y: int


@helper
def psf_at(
    gaussians: F8, stamp: F4, x: float, y: float, left: int, bottom: int, sums: Sums
) -> LocalPsf:
    """Return the PSF at a source: its Gaussians, and what they leave of a stamp of the PSF.

    `left` and `bottom` are the first pixel of the stamp, which is centred on (x, y); without any
    pixels nothing is left.  `sums` is work space for rows as long as those of the stamp.
    """
    size, n = stamp.shape[0], gaussians.shape[0]
    misfit = np.zeros(size * size + SPARE, np.float32)
    all_ = np.empty((n + 1, 6))
    with_whole(gaussians, all_)
    if size > 0:
        terms, none = np.empty(-(-n // LANES) * LANES * WIDTH), np.zeros((4, 3))
        count = convolve_point(all_, terms)
        grid = Grid(left, bottom, 1, size, size, 0, 0, 0, 0)
        add_values(terms, count, none, x, y, grid, -1.0, 1e-9, sums, misfit, 0)
        for j in range(size):
            for i in range(size):
                misfit[j * size + i] += stamp[j, i]
    area = math.sqrt(max(all_[n, 3] * all_[n, 5] - all_[n, 4] ** 2, 0.01))
    return LocalPsf(all_, area, misfit, size, left, bottom)
