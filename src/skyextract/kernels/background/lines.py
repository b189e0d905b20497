"""Sums along straight lines across an image, how they stand out, and medians of parts of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, Bools


@kernel
def join_halves(parts: F4, n_rises: int, out: F4) -> None:
    """Join sums along lines of n columns to those of 2n columns: one level of the transform.

    Parameters
    ----------
    parts : (n_bands * n_rises, 2 m) float32
        Sums in bands of columns side by side, by their rise over these; two for each place.
    n_rises : int
    out : (n_bands * n_rises, 2 m) float32
        Result: those of pairs of bands, with twice as many rises.
    """
    width = parts.shape[1]
    for pair in range(parts.shape[0] // (2 * n_rises)):
        for rise in range(2 * n_rises):
            left = parts[2 * pair * n_rises + rise // 2]
            right = parts[(2 * pair + 1) * n_rises + rise // 2]
            into = out[2 * pair * n_rises + rise]
            step = 2 * ((rise + 1) // 2)
            for i in range(width - step):
                into[i] = left[i] + right[i + step]
            for i in range(width - step, width):
                into[i] = left[i]


@kernel
def stand_out(
    sums: F4, least: np.float32, near: int, far: int, value: F4, enough: Bools
) -> None:  # fmt: skip
    """Set the mean of each line times the root of its cells, less that of the lines beside.

    Parameters
    ----------
    sums : (n, 2 m) float32
        Of each line, in the order of their direction, the sum and the number of its cells.
    least : float32
        Lines of no more cells are 0.
    near, far : int
        Lines beside are those of the same direction that begin so many rows away.
    value : (n, m) float32
        Result.
    enough : (n, m) bool
        Result: lines of more than `least` cells.
    """
    m = value.shape[1]
    # Sums of all up to each, which begin and end with as many zeros as a mean may reach.
    total, number = np.zeros(m + 2 * far + 1), np.zeros(m + 2 * far + 1)
    zero, one = np.float32(0.0), np.float32(1.0)
    for row in range(value.shape[0]):
        for i in range(m):
            n = sums[row, 2 * i + 1]
            enough[row, i] = n > least
            value[row, i] = sums[row, 2 * i] / math.sqrt(max(n, one)) if n > least else zero
        for i in range(far + 1, m + far + 1):
            total[i] = total[i - 1] + np.float64(value[row, i - far - 1])
            number[i] = number[i - 1] + (1.0 if enough[row, i - far - 1] else 0.0)
        total[m + far + 1 :], number[m + far + 1 :] = total[m + far], number[m + far]
        for i in range(m):
            if enough[row, i]:
                first, low, high, last = i, i + far - near, i + far + near + 1, i + 2 * far + 1
                light = (total[last] - total[first]) - (total[high] - total[low])
                count = (number[last] - number[first]) - (number[high] - number[low])
                value[row, i] -= np.float32(light / max(count, 1.0))


@kernel
def group_medians(value: F8, group: I8, used: Bools, out: F8) -> None:
    """Take the median of the values of each group, the upper one of two in the middle.

    Parameters
    ----------
    value : (n,) float64
        None of them NaN.
    group : (n,) int64
    used : (n,) bool
        Values that count.
    out : (m,) float64
        Result: of each group, 0 where it has none.
    """
    end = np.zeros(out.size + 1, np.int64)
    for k in range(value.size):
        if used[k]:
            end[group[k] + 1] += 1
    for g in range(out.size):
        end[g + 1] += end[g]
    place = end[:-1].copy()
    ordered = np.empty(end[-1])
    for k in range(value.size):
        if used[k]:
            ordered[place[group[k]]] = value[k]
            place[group[k]] += 1
    for g in range(out.size):
        middle = (end[g + 1] - end[g]) // 2
        own = ordered[end[g] : end[g + 1]]
        out[g] = np.partition(own, middle)[middle] if own.size else 0.0
