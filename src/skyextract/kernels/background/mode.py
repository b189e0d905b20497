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

from skyextract.kernels.jit import helper, summation

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4


MAX_LEVELS = 4096
"""Bins of a histogram, at most."""
CUT_SIGMA = 2.0
"""The histogram is made around the mean of the values within so many sigma."""

_RANGE_SIGMA = 5.0
_LEVEL_STEP = math.sqrt(2.0 / math.pi) * _RANGE_SIGMA / 4.0
_CLIP_SIGMA = 3.0
_MAX_CLIPS = 100
_CROWDED = 0.3


@summation
def moments(values: F4, n: int, low: float, high: float) -> tuple[int, float, float]:
    """Return number, mean and standard deviation of the values in [low, high].

    With NaN or inf among the values only the number is right.
    """
    count = 0
    total = squares = 0.0
    part = values[:n]
    for k in range(len(part)):
        value = np.float64(part[k])
        counts = (low <= value) & (value <= high)
        chosen = value if counts else 0.0
        count += int(counts)
        total += chosen
        squares += chosen * chosen
    if count == 0:
        return 0, 0.0, 0.0
    mean, sigma = _spread_of(count, total, squares)
    return count, mean, sigma


@summation
def moments_of_all(values: F4, n: int) -> tuple[float, float]:
    """Return mean and standard deviation of values, all of which are numbers."""
    total = squares = 0.0
    part = values[:n]
    for k in range(len(part)):
        value = np.float64(part[k])
        total += value
        squares += value * value
    return _spread_of(n, total, squares)


@helper
def _spread_of(count: int, total: float, squares: float) -> tuple[float, float]:
    """Return mean and standard deviation by the sums of values and of their squares."""
    mean = total / count
    variance = squares / count - mean * mean
    return mean, math.sqrt(variance) if variance > 0.0 else 0.0


@helper
def quantise(count: int, mean: float, sigma: float) -> tuple[int, np.float32, np.float32]:
    """Return number of histogram levels, level width and lower edge for a clipped sample."""
    n_levels = min(int(_LEVEL_STEP * count + 1.0), MAX_LEVELS)
    width = np.float32(2.0 * _RANGE_SIGMA * sigma / n_levels) if sigma > 0.0 else np.float32(1.0)
    zero = np.float32(mean - _RANGE_SIGMA * sigma)
    return n_levels, width, zero


@summation
def _bin_sums(histogram: I4, first: int, past: int) -> tuple[np.int64, np.int64, np.int64]:
    """Return the sums of n, n*i and n*i*i over the bins [first, past).

    Added up as float64, which vector instructions multiply and which holds such whole numbers.
    """
    f0 = f1 = f2 = 0.0
    part = histogram[first:past]
    for u in range(len(part)):
        n = np.float64(part[u])
        i = np.float64(np.int32(u))
        f0 += n
        f1 += n * i
        f2 += n * i * i
    s0, s1, s2 = np.int64(f0), np.int64(f1), np.int64(f2)
    return s0, s1 + first * s0, s2 + 2 * first * s1 + first * first * s0


@helper
def _sums_between(histogram: I4, first: int, past: int) -> tuple[np.int64, np.int64, np.int64]:
    """Return `_bin_sums` from one limit to another, which are negative on the way down."""
    s0, s1, s2 = _bin_sums(histogram, min(first, past), max(first, past))
    return (s0, s1, s2) if first <= past else (-s0, -s1, -s2)


@helper
def clipped_mode(histogram: I4, n_levels: int, pearson: float) -> tuple[float, float]:
    """Return mode and standard deviation, in bins, of a histogram clipped around its median.

    The sums over the bins within the limits, and the bin of the median, are those of the pass
    before and what lies between the old and the new places.
    """
    last = n_levels - 1
    low = 0
    past = n_levels
    split = n_levels // 2
    left, s1, s2 = _bin_sums(histogram, 0, split)  # `left`: n of the bins [low, split)
    n, more1, more2 = _bin_sums(histogram, split, past)
    n, s1, s2 = n + left, s1 + more1, s2 + more2
    sigma = 10.0 * last
    previous = 1.0
    mean = median = 0.0
    for _ in range(_MAX_CLIPS):
        if sigma < 0.1 or abs(sigma / previous - 1.0) <= 1e-4:
            break
        previous = sigma
        # The median bin: counting from both ends, always on the side with the smaller sum,
        # the ends meet at the highest bin whose lower side was still the smaller one.
        while split + 1 < past and 2 * left + histogram[split] + histogram[split + 1] < n:
            left += histogram[split]
            split += 1
        while split > low and 2 * left + histogram[split] - histogram[split - 1] >= n:
            split -= 1
            left -= histogram[split]
        edge_bin, below = split, left
        if 2 * left + histogram[split] < n:
            edge_bin += 1
            below += histogram[split]
        if edge_bin > 0:
            largest = max(histogram[min(edge_bin, last)], histogram[edge_bin - 1])
            excess = n - 2 * below
            median = edge_bin - 0.5 + (excess / (2.0 * largest) if largest > 0 else 0.0)
        else:
            median = 0.0
        mean = np.float64(s1)
        square = np.float64(s2)
        if n > 0:
            mean /= n
            square = square / n - mean * mean
        sigma = math.sqrt(square) if square > 0.0 else 0.0

        edge = median - _CLIP_SIGMA * sigma
        new_low = min(int(edge + 0.5), last) if edge > 0.0 else 0
        edge = median + _CLIP_SIGMA * sigma
        new_past = 1 + (int(edge + 0.5 if edge > 0.0 else edge - 0.5) if edge < last else last)
        new_past = max(new_past, new_low + 1)
        less, less1, less2 = _sums_between(histogram, low, new_low)
        more, more1, more2 = _sums_between(histogram, past, new_past)
        n, s1, s2 = n + more - less, s1 + more1 - less1, s2 + more2 - less2
        left -= less
        low, past = new_low, new_past
        if split < low:
            split, left = low, np.int64(0)
        elif split >= past:
            split = past - 1
            left = n - histogram[split]
    if sigma > 0.0 and abs((mean - median) / sigma) < _CROWDED:
        level = pearson * median - (pearson - 1.0) * mean
    elif sigma > 0.0:
        level = median
    else:
        level = mean
    return level, sigma
