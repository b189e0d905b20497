"""Level and noise of the sky in the meshes of an image, estimated as `mode` describes.

Sums use SExtractor's precision (float64 for statistics, float32 for values and limits), so
that both programs agree to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.background.mode import (
    CUT_SIGMA,
    MAX_LEVELS,
    clipped_mode,
    moments,
    quantise,
)
from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4, I8, U1, U2


BAD = np.float32(-1e30)
"""Level and rms of a mesh with too few good pixels."""

_MIN_GOOD_FRACTION = 0.5
_HUGE = 1e30
"""Pixels beyond are no numbers."""


class SkyPixels(NamedTuple):
    """An image, and which of its pixels are left out.

    Attributes
    ----------
    image : (ny, nx)
    mask : (ny, nx), or (1, 1) with `planes` 0
        Pixels with any of the bits `planes` are left out.
    sources : (ny, nx), or (1, 1) without `has_sources`
        Pixels that are not 0 are left out.
    weight : (ny, nx), or (1, 1) without `has_weight`
        Variance map; pixels at or above `max_weight` are left out.
    """

    image: F4
    mask: U2
    planes: int
    sources: U1
    has_sources: bool
    weight: F4
    has_weight: bool
    max_weight: np.float32


class Meshes(NamedTuple):
    """Size of a mesh in pixels, and what is estimated in each.

    Attributes
    ----------
    level, rms, weight_level : (n_mesh_y, n_mesh_x)
        Mode and rms of the image, mode of the variance map; `BAD` for a mesh with less than
        half of its pixels good.
    """

    width: int
    height: int
    level: F4
    rms: F4
    weight_level: F4


@kernel
def _gather(pixels: SkyPixels, y0: int, y1: int, x0: int, x1: int, values: F4, weights: F4) -> int:
    """Copy the pixels of a mesh that count, and their weights; return their number."""
    image, mask, planes, sources, has_sources, weight, has_weight, max_weight = pixels
    has_mask = planes != 0
    n = 0
    for y in range(y0, y1):
        if has_mask or has_sources or has_weight:
            for x in range(x0, x1):
                good = abs(image[y, x]) < _HUGE
                if has_mask and (mask[y, x] & planes) != 0:
                    good = False
                if has_sources and sources[y, x] != 0:
                    good = False
                if has_weight:
                    if not weight[y, x] < max_weight:
                        good = False
                    weights[n] = weight[y, x]
                values[n] = image[y, x]
                n += int(good)
        else:
            values[n : n + x1 - x0] = image[y, x0:x1]
            n += x1 - x0
    return n


@kernel
def _keep_numbers(values: F4, n: int) -> int:
    """Move the values that are numbers to the front; return how many they are."""
    kept = 0
    for k in range(n):
        if abs(values[k]) < _HUGE:
            values[kept] = values[k]
            kept += 1
    return kept


@kernel
def _bin(value: np.float32, width: np.float32, offset: np.float32) -> np.int32:
    """Return the bin of a value; far ones must not overflow an integer."""
    scaled = value / width + offset
    return np.int32(min(max(scaled, np.float32(-2.0)), np.float32(MAX_LEVELS)))


@kernel
def _count(
    values: F4, n: int, n_levels: int, width: np.float32, zero: np.float32, bins: I4, histogram: I4
) -> None:
    """Count the values in a histogram of `n_levels` bins; set the bin of each."""
    offset = np.float32(0.499999 - np.float64(zero / width))
    for k in range(n):
        bins[k] = _bin(values[k], width, offset)
    histogram[:] = 0
    for k in range(n):
        b = bins[k]
        if 0 <= b < n_levels:
            histogram[b] += 1


@kernel
def _weight_mode(
    values: F4, weights: F4, bins: I4, n: int, low: np.float32, high: np.float32, n_levels: int,
    histogram: I4, pearson: float, sums: I8,
) -> np.float32:  # fmt: skip
    """Return the mode of the weights; the image's own clipping holds for them, too.

    `bins` are those of the image's values, which lie in [low, high] where it is quantised;
    `values` and `histogram` are written over.
    """
    _, mean, sigma = moments(weights, n, -_HUGE, _HUGE)
    least = np.float64(np.float32(mean - CUT_SIGMA * sigma))
    most = np.float64(np.float32(mean + CUT_SIGMA * sigma))
    m = 0
    for k in range(n):
        if low <= values[k] <= high:
            values[m] = weights[k]
            m += 1
    count, mean, sigma = moments(values, m, least, most)
    if count == 0:
        return np.float32(weights[0])
    w_levels, width, zero = quantise(count, mean, sigma)
    offset = np.float32(0.499999 - np.float64(zero / width))
    histogram[:] = 0
    for k in range(n):
        if 0 <= bins[k] < n_levels:
            b = _bin(weights[k], width, offset)
            if 0 <= b < w_levels:
                histogram[b] += 1
    mode, _ = clipped_mode(histogram, w_levels, pearson, sums)
    return np.float32(zero + mode * width)


@kernel
def mesh_statistics(
    pixels: SkyPixels, meshes: Meshes, first_row: int, past_row: int, pearson: float
) -> None:
    """Estimate level and rms, output, in the mesh rows [first_row, past_row)."""
    has_weight = pixels.has_weight
    level, rms, weight_level = meshes.level, meshes.rms, meshes.weight_level
    ny, nx = pixels.image.shape
    size = min(meshes.width, nx) * min(meshes.height, ny)
    values = np.empty(size, np.float32)
    weights = np.empty(size if has_weight else 1, np.float32)
    bins = np.empty(size, np.int32)
    histogram = np.empty(MAX_LEVELS + 1, np.int32)
    sums = np.empty((MAX_LEVELS + 1, 3), np.int64)
    for j in range(first_row, past_row):
        y0 = j * meshes.height
        y1 = min(y0 + meshes.height, ny)
        for i in range(level.shape[1]):
            x0 = i * meshes.width
            x1 = min(x0 + meshes.width, nx)
            level[j, i] = rms[j, i] = weight_level[j, i] = BAD
            n = _gather(pixels, y0, y1, x0, x1, values, weights)
            count, mean, sigma = moments(values, n, -_HUGE, _HUGE)
            if count < n:
                n = _keep_numbers(values, n)
                count, mean, sigma = moments(values, n, -_HUGE, _HUGE)
            if n == 0 or n < (y1 - y0) * (x1 - x0) * _MIN_GOOD_FRACTION:
                continue
            low = np.float32(mean - CUT_SIGMA * sigma)
            high = np.float32(mean + CUT_SIGMA * sigma)
            count, mean, sigma = moments(values, n, np.float64(low), np.float64(high))
            if count == 0:  # a spread below float32 resolution
                level[j, i] = values[0]
                rms[j, i] = np.float32(0.0)
                continue
            n_levels, width, zero = quantise(count, mean, sigma)
            _count(values, n, n_levels, width, zero, bins, histogram)
            mode, spread = clipped_mode(histogram, n_levels, pearson, sums)
            level[j, i] = np.float32(zero + mode * width)
            rms[j, i] = np.float32(spread * width)
            if has_weight:
                weight_level[j, i] = _weight_mode(
                    values, weights, bins, n, low, high, n_levels, histogram, pearson, sums
                )
