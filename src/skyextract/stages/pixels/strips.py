"""Strips along the edges of a frame that no light reached: overscan, and the bias beside the image.

A raw frame holds columns (or rows) that were read without light.  They are far below the sky, all
alike, and end within a pixel or two: no gradient, vignetting or nebula does so, and the parts of
a mosaic of amplifiers are wider.
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.noise import median, pixel_noise
from skyextract.record import record

MAX_PART = 0.2
"""Of the width of a frame, at most."""
MIN_WIDTH = 3
MIN_STEP = 8.0
"""Below what is beside, in units of the noise of a pixel, ..."""
EDGE = 3
"""... reached within so many pixels, ..."""
ALIKE = 0.25
"""... and no column of the strip differs from the others by more than this part of the step."""
MAX_LIT = 0.1
"""So many rows may be bright just before the step: the dark outside of a round image has a round
edge."""
LINES = 31
"""So many rows tell the level of a column."""
MIN_SIZE = 64


@record
class Strip:
    """Columns or rows `first` to `last` (0-based, both inside) at an edge; `axis` 1 is columns."""

    axis: int
    first: int
    last: int
    step: float

    def __str__(self) -> str:
        """Return it in words, with FITS pixels."""
        name = "columns" if self.axis == 1 else "rows"
        return f"{name} {self.first + 1} to {self.last + 1}"

    @property
    def part(self) -> tuple[slice, slice]:
        """The pixels of it."""
        own = slice(self.first, self.last + 1)
        return (slice(None), own) if self.axis == 1 else (own, slice(None))


def edge_strips(image: F4, without: Bools) -> list[Strip]:
    """Return the strips at the four edges that no light reached.

    Parameters
    ----------
    image : (ny, nx) float32
    without : (ny, nx) bool
        Pixels without data.
    """
    found = []
    for axis in (1, 0):
        if min(image.shape) < MIN_SIZE:
            break
        lines = image if axis == 1 else image.T
        lost = without if axis == 1 else without.T
        if not (_is_low(lines) or _is_low(lines[:, ::-1])):
            continue
        rows = _some_rows(lines)
        values = np.where(lost[rows], np.nan, lines[rows]).astype(np.float64)
        if np.isnan(values).any():
            continue
        level = np.partition(values, LINES // 2, axis=0)[LINES // 2]
        noise = pixel_noise(values)
        width = _width(level, noise)
        if width and _is_straight(values, width, level):
            found.append(Strip(axis, 0, width - 1, level[width + EDGE] - level[0]))
        width = _width(level[::-1], noise)
        if width and _is_straight(values[:, ::-1], width, level[::-1]):
            n = level.size
            found.append(Strip(axis, n - width, n - 1, level[n - width - EDGE - 1] - level[-1]))
    return found


def _is_low(lines: F4) -> bool:
    """Tell whether the first columns are far below those beyond the widest strip: a quick look."""
    rows = _some_rows(lines)
    most = int(MAX_PART * lines.shape[1])
    edge, beyond = lines[rows, :MIN_WIDTH], lines[rows, most : most + MIN_SIZE].astype(np.float64)
    return not median(beyond) - median(edge) <= MIN_STEP * pixel_noise(beyond)


def _some_rows(lines: F4) -> I8:
    return np.linspace(0, lines.shape[0] - 1, LINES + 2).astype(np.int64)[1:-1]


def _is_straight(values: F8, width: int, level: F8) -> bool:
    """Tell whether no row has its step earlier than all of them together."""
    last = max(width - EDGE + 1, MIN_WIDTH)
    step = level[width + EDGE] - level[0]
    before = np.median(values[:, max(last - 2 * EDGE, 0) : last], axis=1)
    return bool(np.mean(before - level[0] > 0.5 * step) <= MAX_LIT)


def _width(level: F8, noise: float) -> int:
    """Return how many of the first levels are those of a strip; 0 if they are none."""
    most = int(MAX_PART * level.size)
    beyond = median(level[most : most + max(most, 2 * EDGE)])
    step = beyond - median(level[:MIN_WIDTH])
    if not step > MIN_STEP * noise:
        return 0
    high = np.flatnonzero(level[:most] > beyond - 0.5 * step)
    if not high.size or high[0] < MIN_WIDTH:
        return 0
    width = int(high[0])
    strip, after = level[: max(width - EDGE + 1, MIN_WIDTH)], level[width + EDGE - 1 : most]
    if np.ptp(strip) > ALIKE * step or not after.size:
        return 0
    # All of what follows is high, and at once.
    near = median(after[: 2 * EDGE]) - median(strip)
    is_sharp = near > (1.0 - ALIKE) * step and np.count_nonzero(after < beyond - 0.5 * step) == 0
    return width if is_sharp else 0
