"""Sources below the sky: of nodded frames that were subtracted, of difference images.

They are no noise, no structure of the sky and no part of a star beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, Bools

if TYPE_CHECKING:
    from skyextract.run import Run

DEEP = 6.0
"""Pixels are below the sky if they are so by so many sigma of the noise, ..."""
MIN_SHARE = 2e-4
"""... and sources if pairs of them, side by side, have this share of the frame."""
EVERY = 4
"""Of so many rows one is looked at."""
LONGEST = 40
"""Pixels in a row of a source, at most; more are dark rows and corners."""
WIDTH = 5
"""Means of squares of so many pixels tell how far a source reaches..."""
BLOCK = 32
"""Rows or columns whose means are taken at a time."""
FAINT = 3.0
"""... that are so many sigma of the mean below the sky; noise is that low in a thousandth."""


def has_negatives(data: F4, sigma: float, run: Run) -> bool:
    """Tell whether a frame has many sources below the sky.

    Parameters
    ----------
    data : (ny, nx) float32
        Background-subtracted, 0 where bad.
    sigma : float
        Its noise.
    """
    rows = data[:-1:EVERY]
    limit = np.float32(-DEEP * sigma)
    enough = MIN_SHARE * rows.size

    def pairs(band: tuple[int, int]) -> int:
        low = rows[slice(*band)] < limit
        return int(np.count_nonzero(low[:, 1:] & low[:, :-1]))

    if not sum(run.map(pairs, run.bands(len(rows)))) > enough:
        return False
    # A source is more than one row high, not as wide as the frame, and seldom at its edge.
    low: Bools = (rows < limit) & (data[1::EVERY][: len(rows)] < limit)
    ends = np.diff(np.pad(low, ((0, 0), (1, 1))).view(np.int8), axis=1)
    first, last = (np.argwhere(ends == sign)[:, 1] for sign in (1, -1))
    inside = (last - first <= LONGEST) & (first > 0) & (last < data.shape[1])
    return bool((last - first - 1)[inside].sum() > enough)


def negative_pixels(data: F4, sigma: float) -> Bools:
    """Return the pixels of sources below the sky and of their wings."""
    low = _box_mean(data) < -FAINT * sigma / WIDTH
    return _box_mean(low) > 0.5 / WIDTH**2


def _box_mean(values: F4 | Bools) -> F8:
    """Return running means along both axes, with the pixels at the ends repeated.

    In blocks whose sums stay in a processor's cache.
    """
    out = np.empty(values.shape)
    for first in range(0, values.shape[1], BLOCK):
        columns = slice(first, first + BLOCK)
        out[:, columns] = _mean(np.asarray(values[:, columns], np.float64).T).T
    for first in range(0, values.shape[0], BLOCK):
        rows = slice(first, first + BLOCK)
        out[rows] = _mean(out[rows])
    return out


def _mean(values: F8) -> F8:
    """Return running means along rows, with the pixels at the ends repeated."""
    half, n = WIDTH // 2, values.shape[1]
    total = np.cumsum(np.pad(values, ((0, 0), (half + 1, half)), mode="edge"), axis=1)
    mean: F8 = total[:, WIDTH:] - total[:, :n]
    mean /= WIDTH
    return mean
