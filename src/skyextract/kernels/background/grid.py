"""The grid of mesh values: fill gaps, take away outliers (SExtractor's BACK_FILTERSIZE)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.background.mesh import BAD
from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4


@kernel
def fill_bad_meshes(level: F4, rms: F4) -> int:
    """Replace `BAD` meshes in place by the nearest good ones; return the number of good.

    Meshes at the same distance are averaged.  With no good mesh at all level is 0, rms 1.
    """
    ny, nx = level.shape
    good = np.empty((ny, nx), np.bool_)
    n_good = 0
    for y in range(ny):
        for x in range(nx):
            good[y, x] = level[y, x] > BAD
            n_good += int(good[y, x])
    if n_good == ny * nx:
        return n_good
    for py in range(ny):
        for px in range(nx):
            if good[py, px]:
                continue
            nearest = np.int64(nx) * nx + np.int64(ny) * ny
            value = np.float32(0.0)
            noise = np.float32(1.0)
            n = 0
            for y in range(ny):
                if (y - py) * (y - py) > nearest:
                    continue
                for x in range(nx):
                    if not good[y, x]:
                        continue
                    distance = (x - px) * (x - px) + (y - py) * (y - py)
                    if distance < nearest:
                        nearest = distance
                        value = level[y, x]
                        noise = rms[y, x]
                        n = 1
                    elif distance == nearest:
                        value += level[y, x]
                        noise += rms[y, x]
                        n += 1
            if n > 0:
                level[py, px] = value / np.float32(n)
                rms[py, px] = noise / np.float32(n)
            else:
                level[py, px] = value
                rms[py, px] = noise
    return n_good


@helper
def _middle(values: F4, n: int) -> np.float32:
    """Return the middle one of the first n values, which are sorted by insertion: they are few."""
    for i in range(1, n):
        value = values[i]
        k = i
        while k > 0 and values[k - 1] > value:
            values[k] = values[k - 1]
            k -= 1
        values[k] = value
    return np.float32(values[n // 2])


@kernel
def median_filter(
    level: F4,
    rms: F4,
    half_width: int,
    half_height: int,
    threshold: float,
    level_out: F4,
    rms_out: F4,
) -> None:
    """Median-filter level and rms where the level differs by `threshold` or more.

    The window shrinks symmetrically towards the borders, so that gradients survive there.
    """
    ny, nx = level.shape
    a = np.empty((2 * half_width + 1) * (2 * half_height + 1), np.float32)
    b = np.empty_like(a)
    for y in range(ny):
        hy = min(half_height, y, ny - 1 - y)
        for x in range(nx):
            hx = min(half_width, x, nx - 1 - x)
            n = 0
            for v in range(y - hy, y + hy + 1):
                for u in range(x - hx, x + hx + 1):
                    a[n] = level[v, u]
                    b[n] = rms[v, u]
                    n += 1
            median = _middle(a, n)
            if abs(median - level[y, x]) >= threshold:
                level_out[y, x] = median
                rms_out[y, x] = _middle(b, n)
            else:
                level_out[y, x] = level[y, x]
                rms_out[y, x] = rms[y, x]
