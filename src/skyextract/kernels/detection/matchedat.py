"""Matched filtering with the PSF near some pixels only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.detection.matched import PsfCells, Weighting
from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I8


@helper
def _load_window(
    image: F4, weighting: Weighting, top: int, left: int, weight: F4, weighted: F4
) -> tuple[np.float32, bool]:
    """Set the weights of a window from row `top` and column `left` on, and pixels times these.

    Returns
    -------
    typical : float32
        Largest mean weight of the good pixels of a row.
    complete : bool
        All pixels are good.
    """
    variance, constant, worst = weighting.variance, weighting.constant, weighting.worst
    bad, has_bad, has_variance = weighting.bad, weighting.has_bad, weighting.has_variance
    side = weight.shape[0]
    typical = np.float32(0.0)
    n_all = 0
    for j in range(side):
        y = top + j
        total = np.float32(0.0)
        n_good = 0
        for i in range(side):
            x = left + i
            weight[j, i] = weighted[j, i] = np.float32(0.0)
            if y < 0 or x < 0 or y >= image.shape[0] or x >= image.shape[1]:
                continue
            v = variance[y, x] if has_variance else constant
            if not (v > np.float32(0.0) and v < worst) or (has_bad and bad[y, x] != 0):
                continue
            one = np.float32(1.0) / v
            weight[j, i] = one
            weighted[j, i] = one * image[y, x]
            total += one
            n_good += 1
        n_all += n_good
        if n_good > 0:
            typical = max(typical, total / np.float32(n_good))
    return typical, n_all == side * side


@helper
def _correlate(window: F4, column: F4, line: F4, span: F4, out: F4) -> None:
    """Correlate a window with ``sum_r outer(column[r], line[r])`` where that is inside."""
    n_terms, size = column.shape
    n = out.shape[0]
    width = window.shape[1]
    out[:] = np.float32(0.0)
    for r in range(n_terms):
        for j in range(n):
            span[:] = np.float32(0.0)
            for v in range(size):
                factor = column[r, v]
                row = window[j + v]
                for i in range(width):
                    span[i] += factor * row[i]
            for u in range(size):
                factor = line[r, u]
                for i in range(n):
                    out[j, i] += factor * span[u + i]


@kernel
def matched_about(
    image: F4, weighting: Weighting, psf: PsfCells, unit: np.float32, min_share: np.float32,
    row: I8, column: I8, up: I8, across: I8, reach: int, out: F4,
) -> None:  # fmt: skip
    """Compute the significance of a point source near some pixels, as `matched_rows` does.

    Parameters
    ----------
    image, weighting, psf, unit, min_share
        As there; the variance is a plane or a constant.
    row, column : (n,) int64
        Pixels.
    up, across : (n,) int64
        Cell [y, x] of each, whose PSF is taken for all that is near it.
    reach : int
        How far from them along both axes.
    out : (ny, nx) float32
        Output; other pixels stay as they are.
    """
    size = psf.column.shape[3]
    half = size // 2
    n = 2 * reach + 1
    side = n + size - 1
    weight, weighted = np.empty((side, side), np.float32), np.empty((side, side), np.float32)
    above, below = np.empty((n, n), np.float32), np.empty((n, n), np.float32)
    span = np.empty(side, np.float32)
    for k in range(row.size):
        top, left = row[k] - reach, column[k] - reach
        typical, complete = _load_window(
            image, weighting, top - half, left - half, weight, weighted
        )
        j, i = up[k], across[k]
        _correlate(weighted, psf.column[j, i], psf.line[j, i], span, above)
        square = np.float32(0.0)
        for r in range(psf.column2.shape[2]):
            square += psf.column2[j, i, r].sum() * psf.line2[j, i, r].sum()
        if weighting.smooth and complete:
            for b in range(n):
                for a in range(n):
                    below[b, a] = weight[b + half, a + half] * square
        else:
            _correlate(weight, psf.column2[j, i], psf.line2[j, i], span, below)
        for b in range(max(0, -top), min(n, image.shape[0] - top)):
            for a in range(max(0, -left), min(n, image.shape[1] - left)):
                own = weight[b + half, a + half]
                least = own if np.float32(0.0) < own < typical else typical
                value = np.float32(0.0)
                if below[b, a] > min_share * square * least:
                    value = unit * above[b, a] / np.float32(math.sqrt(below[b, a]))
                out[top + b, left + a] = value
