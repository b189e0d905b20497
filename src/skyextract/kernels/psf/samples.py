"""Pixels about stars at the samples of a PSF, by cubic convolution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8


@helper
def _place(centre: float, sampling: float, first: I8, weight: F8) -> None:
    """Get the first of the 4 pixels of each sample, and their weights (Keys 1981, a = -1/2)."""
    n = first.size
    for k in range(n):
        at = centre + (k - n // 2) * sampling
        low = math.floor(at)
        f = at - low
        first[k] = low - 1
        weight[k, 0] = f * (-0.5 + f * (1.0 - 0.5 * f))
        weight[k, 1] = 1.0 + f * f * (1.5 * f - 2.5)
        weight[k, 2] = f * (0.5 + f * (2.0 - 1.5 * f))
        weight[k, 3] = f * f * (0.5 * f - 0.5)


@kernel
def sample_stars(image: F4, x: F8, y: F8, sampling: float, out: F8) -> None:
    """Interpolate the image at a grid of samples about each star.

    Parameters
    ----------
    image : (ny, nx) float32
        Pixels beyond it are 0.
    x, y : (n,) float64
        Where the middle samples are, 0-based pixels.
    sampling : float
        Step of the samples, pixels.
    out : (n, m, m) float64
        Output; m is odd.
    """
    ny, nx = image.shape
    m = out.shape[1]
    columns, rows = np.empty(m, np.int64), np.empty(m, np.int64)
    weight_x, weight_y = np.empty((m, 4)), np.empty((m, 4))
    for n in range(x.size):
        _place(x[n], sampling, columns, weight_x)
        _place(y[n], sampling, rows, weight_y)
        left = columns[0]
        line = np.empty(columns[m - 1] + 4 - left)
        for j in range(m):
            line[:] = 0.0
            for b in range(4):
                row = rows[j] + b
                if row < 0 or row >= ny:
                    continue
                factor = weight_y[j, b]
                for k in range(max(0, -left), min(line.size, nx - left)):
                    line[k] += factor * image[row, left + k]
            for i in range(m):
                a = columns[i] - left
                out[n, j, i] = (
                    weight_x[i, 0] * line[a]
                    + weight_x[i, 1] * line[a + 1]
                    + weight_x[i, 2] * line[a + 2]
                    + weight_x[i, 3] * line[a + 3]
                )
