"""Level and noise of the sky in the meshes of an image, estimated as `mode` describes.

Sums use SExtractor's precision (float64 for statistics, float32 for values and limits), so
that both programs agree to rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.background.mode import (
    CUT_SIGMA,
    MAX_LEVELS,
    clipped_mode,
    moments,
    moments_of_all,
    quantise,
)
from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4, I8, U1, U2


BAD = np.float32(-1e30)
"""Level and rms of a mesh with too few good pixels."""

_MIN_GOOD_FRACTION = 0.5
_WRAP = np.uint32(65535)
_GOLDEN = np.uint32(40503)  # 65536 over the golden ratio
_HUGE = 1e30
"""Pixels beyond are no numbers."""
_HUGE_4 = np.float32(_HUGE)
_ROOM = 1 << 18
"""Pixels that meshes side by side may take: they stay in the cache."""


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
    step : float32
        Of the values, which then are spread evenly over it; 0 to take them as they are.
    """

    image: F4
    mask: U2
    planes: int
    sources: U1
    has_sources: bool
    weight: F4
    has_weight: bool
    max_weight: np.float32
    step: np.float32


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
def _gather(
    pixels: SkyPixels, y0: int, y1: int, first: int, past: int, mesh_width: int, number: I8,
    values: F4, weights: F4,
) -> None:  # fmt: skip
    """Copy the pixels of a row of meshes that are numbers and count, and their weights.

    Image rows are read as they are in memory, and vector instructions look at them; what lies
    beside pixels that do not count is copied one by one.

    Parameters
    ----------
    number, values, weights : (n,), (n, size), (n, size)
        Output: how many there are in each of the meshes first..past-1, and these.
    """
    image, mask, planes, sources, has_sources, weight, has_weight, max_weight, _ = pixels
    has_mask = planes != 0
    nx = image.shape[1]
    space = np.empty(mesh_width, np.uint8)
    number[:] = 0
    for y in range(y0, y1):
        for i in range(first, past):
            x0 = i * mesh_width
            x1 = min(x0 + mesh_width, nx)
            n = number[i - first]
            row = image[y, x0:x1]
            # What is looked at together is joined by "or", which needs no room for a number.
            odd = False
            into = values[i - first, n : n + len(row)]
            for u in range(len(row)):
                into[u] = row[u]
                odd |= not abs(row[u]) < _HUGE_4
            if has_mask:
                bits = mask[y, x0:x1]
                found = np.uint16(0)
                for u in range(len(row)):
                    found = np.uint16(found | bits[u])
                odd |= (found & planes) != 0
            if has_sources:
                owners = sources[y, x0:x1]
                for u in range(len(row)):
                    odd |= owners[u] != 0
            if not odd and not has_weight:
                number[i - first] = n + len(row)
                continue
            lost = space[: len(row)]
            for u in range(len(row)):
                lost[u] = np.uint8(not abs(row[u]) < _HUGE)
            if has_mask:
                bits = mask[y, x0:x1]
                for u in range(len(row)):
                    lost[u] |= np.uint8((bits[u] & planes) != 0)
            if has_sources:
                owners = sources[y, x0:x1]
                for u in range(len(row)):
                    lost[u] |= np.uint8(owners[u] != 0)
            if has_weight:
                variances = weight[y, x0:x1]
                for u in range(len(row)):
                    lost[u] |= np.uint8(not variances[u] < max_weight)
                    weights[i - first, n] = variances[u]
                    values[i - first, n] = row[u]
                    n += 1 - int(lost[u])
            else:
                for u in range(len(row)):
                    values[i - first, n] = row[u]
                    n += 1 - int(lost[u])
            number[i - first] = n


@kernel
def _bin(value: np.float32, width: np.float32, offset: np.float32) -> np.int32:
    """Return the bin of a value; far ones must not overflow an integer."""
    scaled = value / width + offset
    return np.int32(min(max(scaled, np.float32(-2.0)), np.float32(MAX_LEVELS)))


@kernel
def _count(
    values: F4, n: int, n_levels: int, width: np.float32, zero: np.float32, bins: I4, histogram: I4
) -> None:
    """Count the values in a histogram of `n_levels` bins; set the bin of each.

    What is in none of them counts in one more, because a branch that one value in twenty takes
    costs more than counting it.
    """
    offset = np.float32(0.499999 - np.float64(zero / width))
    for k in range(n):
        b = _bin(values[k], width, offset)
        bins[k] = b if 0 <= b < n_levels else np.int32(n_levels)
    histogram[: n_levels + 1] = 0
    for k in range(n):
        histogram[np.uint32(bins[k])] += 1


