"""Combination of frames pixel by pixel: sigma-clipped mean or median, with variance.

The values of all pixels of a row are sorted at the same time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.isr.sorting import BLOCK, sort_columns
from skyextract.kernels.jit import kernel
from skyextract.kernels.values import MAD_TO_SIGMA

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4


@kernel
def combine_rows(
    stack: F4,
    clip: float,
    use_median: bool,
    first: int,
    last: int,
    level: F4,
    variance: F4,
) -> None:
    """Combine rows `first` .. `last` - 1 of a stack.

    A value is clipped if it lies more than `clip` sigma from the median of its pixel, sigma
    being 1.48 times the median deviation, but not less than what is typical of the row: a few
    values tell little about their own scatter.

    Parameters
    ----------
    stack : (n, ny, nx) float32
        NaN where there is no value.
    clip : float
        In sigma.
    use_median : bool
        The median of all values, instead of the mean of those that are kept.
    level, variance : (ny, nx) float32
        Output: combined values and their variance, from the scatter of the values that are
        kept; NaN without a value, variance NaN with fewer than two.
    """
    n, _, nx = stack.shape
    block = np.empty((n, BLOCK), dtype=np.float32)
    values = np.empty((nx, n), dtype=np.float32)
    count = np.empty(nx, dtype=np.int64)
    sigma = np.empty(nx, dtype=np.float64)
    known = np.empty(nx, dtype=np.float64)
    for y in range(first, last):
        n_known = 0
        for start in range(0, nx, BLOCK):
            width = min(BLOCK, nx - start)
            for k in range(n):
                row, sorted_row = stack[k, y, start : start + width], block[k]
                for x in range(width):
                    finite = abs(row[x]) < np.inf
                    sorted_row[x] = row[x] if finite else np.float32(np.inf)
            sort_columns(block, width)
            for x in range(width):
                m = n
                while m > 0 and block[m - 1, x] == np.inf:
                    m -= 1
                for k in range(m):
                    values[start + x, k] = block[k, x]
                count[start + x] = m
        for x in range(nx):
            if count[x] >= 3:
                sigma[x] = MAD_TO_SIGMA * _median_deviation(values[x], count[x])
                known[n_known] = sigma[x]
                n_known += 1
        typical = float(np.median(known[:n_known])) if n_known else 0.0
        for x in range(nx):
            m = count[x]
            if m == 0:
                level[y, x] = np.nan
                variance[y, x] = np.nan
                continue
            centre = _median(values[x], m)
            limit = clip * max(sigma[x], typical) if m >= 3 else math.inf
            low, high = 0, m
            while low < high - 1 and centre - float(values[x, low]) > limit:
                low += 1
            while high > low + 1 and float(values[x, high - 1]) - centre > limit:
                high -= 1
            kept = high - low
            total = 0.0
            for k in range(low, high):
                total += float(values[x, k]) - centre
            shift = total / kept
            squares = 0.0
            for k in range(low, high):
                squares += (float(values[x, k]) - centre - shift) ** 2
            level[y, x] = centre if use_median else centre + shift
            # The median of many values has pi/2 times the variance of their mean.
            factor = 0.5 * math.pi if use_median and m > 2 else 1.0
            variance[y, x] = factor * squares / (kept - 1) / kept if kept > 1 else np.nan


@kernel
def _median(values: F4, n: int) -> float:
    """Return the median of n sorted values."""
    half = n // 2
    if n % 2:
        return float(values[half])
    return 0.5 * (np.float64(values[half - 1]) + np.float64(values[half]))


@kernel
def _median_deviation(values: F4, n: int) -> float:
    """Return the median distance of n sorted values from their median.

    The distances are met in rising order by going outwards from the middle.
    """
    centre = _median(values, n)
    low, high = (n - 1) // 2, (n - 1) // 2 + 1
    previous = distance = 0.0
    for _ in range(n // 2 + 1):
        previous = distance
        below = centre - float(values[low]) if low >= 0 else math.inf
        above = float(values[high]) - centre if high < n else math.inf
        if below <= above:
            distance = below
            low -= 1
        else:
            distance = above
            high += 1
    return distance if n % 2 else 0.5 * (previous + distance)
