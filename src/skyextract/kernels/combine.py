"""Combination of frames pixel by pixel: sigma-clipped mean or median, with variance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from skyextract.kernels.jit import kernel

_MAD_TO_SIGMA = 1.482602


@kernel
def combine_rows(
    stack: NDArray[np.float32],
    clip: float,
    use_median: bool,
    first: int,
    last: int,
    level: NDArray[np.float32],
    variance: NDArray[np.float32],
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
    values = np.empty((nx, n), dtype=np.float32)
    count = np.empty(nx, dtype=np.int64)
    sigma = np.empty(nx, dtype=np.float64)
    deviation = np.empty(n, dtype=np.float32)
    for y in range(first, last):
        n_known = 0
        for x in range(nx):
            m = 0
            for k in range(n):
                value = stack[k, y, x]
                if np.isfinite(value):
                    values[x, m] = value
                    m += 1
            count[x] = m
            _sort(values[x], m)
            if m < 3:
                continue
            centre = _median(values[x], m)
            for k in range(m):
                deviation[k] = abs(values[x, k] - centre)
            _sort(deviation, m)
            sigma[n_known] = _MAD_TO_SIGMA * _median(deviation, m)
            n_known += 1
        typical = float(np.median(sigma[:n_known])) if n_known else 0.0
        for x in range(nx):
            m = count[x]
            if m == 0:
                level[y, x] = np.nan
                variance[y, x] = np.nan
                continue
            centre = _median(values[x], m)
            limit = math.inf
            if m >= 3:
                for k in range(m):
                    deviation[k] = abs(values[x, k] - centre)
                _sort(deviation, m)
                limit = clip * max(_MAD_TO_SIGMA * _median(deviation, m), typical)
            kept = 0
            total = 0.0
            for k in range(m):
                if abs(values[x, k] - centre) <= limit:
                    total += float(values[x, k])
                    kept += 1
            mean = total / kept
            squares = 0.0
            for k in range(m):
                if abs(values[x, k] - centre) <= limit:
                    squares += (float(values[x, k]) - mean) ** 2
            level[y, x] = centre if use_median else mean
            # The median of many values has pi/2 times the variance of their mean.
            factor = 0.5 * math.pi if use_median and m > 2 else 1.0
            variance[y, x] = factor * squares / (kept - 1) / kept if kept > 1 else np.nan


@kernel
def _sort(values: NDArray[np.float32], n: int) -> None:
    """Sort the first n values in place: by insertion, which is fastest for few of them."""
    if n > 64:
        values[:n].sort()
        return
    for k in range(1, n):
        value = values[k]
        m = k - 1
        while m >= 0 and values[m] > value:
            values[m + 1] = values[m]
            m -= 1
        values[m + 1] = value


@kernel
def _median(values: NDArray[np.float32], n: int) -> float:
    """Return the median of n sorted values."""
    half = n // 2
    if n % 2:
        return float(values[half])
    return 0.5 * (float(values[half - 1]) + float(values[half]))
