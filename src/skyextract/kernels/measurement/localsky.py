"""Local background in a rectangular annulus around each source (BACKPHOTO_TYPE LOCAL).

The estimator is the clipped mode of the background meshes (SExtractor manual, chapter
"Modeling the background"): histogram, 3-sigma clipping around the median until sigma
converges, then 2.5 median - 1.5 mean, or the median in crowded fields.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.background.mode import MAX_LEVELS, clipped_mode
from skyextract.kernels.jit import kernel
from skyextract.kernels.measurement.records import SourcePixels

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I4

_PEARSON = 2.5
_RANGE = 5.0
_STEP = math.sqrt(2.0 / math.pi) * _RANGE / 4.0
"""Histogram: +- 5 sigma, at most 4096 levels, on average 4 counts in the central ones."""


@kernel
def _mode(values: F8, counts: I4) -> float:
    """Return the clipped mode of the values; NaN if they have no spread at all."""
    n = values.size
    mean = 0.0
    sigma = 0.0
    for k in range(n):
        mean += values[k]
        sigma += values[k] * values[k]
    mean /= n
    sigma = math.sqrt(max(sigma / n - mean * mean, 0.0))
    low, high = mean - 2.0 * sigma, mean + 2.0 * sigma
    used = 0
    mean = 0.0
    sigma = 0.0
    for k in range(n):
        if low <= values[k] <= high:
            mean += values[k]
            sigma += values[k] * values[k]
            used += 1
    if used == 0:
        return math.nan
    mean /= used
    sigma = math.sqrt(max(sigma / used - mean * mean, 0.0))
    n_levels = min(int(_STEP * used + 1.0), MAX_LEVELS)
    scale = 2.0 * _RANGE * sigma / n_levels if sigma > 0.0 else 1.0
    zero = mean - _RANGE * sigma
    counts[:n_levels] = 0
    for k in range(n):
        j = math.floor((values[k] - zero) / scale + 0.499999)
        if 0 <= j < n_levels:
            counts[j] += 1
    level, _ = clipped_mode(counts, n_levels, _PEARSON)
    return zero + level * scale


@kernel
def local_backgrounds(
    image: SourcePixels, xmin: I4, xmax: I4, ymin: I4, ymax: I4, thickness: int, first: int,
    last: int, out: F8,
) -> None:  # fmt: skip
    """Estimate the local background of the sources ``first <= i < last``.

    Parameters
    ----------
    image : SourcePixels
        With a `mask` that is not 0 pixels of all sources are left out.
    xmin, xmax, ymin, ymax : (n,) int32
        Bounding boxes, inclusive; grown by a quarter they are the hole of the annulus.
    thickness : int
        Width of the annulus, pixels.
    out : (n,) float64
        Output; 0 where the annulus does not fit into the frame or holds no pixel.
    """
    pixels, labels, mask = image
    height, width = pixels.shape
    counts = np.zeros(MAX_LEVELS, dtype=np.int32)
    values = np.empty(0)
    for i in range(first, last):
        out[i] = 0.0
        size_x, size_y = xmax[i] - xmin[i] + 1, ymax[i] - ymin[i] + 1
        grow_x = size_x // 4 if size_x < width // 2 else (width - size_x) // 4
        grow_y = size_y // 4 if size_y < height // 2 else (height - size_y) // 4
        hole_left, hole_right = xmin[i] - grow_x, xmax[i] + 1 + grow_x
        hole_bottom, hole_top = ymin[i] - grow_y, ymax[i] + 1 + grow_y
        left, right = hole_left - thickness, hole_right + thickness
        bottom, top = hole_bottom - thickness, hole_top + thickness
        if left < 0 or right >= width or bottom < 0 or top >= height:
            continue
        size = (right - left) * (top - bottom)
        if values.size < size:
            values = np.empty(size)
        n = 0
        for py in range(bottom, top):
            inside_y = hole_bottom <= py < hole_top
            for px in range(left, right):
                if inside_y and hole_left <= px < hole_right:
                    continue
                value = np.float64(pixels[py, px])
                if not value > -math.inf or (mask > 0 and labels[py, px] > 0):
                    continue
                values[n] = value
                n += 1
        if n > 0:
            level = _mode(values[:n], counts)
            if level == level:
                out[i] = level
