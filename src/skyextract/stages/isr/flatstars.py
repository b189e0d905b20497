"""Stars in a flat: points of light that combining its frames has not clipped.

Images are divided by them, and stars upon them lose as much.  Dust and traps are dark, hot pixels
are single ones, and traces of fibres and the orders of a spectrum go on.
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.noise import robust_sigma, sparse

REACH = 8
"""Distance of the ring of pixels about a point, beyond the cores of stars, pixels."""
PEAK, BESIDE = 12.0, 3.0
"""Height of a point, and of all pixels beside it, above the ring, sigma."""
ALONE = 0.5
"""Share of its height by which it is above the highest pixel of the ring."""
N_RING = 24
"""Pixels of the ring."""
_ROWS = 128
"""Rows that are looked at together, in the cache."""


def count_points(flat: F4) -> tuple[int, int]:
    """Return how many points of light a flat has, and how many dark ones.

    Parameters
    ----------
    flat : (ny, nx) float32
        NaN where it has no value.
    """
    ny = len(flat)
    if min(flat.shape) < 4 * REACH:
        return 0, 0
    bands = range(0, ny - 2 * REACH, _ROWS)
    above = np.concatenate([_above(flat[k : min(k + _ROWS + 2 * REACH, ny)]) for k in bands])
    sample = above[sparse(above.shape)]
    sigma = robust_sigma(sample[np.isfinite(sample)])
    return _points(flat, above, sigma), _points(-flat, -above, sigma)


def _above(rows: F4) -> F4:
    """Return the height of pixels above the median of four on the ring; not of the margins."""
    n_y, n_x = (size - 2 * REACH for size in rows.shape)
    middle = slice(REACH, -REACH)
    ring = rows[:n_y, middle], rows[-n_y:, middle], rows[middle, :n_x], rows[middle, -n_x:]
    low, high = np.minimum(ring[0], ring[1]), np.maximum(ring[0], ring[1])
    total = ring[0] + ring[1]
    for part in ring[2:]:
        np.minimum(low, part, out=low)
        np.maximum(high, part, out=high)
        total += part
    above: F4 = rows[middle, middle] - np.float32(0.5) * (total - low - high)
    return above


def _points(flat: F4, above: F4, sigma: float) -> int:
    """Return the number of pixels that are the peaks of points, by their height above the ring."""
    high = above[1:-1, 1:-1] > max(PEAK * sigma, 0.0)
    y, x = (part + 1 for part in np.nonzero(high))
    height = above[y, x]
    beside = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    for dy, dx in beside:
        near = above[y + dy, x + dx]
        kept = (near > BESIDE * sigma) & (near <= height)
        y, x, height = y[kept], x[kept], height[kept]
    angle = 2.0 * np.pi * np.arange(N_RING) / N_RING
    dy, dx = (np.rint(REACH * f(angle)).astype(np.int64) + REACH for f in (np.sin, np.cos))
    ring = flat[y[:, None] + dy, x[:, None] + dx].max(axis=1, initial=-np.inf)
    return int(np.count_nonzero(flat[y + REACH, x + REACH] - ring > ALONE * height))
