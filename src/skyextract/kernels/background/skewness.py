"""Third moments of the pixels of blocks, and what neighbours share of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel, summation

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, Bools

CLIPS = 3
"""Means and standard deviations of what is within some of them of the mean before."""


@summation
def _sums_about(values: F4, middle: float) -> tuple[float, float]:
    """Return sum and sum of squares of departures from `middle`."""
    total, squares = 0.0, 0.0
    for value in values:
        away = float(value) - middle
        total += away
        squares += away * away
    return total, squares


@summation
def _sums_of_rows(
    here: F8, above: F8, last: int
) -> tuple[float, float, float, float, float, float]:
    """Return sums over a row of noise, whose first is the second value, and the row above it.

    Of squares, of cubes, of what neighbours share of these along x and y, of their products.
    """
    squares = cubes = shared_x = shared_y = products_x = products_y = 0.0
    for i in range(1, last + 1):
        value, left, up = here[i], here[i - 1], above[i]
        square = value * value
        squares += square
        cubes += square * value
        shared_x += square * left + left * left * value
        shared_y += square * up + up * up * value
        products_x += value * left
        products_y += value * up
    return squares, cubes, shared_x, shared_y, products_x, products_y


@kernel
def block_moments(
    image: F4, good: Bools, left: int, right: int, ordered: F4, wild: float, out: F8
) -> bool:
    """Return whether there is a noise of the good pixels of a block, and its moments.

    Parameters
    ----------
    image, good : (ny, nx)
        Pixels, and which of them count.
    left, right : int
        The block has the columns from `left` up to `right`.
    ordered : (n,) float32
        Those that count, sorted.
    wild : float
        Pixels farther from the mean than so many sigma are left out.
    out : (3,) float64, output
        Skewness, what neighbours share of it, and their correlation.
    """
    n = len(ordered)
    middle = float(ordered[int(0.5 * n)])
    sigma = 0.5 * (float(ordered[int(0.8413 * n)]) - float(ordered[int(0.1587 * n)]))
    for _ in range(CLIPS):
        first = np.searchsorted(ordered, np.float32(middle - wild * sigma))
        last = np.searchsorted(ordered, np.float32(middle + wild * sigma))
        if last - first < 2:
            return False
        total, squares = _sums_about(ordered[first:last], middle)
        mean = total / (last - first)
        middle += mean
        sigma = np.sqrt(max(squares / (last - first) - mean * mean, 0.0))
    if not sigma > 0.0:
        return False
    ny, nx = image.shape[0], right - left
    scale = 1.0 / sigma
    noise = np.zeros((2, nx + 1))  # the row before, and this one
    squares = cubes = shared_x = shared_y = products_x = products_y = 0.0
    for j in range(ny):
        here = noise[j % 2]
        for i in range(nx):
            value = (image[j, left + i] - middle) * scale
            here[i + 1] = value if good[j, left + i] and abs(value) < wild else 0.0
        sums = _sums_of_rows(here, noise[(j + 1) % 2], nx)
        squares += sums[0]
        cubes += sums[1]
        shared_x += sums[2]
        shared_y += sums[3]
        products_x += sums[4]
        products_y += sums[5]
    n_x, n_y = max(ny * (nx - 1), 1), max((ny - 1) * nx, 1)
    out[0] = cubes / n
    out[1] = 0.25 * (shared_x / n_x + shared_y / n_y)
    out[2] = 0.5 * (products_x / n_x + products_y / n_y) / max(squares / (ny * nx), 1e-30)
    return True
