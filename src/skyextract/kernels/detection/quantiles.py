"""Quantiles of the free pixels in cells of an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8, U1

_BINS, _BINS_PER_VALUE = 4096, 4
"""Bins, at most; to walk through many of few values would take the longest."""
_REACH = 4.0
"""The histogram reaches from that many times `spread` below 0 to as much above."""


@kernel
def _gather_free(
    image: F4, claimed: U1, has_claimed: bool, rows: tuple[int, int], columns: tuple[int, int],
    step: int, values: F4,
) -> int:  # fmt: skip
    """Copy the pixels of every `step`-th row and column that are free; return their number."""
    n = 0
    for y in range(rows[0], rows[1], step):
        for x in range(columns[0], columns[1], step):
            value = image[y, x]
            free = (value != np.float32(0.0)) & (abs(value) < np.float32(np.inf))
            if has_claimed:
                free &= claimed[y, x] == 0
            values[n] = value
            n += int(free)
    return n


@kernel
def _place(values: F4, n: int, k: int) -> np.float32:
    """Return the k-th smallest value; the ones before it in `values` then are no larger."""
    low = 0
    high = n - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i = low
        j = high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return np.float32(values[k])


@kernel
def _quantile(values: F4, bins: I4, n: int, histogram: I4, share: float, few: F4) -> float:
    """Return a quantile, interpolated between the values on either side (numpy's "linear").

    Parameters
    ----------
    bins, histogram : (n,), (n_bins,)
        The bin of each value, which grows with the value, and the number of values in each.
    few : (n,)
        Work space.
    """
    position = (n - 1) * share
    k = math.floor(position)
    k = min(max(k, 0), n - 1)
    following = min(k + 1, n - 1)
    below = 0
    first = 0
    while below + histogram[first] <= k:
        below += histogram[first]
        first += 1
    last = first
    reached = below + histogram[first]
    while reached <= following:
        last += 1
        reached += histogram[last]
    m = 0
    for i in range(n):
        few[m] = values[i]
        m += int((bins[i] >= first) & (bins[i] <= last))
    a = _place(few, m, k - below)
    b = _place(few, m, following - below)
    difference = np.float64(b - a)
    part = position - k
    if part >= 0.5:
        return np.float64(b) - difference * (1.0 - part)
    return np.float64(a) + difference * part


@kernel
def cell_quantiles(
    image: F4, claimed: U1, has_claimed: bool, first_row: int, past_row: int, edge_x: I8,
    step: int, spread: float, shares: F8, n_free: I8, quantiles: F8,
) -> None:  # fmt: skip
    """Find quantiles of the free pixels in the cells of a row of cells.

    Free are numbers other than 0, of no source.  A histogram leaves only the few values of a bin
    to be put in order.

    Parameters
    ----------
    image : (ny, nx)
    claimed : (ny, nx), or (1, 1) without `has_claimed`
        Pixels of sources (not 0).
    edge_x : (n + 1,)
        First column of each cell, and the end.
    step : int
        Only every so many-th row and column is looked at.
    spread : float
        About the standard deviation of the pixels, whose mean is about 0; it sets the time only.
    shares : (k,)
        Of the pixels that lie below the quantiles.
    n_free : (n,), output
        Number of free pixels.
    quantiles : (n, k), output
        NaN without a free pixel.
    """
    n_rows = (past_row - first_row + step - 1) // step
    widest = 0
    for i in range(len(n_free)):
        widest = max(widest, (edge_x[i + 1] - edge_x[i] + step - 1) // step)
    values = np.empty(n_rows * widest + 1, np.float32)
    few = np.empty(n_rows * widest + 1, np.float32)
    bins = np.empty(n_rows * widest, np.int32)
    n_bins = min(_BINS, _BINS_PER_VALUE * n_rows * widest)
    histogram = np.empty(n_bins, np.int32)
    scale = np.float32(n_bins / (2.0 * _REACH * spread))
    offset = np.float32(0.5 * n_bins)
    for i in range(len(n_free)):
        n = _gather_free(
            image, claimed, has_claimed, (first_row, past_row), (edge_x[i], edge_x[i + 1]), step,
            values,
        )  # fmt: skip
        n_free[i] = n
        if n == 0:
            quantiles[i] = math.nan
            continue
        for k in range(n):
            scaled = values[k] * scale + offset
            bins[k] = np.int32(min(max(scaled, np.float32(0.0)), np.float32(n_bins - 1)))
        histogram[:] = 0
        for k in range(n):
            histogram[bins[k]] += 1
        for k in range(len(shares)):
            quantiles[i, k] = _quantile(values, bins, n, histogram, shares[k], few)
