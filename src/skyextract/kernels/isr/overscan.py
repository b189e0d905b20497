"""Levels and deviations of the lines of an overscan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.isr.sorting import BLOCK, sort_columns
from skyextract.kernels.jit import kernel, summation

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8


@kernel
def line_medians(pixels: F4, levels: F8) -> None:
    """Take the median of the finite values of each line; NaN if it has none.

    Parameters
    ----------
    pixels : (n_lines, width) float32
    levels : (n_lines,) float64
        Output.  The mean of the two values in the middle is not rounded to float32.
    """
    n_lines, width = pixels.shape
    block = np.empty((width, BLOCK), dtype=np.float32)
    for start in range(0, n_lines, BLOCK):
        n = min(BLOCK, n_lines - start)
        for y in range(n):
            line = pixels[start + y]
            for x in range(width):
                block[x, y] = line[x] if abs(line[x]) < np.inf else np.float32(np.inf)
        sort_columns(block, n)
        for y in range(n):
            m = width
            while m > 0 and block[m - 1, y] == np.inf:
                m -= 1
            middle = np.nan
            if m > 0:
                middle = 0.5 * (np.float64(block[(m - 1) // 2, y]) + np.float64(block[m // 2, y]))
            levels[start + y] = middle


@kernel
def deviations(pixels: F4, levels: F8, out: F4) -> int:
    """Write the finite values less the level of their line, one after the other.

    Parameters
    ----------
    pixels : (n_lines, width) float32
    levels : (n_lines,) float64
    out : (n_lines * width,) float32
        Output.

    Returns
    -------
    int
        How many there are.
    """
    n_lines, width = pixels.shape
    n = 0
    for y in range(n_lines):
        line, level = pixels[y], levels[y]
        for x in range(width):
            out[n] = np.float32(np.float64(line[x]) - level)
            n += abs(line[x]) < np.inf
    return n


@kernel
def scatter_within(values: F4, limit: float) -> float:
    """Return the standard deviation of the values that are not above the limit; NaN of none.

    Parameters
    ----------
    values : (n,) float32
        About zero.
    """
    n, total, squares = _sums_within(values, limit)
    if n == 0:
        return np.nan
    mean = total / n
    return float(np.sqrt(max(squares / n - mean * mean, 0.0)))


@summation
def _sums_within(values: F4, limit: float) -> tuple[int, float, float]:
    """Return number, sum, and sum of squares."""
    n, total, squares = np.int32(0), 0.0, 0.0
    for i in range(len(values)):
        value = np.float64(values[i])  # float() leaves a float32 what it is
        kept = abs(value) <= limit
        n += np.int32(kept)
        total += value if kept else 0.0
        squares += value * value if kept else 0.0
    return int(n), total, squares
