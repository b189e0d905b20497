"""Adaptive moments of images of a PSF."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8

_STEPS, _AT_REST = 100, 1e-7
"""Steps at most, and the relative change of the covariance that ends them."""


@helper
def _half_light_sigma(image: F8) -> float:
    """Return about the sigma of an image, by its pixels above half of the highest; 1 at least."""
    limit, n = 0.5 * image.max(), 0
    for value in image.flat:
        n += value > limit
    return max(1.0, math.sqrt(n / math.pi) / 1.18)


@helper
def _moments(image: F8, shape: F8, sums: F8) -> None:
    """Sum light, and its products with dx, dy, dx2, dy2, dx dy, under a Gaussian of this shape."""
    n_y, n_x = image.shape
    x, y, a, b, c = shape[0], shape[1], shape[2], shape[3], shape[4]
    determinant = a * b - c * c
    p, q, s = -0.5 * b / determinant, -0.5 * a / determinant, c / determinant
    sums[:] = 0.0
    for j in range(n_y):
        dy = j - 0.5 * (n_y - 1) - y
        for i in range(n_x):
            dx = i - 0.5 * (n_x - 1) - x
            light = image[j, i] * math.exp(p * dx * dx + q * dy * dy + s * dx * dy)
            sums[0] += light
            sums[1] += light * dx
            sums[2] += light * dy
            sums[3] += light * dx * dx
            sums[4] += light * dy * dy
            sums[5] += light * dx * dy


@kernel
def match_gaussians(images: F8, shapes: F8) -> None:
    """Measure centroid and covariance of images under matched elliptical Gaussians.

    Adaptive moments (Bernstein & Jarvis 2002, AJ 123, 583, section 3.1).

    Parameters
    ----------
    images : (n, n_y, n_x) float64
        Peaked near their middle.
    shapes : (n, 5) float64
        Output: x and y relative to the middle sample, xx, yy, xy in samples; NaN where they do not
        converge.
    """
    sums = np.empty(6, dtype=np.float64)
    for k in range(images.shape[0]):
        image, shape = images[k], shapes[k]
        shape[:] = 0.0
        shape[2] = shape[3] = _half_light_sigma(image) ** 2
        change = math.inf
        for _ in range(_STEPS):
            _moments(image, shape, sums)
            total = sums[0]
            if not total > 0.0:
                break
            mean_x, mean_y = sums[1] / total, sums[2] / total
            xx = 2.0 * (sums[3] / total - mean_x * mean_x)
            yy = 2.0 * (sums[4] / total - mean_y * mean_y)
            xy = 2.0 * (sums[5] / total - mean_x * mean_y)
            shape[0] += 2.0 * mean_x
            shape[1] += 2.0 * mean_y
            is_core = xx * yy - xy * xy > 0.0 and xx > 0.0
            if not is_core or abs(shape[0]) + abs(shape[1]) > image.shape[1] / 4:
                break
            change = max(abs(xx - shape[2]), abs(yy - shape[3]), abs(xy - shape[4])) / shape[2]
            shape[2], shape[3], shape[4] = xx, yy, xy
            if change < _AT_REST:
                break
        if not change < _AT_REST:
            shape[:] = math.nan
