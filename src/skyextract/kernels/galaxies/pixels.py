"""Pixels of the image that is fitted: the light of models there, values and weights of boxes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.galaxies.points import cover_points, points_in, sum_squares
from skyextract.kernels.galaxies.render import Grid
from skyextract.kernels.galaxies.source import Work
from skyextract.kernels.jit import helper, summation
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I8, U2

INFINITE = 3.5e38
"""More than any number of single precision."""
MODEL_ERROR = 0.01
"""Of the light at a point, relative: what sums of Gaussians and the PSF have wrong."""


ROWS_APART = 5
"""Rows of a box, from one to the next, whose variances tell its noise."""


class Pixels(NamedTuple):
    """The image that is fitted.

    Attributes
    ----------
    image, residual, variance : (ny, nx) float32
        Less background; less all models, changed; background variance.
    mask : (ny, nx) uint16
    unusable : int
        Bits of pixels that must not be used.
    inverse_gain : float
        Image units per electron; 0: no photon noise.
    per_variance : float
        Not 0: that is the gain of pixels with a variance of ``1 / per_variance``, and photon noise
        of others is in proportion to theirs (WEIGHT_GAIN).
    """

    image: F4
    residual: F4
    variance: F4
    mask: U2
    unusable: int
    inverse_gain: float
    per_variance: float


@helper
def add_model(pixels: Pixels, grid: Grid, sign: float, model: F4) -> None:
    """Add `sign` times a model to the pixels of the residual image."""
    residual, factor = pixels.residual, np.float32(sign)
    for iy in range(grid.n_y):
        y = np.uint64(grid.y + iy)
        for ix in range(grid.n_x):
            residual[y, np.uint64(grid.x + ix)] += factor * model[np.uint64(iy * grid.n_x + ix)]


@helper
def image_alone(pixels: Pixels) -> Pixels:
    """Return the image in place of the residual: what is seen of a source without neighbours."""
    return Pixels(
        pixels.image, pixels.image, pixels.variance, pixels.mask, pixels.unusable,
        pixels.inverse_gain, pixels.per_variance,
    )  # fmt: skip


@helper
def noise_in(pixels: Pixels, box: I8) -> float:
    """Return the mean background noise of the good pixels of a box; 1 without any.

    It varies little over a box: some rows tell it, where they have good pixels.
    """
    total, count = _variance_in(pixels, box, ROWS_APART)
    if not count > 0.0:
        total, count = _variance_in(pixels, box, 1)
    return math.sqrt(total / count) if count > 0.0 else 1.0


@summation
def _variance_in(pixels: Pixels, box: I8, step: int) -> tuple[float, float]:
    """Return sum of the variances, and number, of good pixels in every `step`-th row of a box."""
    zero, one, most = np.float32(0.0), np.float32(1.0), np.float32(MAX_VARIANCE)
    variance, total, count = pixels.variance, 0.0, 0.0
    for iy in range(step // 2, box[3], step):
        y = np.uint64(box[1] + iy)
        part, good = zero, zero
        for ix in range(box[2]):
            v = variance[y, np.uint64(box[0] + ix)]
            usable = (v > zero) & (v < most)
            part += v if usable else zero
            good += one if usable else zero
        total += float(part)
        count += float(good)
    return total, count


@helper
def gather(pixels: Pixels, grid: Grid, level: float, work: Work) -> int:
    """Average the residual at the points into `work.data` and `weight`; count those with weight.

    `level` is that of the sky, which is in the residual.  `work.own` is the model of the source,
    which is not: image less residual is the light of the neighbours, whose photon noise counts.
    The error of the model is the same all over a square.  `grid` is that of the pixels of the box.
    """
    _gather_pixels(pixels, grid, work)
    data, weight, own, cover, count = work.data, work.weight, work.own, work.cover, work.slope
    n = points_in(work.parts)
    cover_points(work.parts, cover)
    sum_squares(work.values, grid, work.parts, data)
    sum_squares(work.noise, grid, work.parts, weight)
    if _total(work.good, grid.n_x * grid.n_y) < grid.n_x * grid.n_y:
        sum_squares(work.good, grid, work.parts, count)
    else:
        count[:n] = cover[:n]
    zero, one, inverse_gain = np.float32(0.0), np.float32(1.0), np.float32(pixels.inverse_gain)
    follows, per_variance, variance = pixels.per_variance > 0.0, pixels.per_variance, work.left
    if follows:
        _gather_variance(pixels, grid, work)
        sum_squares(work.values, grid, work.parts, variance)
    model_error2, sky = np.float32(MODEL_ERROR**2), np.float32(level)
    good = 0
    for i in range(n):
        usable = (count[i] + count[i] > cover[i]) & (cover[i] > zero)
        light = count[i] * max(own[i], zero)
        number = count[i] if usable else one
        photons = inverse_gain
        if follows:
            photons *= np.float32(per_variance) * variance[i] / number
        noise = weight[i] + light * (photons + model_error2 * light)
        data[i] = data[i] / number - sky if usable else zero
        weight[i] = number * number / noise if usable else zero
        good += 1 if usable else 0
    return good


@helper
def _gather_pixels(pixels: Pixels, grid: Grid, work: Work) -> None:
    """Write value, noise and 1 of good pixels, zeros of others; a branch would be slow."""
    image, residual, variance, mask = pixels.image, pixels.residual, pixels.variance, pixels.mask
    values, noise, good, lost = work.values, work.noise, work.good, pixels.unusable
    zero, one = np.float32(0.0), np.float32(1.0)
    most, infinite = np.float32(MAX_VARIANCE), np.float32(INFINITE)
    inverse_gain, per_variance = np.float32(pixels.inverse_gain), np.float32(pixels.per_variance)
    same = zero if per_variance > zero else one
    for iy in range(grid.n_y):
        y = np.uint64(grid.y + iy)
        for ix in range(grid.n_x):
            x, i = np.uint64(grid.x + ix), np.uint64(iy * grid.n_x + ix)
            v, value = variance[y, x], residual[y, x]
            usable = (v > zero) & (v < most) & (abs(value) < infinite)
            usable = usable & ((mask[y, x] & lost) == 0)
            light = max(image[y, x] - value, zero)
            values[i] = value if usable else zero
            photons = inverse_gain * (same + v * per_variance) * light
            noise[i] = v + photons if usable else zero
            good[i] = one if usable else zero


@summation
def _total(values: F4, n: int) -> float:
    """Return the sum of ones and zeros, of which single precision counts 2^24."""
    total = 0.0
    for first in range(0, n, 1 << 16):
        part, start = np.float32(0.0), np.uint64(first)
        for k in range(min(1 << 16, n - first)):
            part += values[start + np.uint64(k)]
        total += float(part)
    return total


@helper
def _gather_variance(pixels: Pixels, grid: Grid, work: Work) -> None:
    """Write the background variance of good pixels, zeros of others, into ``work.values``."""
    zero, variance = np.float32(0.0), pixels.variance
    for iy in range(grid.n_y):
        y = np.uint64(grid.y + iy)
        for ix in range(grid.n_x):
            i = np.uint64(iy * grid.n_x + ix)
            v = variance[y, np.uint64(grid.x + ix)]
            work.values[i] = v if work.good[i] > zero else zero