@kernel
def _weight_mode(
    values: F4, weights: F4, bins: I4, n: int, low: np.float32, high: np.float32, n_levels: int,
    histogram: I4, pearson: float,
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
        if bins[k] < n_levels:
            b = _bin(weights[k], width, offset)
            if 0 <= b < w_levels:
                histogram[b] += 1
    mode, _ = clipped_mode(histogram, w_levels, pearson)
    return np.float32(zero + mode * width)


@kernel
def _spread(values: F4, n: int, step: np.float32) -> None:
    """Add to rounded values what goes evenly through a step: the multiples of the golden ratio.

    Pearson's mode takes 1.5 times what the median of rounded values is off, up to half a step.
    """
    # Whole numbers wrap around, so that vector instructions do it.
    part = np.float32(1.0 / (_WRAP + 1))
    for k in range(n):
        place = np.int32((np.uint32(k & 65535) * _GOLDEN) & _WRAP)
        values[k] += step * (np.float32(place) * part - np.float32(0.5))


@kernel
def _statistics(
    values: F4, weights: F4, has_weight: bool, n: int, bins: I4, histogram: I4, pearson: float,
    step: np.float32,
) -> tuple[np.float32, np.float32, np.float32]:  # fmt: skip
    """Return mode and rms of the n values of a mesh, and the mode of their weights."""
    if step > 0.0:
        _spread(values, n, step)
    mean, sigma = moments_of_all(values, n)
    low = np.float32(mean - CUT_SIGMA * sigma)
    high = np.float32(mean + CUT_SIGMA * sigma)
    count, mean, sigma = moments(values, n, np.float64(low), np.float64(high))
    if count == 0:  # a spread below float32 resolution
        return values[0], np.float32(0.0), BAD
    n_levels, width, zero = quantise(count, mean, sigma)
    _count(values, n, n_levels, width, zero, bins, histogram)
    mode, spread = clipped_mode(histogram, n_levels, pearson)
    level = np.float32(zero + mode * width)
    rms = np.float32(spread * width)
    if step > 0.0:  # of which the noise has as much as rounding gave it
        square = np.float64(rms) ** 2 - np.float64(step) ** 2 / 12.0
        rms = np.float32(math.sqrt(square)) if square > 0.0 else np.float32(0.0)
    weight_level = BAD
    if has_weight:
        weight_level = _weight_mode(
            values, weights, bins, n, low, high, n_levels, histogram, pearson
        )
    return level, rms, weight_level


@kernel
def mesh_statistics(
    pixels: SkyPixels, meshes: Meshes, first_row: int, past_row: int, pearson: float
) -> None:
    """Estimate level and rms, output, in the mesh rows [first_row, past_row)."""
    has_weight = pixels.has_weight
    level, rms, weight_level = meshes.level, meshes.rms, meshes.weight_level
    ny, nx = pixels.image.shape
    size = min(meshes.width, nx) * min(meshes.height, ny)
    n_side = min(max(_ROOM // size, 1), level.shape[1])
    values = np.empty((n_side, size), np.float32)
    weights = np.empty((n_side, size if has_weight else 1), np.float32)
    number = np.empty(n_side, np.int64)
    bins = np.empty(size, np.int32)
    histogram = np.empty(MAX_LEVELS + 1, np.int32)
    for j in range(first_row, past_row):
        y0 = j * meshes.height
        y1 = min(y0 + meshes.height, ny)
        for first in range(0, level.shape[1], n_side):
            past = min(first + n_side, level.shape[1])
            _gather(pixels, y0, y1, first, past, meshes.width, number, values, weights)
            for i in range(first, past):
                n = number[i - first]
                width = min(meshes.width, nx - i * meshes.width)
                level[j, i] = rms[j, i] = weight_level[j, i] = BAD
                if n > 0 and n >= (y1 - y0) * width * _MIN_GOOD_FRACTION:
                    level[j, i], rms[j, i], weight_level[j, i] = _statistics(
                        values[i - first], weights[i - first], has_weight, n, bins, histogram,
                        pearson, pixels.step,
                    )  # fmt: skip
