"""Rates of single photons: counts over an exposure map, as X-ray telescopes give.

Most pixels are 0, and the others are once, twice, three times the least value about them, which
varies over the frame as one over the exposure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median, quantiles

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, Bools
    from skyextract.datamodel.exposure import Exposure

CELL, N_CELLS, MIN_CELLS = 16, 200, 20
"""Pixels along a side of a cell, and cells that are looked at, at most and at least."""
ZEROS = 0.3
"""Share of zeros among the pixels of a cell, at least."""
MIN_PIXELS = 8
"""Pixels of a cell above 0, at least."""
HIGHEST, OFF = 3.5, 0.15
"""Multiples of the least value that are looked at, and by which part they may be off whole ones,
as the exposure varies within a cell."""
WHOLE = 0.95
"""Share of the values that are whole multiples, at least."""
TWICE = 0.01
"""Share that are twice the least or more: there are no multiples else."""
VARIES = 1.1
"""Ratio of the least values of a tenth of the cells to another tenth: else they are counts in
some unit."""


def with_doubt_of_rates(exposure: Exposure, without: Bools) -> Exposure:
    """Tell that pixels are rates of single photons, whose noise is another at each place.

    Parameters
    ----------
    without : (ny, nx) bool
        Pixels that are no data.
    """
    least, multiples = [], []
    for values in _cells(exposure, without):
        smallest = float(values.min())
        least.append(smallest)
        multiples.append(values / smallest)
    if len(least) < MIN_CELLS:
        return exposure
    ratio = np.concatenate(multiples)
    ratio = ratio[ratio < HIGHEST]
    whole = np.abs(ratio / np.rint(ratio) - 1.0) < OFF
    low, high = quantiles(np.array(least), (0.1, 0.9))
    if np.mean(whole) < WHOLE or np.mean(ratio > 1.5) < TWICE or high < VARIES * low:
        return exposure
    message = (
        "pixels are rates of single photons, whole multiples of a least value that varies over "
        f"the frame (typically {median(np.array(least)):.3g}): counts over an exposure map. Noise "
        "of few photons is not told from these: measure the image of counts"
    )
    return replace(exposure, doubts=(*exposure.doubts, message))


def _cells(exposure: Exposure, without: Bools) -> list[F8]:
    """Return the pixels above 0 of cells that are mostly 0; empty if one of the first has none."""
    ny, nx = (size // CELL for size in exposure.shape)
    step = max(1, ny * nx // N_CELLS)
    found: list[F8] = []
    for n, k in enumerate(range(step // 2, ny * nx, step)):
        part = tuple(slice(CELL * at, CELL * (at + 1)) for at in divmod(k, nx))
        image, bad = exposure.image[part], without[part]
        zero = np.count_nonzero((image == 0.0) & ~bad)
        if n > 3 * MIN_CELLS and len(found) < n // 8:
            return []  # most frames have no zeros
        if zero < ZEROS * bad.size:
            continue
        values = image[(image > 0.0) & ~bad].astype(np.float64)
        if values.size >= MIN_PIXELS and not (image[~bad] < 0.0).any():
            found.append(values)
    return found
