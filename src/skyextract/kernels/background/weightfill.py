"""Filling of pixels without weight from their neighbours (INTERP_TYPE, INTERP_MAXXLAG ...)."""

from __future__ import annotations

from typing import Any

import numpy as np

from skyextract.kernels.jit import kernel


@kernel
def fill_from_neighbours(
    image: Any, variance: Any, state: Any, reach_x: int, reach_y: int, fill_image: bool
) -> int:
    """Fill pixels in place as SExtractor does: from the left, or else from below.

    A pixel takes the values of its left neighbour, filled or not, up to `reach_x` pixels
    after a good one; otherwise those of the pixel below it (the row before), up to `reach_y`
    times in a column after a good one.

    Parameters
    ----------
    image, variance : (ny, nx) float32
    state : (ny, nx) uint8
        0: good; 1: to be filled, set to 3 where that was done; 2: bad for good.
    fill_image : bool
        Fill the image too, not only the variance.

    Returns
    -------
    int
        Number of filled pixels.
    """
    ny, nx = image.shape
    left_y = np.zeros(nx, dtype=np.int64)
    n = 0
    for y in range(ny):
        left_x = 0
        for x in range(nx):
            if state[y, x] == 0:
                left_x = reach_x
                left_y[x] = reach_y
                continue
            if state[y, x] == 2:
                left_x = 0
                left_y[x] = 0
                continue
            v, u = y, x - 1
            if left_x > 0:
                left_x -= 1
            elif left_y[x] > 0:
                left_y[x] -= 1
                v, u = y - 1, x
            else:
                continue
            variance[y, x] = variance[v, u]
            if fill_image:
                image[y, x] = image[v, u]
            state[y, x] = 3
            n += 1
    return n
