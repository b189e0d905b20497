"""Level and noise of a sample: a histogram that is clipped around its median.

The estimator is SExtractor's (Bertin & Arnouts 1996, A&AS 117, 393, section 3; SExtractor
manual, "Modeling the background"): a histogram, quantised around the mean of the values within
2 sigma, is clipped at 3 sigma around its median until it converges; the level is Pearson's mode
``p * median - (p - 1) * mean``, or the median where both differ by more than 0.3 sigma.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4, I8


MAX_LEVELS = 4096
"""Bins of a histogram, at most."""
CUT_SIGMA = 2.0
"""The histogram is made around the mean of the values within so many sigma."""

_RANGE_SIGMA = 5.0
_LEVEL_STEP = math.sqrt(2.0 / math.pi) * _RANGE_SIGMA / 4.0
_CLIP_SIGMA = 3.0
_MAX_CLIPS = 100
_CROWDED = 0.3
_PART = 64
"""Values that `moments` works on at a time."""


@helper
def moments(values: F4, n: int, low: float, high: float) -> tuple[int, float, float]:
    """Return number, mean and standard deviation of the values in [low, high].

    With NaN or inf among the values only the number is right.
    """
    count = 0
    s = s1 = s2 = s3 = 0.0
    ss = ss1 = ss2 = ss3 = 0.0
    full = n - n % 4
    inside = np.empty((_PART // 4, 4))
    squares = np.empty((_PART // 4, 4))
    flat = inside.reshape(_PART)
    flat_squares = squares.reshape(_PART)
    # In two loops over parts that stay in the cache: vector instructions choose and square, then
    # four independent sums are added up; one chain of additions would wait for its own latency.
    for first in range(0, full, _PART):
        size = min(_PART, full - first)
        part = values[first : first + size]
        for k in range(size):
            value = np.float64(part[k])
            counts = (low <= value) & (value <= high)
            chosen = value if counts else 0.0
            count += int(counts)
            flat[k] = chosen
            flat_squares[k] = chosen * chosen
        for k in range(size // 4):
            s += inside[k, 0]
            s1 += inside[k, 1]
            s2 += inside[k, 2]
            s3 += inside[k, 3]
            ss += squares[k, 0]
            ss1 += squares[k, 1]
            ss2 += squares[k, 2]
            ss3 += squares[k, 3]
    s += s1 + s2 + s3
    ss += ss1 + ss2 + ss3
    for i in range(full, n):
        a = np.float64(values[i])
        if low <= a <= high:
            count += 1
            s += a
            ss += a * a
    if count == 0:
        return 0, 0.0, 0.0
    mean = s / count
    variance = ss / count - mean * mean
    return count, mean, math.sqrt(variance) if variance > 0.0 else 0.0


@helper
def quantise(count: int, mean: float, sigma: float) -> tuple[int, np.float32, np.float32]:
    """Return number of histogram levels, level width and lower edge for a clipped sample."""
    n_levels = min(int(_LEVEL_STEP * count + 1.0), MAX_LEVELS)
    width = np.float32(2.0 * _RANGE_SIGMA * sigma / n_levels) if sigma > 0.0 else np.float32(1.0)
    zero = np.float32(mean - _RANGE_SIGMA * sigma)
    return n_levels, width, zero


@helper
def clipped_mode(histogram: I4, n_levels: int, pearson: float, sums: I8) -> tuple[float, float]:
    """Return mode and standard deviation, in bins, of a histogram clipped around its median.

    `sums`, (n_levels + 1, 3), is work space: running sums of n, n*i and n*i*i make each clipping
    pass a few look-ups instead of a walk over the histogram.
    """
    s0 = np.int64(0)
    s1 = np.int64(0)
    s2 = np.int64(0)
    for i in range(n_levels):
        sums[i, 0] = s0
        sums[i, 1] = s1
        sums[i, 2] = s2
        h = np.int64(histogram[i])
        s0 += h
        h *= i
        s1 += h
        s2 += h * i
    sums[n_levels, 0] = s0
    sums[n_levels, 1] = s1
    sums[n_levels, 2] = s2

    last = n_levels - 1
    low = 0
    high = last
    sigma = 10.0 * last
    previous = 1.0
    mean = median = 0.0
    for _ in range(_MAX_CLIPS):
        if sigma < 0.1 or abs(sigma / previous - 1.0) <= 1e-4:
            break
        previous = sigma
        below = sums[low, 0]
        above = sums[high + 1, 0]
        # The median bin: counting from both ends, always on the side with the smaller sum,
        # the ends meet at the highest bin whose lower side was still the smaller one.
        first = low
        past = high + 1
        while past - first > 1:
            middle = (first + past) // 2
            if sums[middle - 1, 0] - below < above - sums[middle + 1, 0]:
                first = middle
            else:
                past = middle
        split = first
        if sums[split, 0] - below < above - sums[split + 1, 0]:
            split += 1
        if split > 0:
            largest = max(histogram[min(split, last)], histogram[split - 1])
            excess = (above - sums[split, 0]) - (sums[split, 0] - below)
            median = split - 0.5 + (excess / (2.0 * largest) if largest > 0 else 0.0)
        else:
            median = 0.0
        count = above - below
        mean = np.float64(sums[high + 1, 1] - sums[low, 1])
        square = np.float64(sums[high + 1, 2] - sums[low, 2])
        if count > 0:
            mean /= count
            square = square / count - mean * mean
        sigma = math.sqrt(square) if square > 0.0 else 0.0
        edge = median - _CLIP_SIGMA * sigma
        low = min(int(edge + 0.5), last) if edge > 0.0 else 0
        edge = median + _CLIP_SIGMA * sigma
        high = int(edge + 0.5 if edge > 0.0 else edge - 0.5) if edge < last else last
        high = max(high, low)
    if sigma > 0.0 and abs((mean - median) / sigma) < _CROWDED:
        level = pearson * median - (pearson - 1.0) * mean
    elif sigma > 0.0:
        level = median
    else:
        level = mean
    return level, sigma
