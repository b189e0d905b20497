"""Sums of the pixels of the sky in equal cells, for the light that sources stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, U1, U2


@kernel
def keep_good(
    residual: F4, variance: F4, mask: U2, unusable: int, step: int, first: int, past: int, free: U1
) -> None:
    """Set `free` to 0 in pixels without a value or with no or endless variance, or marked so.

    Parameters
    ----------
    residual, variance, mask : (ny, nx)
    unusable : int
        Bits of the mask.
    step : int
        Every step-th row is looked at.
    first, past : int
        Rows of `free`.
    free : (ceil(ny / step), nx) uint8, changed in place
    """
    bits = np.uint16(unusable)
    for row in range(first, past):
        here, values = free[row], residual[row * step]
        power, marks = variance[row * step], mask[row * step]
        for x in range(here.size):
            good = marks[x] & bits == 0
            good &= (power[x] > 0.0) & (power[x] < MAX_VARIANCE)
            good &= abs(values[x]) < np.inf
            here[x] &= np.uint8(good)


@kernel
def sum_clipped(
    image: F4, variance: F4, free: U1, level: F8, height: int, width: int, step: int,
    clip: float, first: int, past: int, sums: F8,
) -> None:  # fmt: skip
    """Sum the free pixels of each cell, those far from its level drawn near.

    Parameters
    ----------
    image, variance : (ny, nx)
    free : (n_rows, nx) uint8
        Of every step-th row of the image.
    level : (n_y, n_x) float64
    height, width : int
        Of a cell, rows of `free` and columns; the last ones may be cut.
    clip : float
        Pixels count as so many sigma from the level at most.
    first, past : int
        Rows of cells.
    sums : (n_y, n_x) float64, output
    """
    n_rows, nx = free.shape
    factor = np.float32(clip)
    about = np.empty(nx, np.float32)
    total = np.empty(nx)
    for i in range(first, past):
        total[:] = 0.0
        for x in range(nx):
            about[x] = np.float32(level[i, x // width])
        for row in range(i * height, min((i + 1) * height, n_rows)):
            used, values, power = free[row], image[row * step], variance[row * step]
            for x in range(nx):
                far = factor * np.sqrt(power[x])
                value = min(max(values[x], about[x] - far), about[x] + far)
                total[x] += value if used[x] != 0 else np.float32(0.0)
        _sum_along(total, width, sums[i])


@kernel
def sum_noise(
    variance: F4, free: U1, height: int, width: int, step: int, first: int, past: int,
    number: F8, noise: F8,
) -> None:  # fmt: skip
    """Count the free pixels of each cell, and sum their variance; arguments as of `sum_clipped`.

    Parameters
    ----------
    number, noise : (n_y, n_x) float64, output
    """
    n_rows, nx = free.shape
    count, total = np.empty(nx), np.empty(nx)
    for i in range(first, past):
        count[:] = 0.0
        total[:] = 0.0
        for row in range(i * height, min((i + 1) * height, n_rows)):
            used, power = free[row], variance[row * step]
            for x in range(nx):
                sigma = np.sqrt(power[x])
                count[x] += used[x]
                total[x] += sigma * sigma if used[x] != 0 else np.float32(0.0)
        _sum_along(count, width, number[i])
        _sum_along(total, width, noise[i])


@helper
def _sum_along(total: F8, width: int, sums: F8) -> None:
    """Sum so many columns each."""
    for k in range(sums.size):
        value = 0.0
        for x in range(k * width, min((k + 1) * width, total.size)):
            value += total[x]
        sums[k] = value
