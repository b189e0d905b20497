"""Profiles of the radius, stretched, in pixels (`skyextract.stages.psf.scaled`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8


@kernel
def over_pixels(values: F8, step: float, half: float, shapes: F8, dx: F8, dy: F8, out: F8) -> None:
    """Write means of a function of the elliptical radius over four places in each pixel.

    Parameters
    ----------
    values : (m,) float64
        The function at radii 0, `step`, 2 `step` ...; linear between these, constant beyond.
    half : float
        The places are so far from the middle of the pixel, along both axes.
    shapes : (3, n) float64
        xx, yy and xy of the quadratic forms that are the squares of elliptical radii.
    dx, dy : (n, nx) and (n, ny) float64
        Middles of the pixels.
    out : (n, ny, nx) float64
    """
    last = values.size - 1
    per_step = 1.0 / step
    for k in range(out.shape[0]):
        xx, yy, xy = shapes[0, k], shapes[1, k], 2.0 * shapes[2, k]
        for j in range(out.shape[1]):
            row = out[k, j]
            row[:] = 0.0
            for turn in range(4):
                y = dy[k, j] + (half if turn < 2 else -half)
                shift = half if turn % 2 == 0 else -half
                squared, crossed = yy * y * y, xy * y
                for i in range(row.size):
                    x = dx[k, i] + shift
                    place = math.sqrt(max(xx * x * x + crossed * x + squared, 0.0)) * per_step
                    node = min(int(place), last - 1)
                    share = min(place - node, 1.0)
                    row[i] += 0.25 * (values[node] + share * (values[node + 1] - values[node]))
