"""Rectangular parts of a frame that no light reached: amplifiers and detectors that do not work.

They are far below the rest, have less noise than its photons, hardly a star, and sharp straight
edges: vignetting has none, and an amplifier with another bias or gain has stars.  Narrow ones at
the edges are `strips`.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.noise import median, quantiles, robust_sigma
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record

GRID = 16
"""Patches on a side of the frame..."""
PATCH = 8
"""... and pixels on a side of a patch."""
MIN_STEP = 8.0
"""Below the other patches, in units of the noise of a pixel there, ..."""
LESS_NOISE = 0.6
"""... with less than this part of it, ..."""
MIN_PATCHES = 4
QUIET = 0.25
"""Share of the brighter patches with less noise than what is taken as theirs."""
FILLED = 0.9
"""... in so much of a rectangle of patches at least."""
EDGE = 3
"""Pixels within which the level rises at an edge."""
FAR = 8.0
"""Pixels so many sigma above the level are parts of stars, hot ones and cosmic rays..."""
FEWER = 0.2
"""... of which the part has this share of what the rest has."""
MAX_PART = 0.6
"""Of the frame, at most."""


@record
class DeadPart:
    """Pixels [y0:y1, x0:x1], 0-based, which are `step` below the rest."""

    y0: int
    y1: int
    x0: int
    x1: int
    step: float

    def __str__(self) -> str:
        """Return it in words, with FITS pixels."""
        return f"columns {self.x0 + 1} to {self.x1}, rows {self.y0 + 1} to {self.y1}"

    @property
    def part(self) -> tuple[slice, slice]:
        """The pixels of it."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


@record
class Patches:
    """What small patches of a frame show, in a grid.

    Attributes
    ----------
    rows, columns : (n, PATCH) int64
        Pixels of the patches.
    level : (n, n) float64
    low : (n, n) bool
        Those far below the others, with less noise.
    typical, usual : float
        Level and noise of the others.
    """

    rows: I8
    columns: I8
    level: F8
    low: Bools
    typical: float
    usual: float


def look_at(image: F4, without: Bools) -> Patches | None:
    """Return level and noise of patches; None if none of them look as if no light reached them.

    Parameters
    ----------
    image : (ny, nx) float32
    without : (ny, nx) bool
        Pixels without data.
    """
    if min(image.shape) < GRID * PATCH:
        return None
    rows, columns = (
        np.linspace(0, size - PATCH, GRID).astype(np.int64)[:, None] + np.arange(PATCH)
        for size in image.shape
    )
    at = rows[:, None, :, None], columns[None, :, None, :]
    patches = image[at].astype(np.float64)
    lost = without[at].any(axis=(2, 3)) | ~np.isfinite(patches).all(axis=(2, 3))
    if np.count_nonzero(~lost) < MIN_PATCHES:
        return None
    patches[lost] = 0.0
    level = _middle(patches.reshape(GRID, GRID, -1), 2)
    steps = np.diff(patches, axis=3).reshape(GRID, GRID, -1)
    noise = MAD_TO_SIGMA / math.sqrt(2.0) * _middle(np.abs(steps), 2)
    bright = level[~lost] > median(level[~lost])
    typical = median(level[~lost][bright]) if bright.any() else median(level[~lost])
    # Stars add to it where they are many.
    usual = quantiles(noise[~lost & (level >= typical)], [QUIET])[0]
    low = ~lost & (level < typical - MIN_STEP * usual) & (noise < LESS_NOISE * usual)
    if np.count_nonzero(low) < MIN_PATCHES:
        return None
    return Patches(rows, columns, level, low, typical, usual)


def dead_parts(image: F4, without: Bools, patches: Patches | None) -> list[DeadPart]:
    """Return the rectangles that no light reached; arguments as of `look_at`, and its answer."""
    if patches is None:
        return []
    y, x = patches.rows[:, 0], patches.columns[:, 0]
    boxes = [_box(image, group, y, x) for group in connected(patches.low, MIN_PATCHES)]
    found = [box for box in boxes if box is not None]
    dead = np.zeros(image.shape, dtype=np.bool_)
    for box in found:
        dead[box.part] = True
    rest = image[~dead & ~without]
    if dead.mean() > MAX_PART or not rest.size:
        return []
    share = _share_far(rest)
    return [box for box in found if _share_far(image[box.part].ravel()) < FEWER * share]


def connected(low: Bools, least: int) -> list[Bools]:
    """Return the groups of at least so many patches that are connected by their sides."""
    left, groups = low.copy(), []
    while left.any():
        group = np.zeros_like(low)
        group[np.unravel_index(int(np.argmax(left)), low.shape)] = True
        while True:
            grown = group.copy()
            grown[1:] |= group[:-1]
            grown[:-1] |= group[1:]
            grown[:, 1:] |= group[:, :-1]
            grown[:, :-1] |= group[:, 1:]
            grown &= left
            if (grown == group).all():
                break
            group = grown
        left &= ~group
        if np.count_nonzero(group) >= least:
            groups.append(group)
    return groups


def _box(image: F4, group: Bools, y: I8, x: I8) -> DeadPart | None:
    """Return the rectangle of a group of patches, if it is one with sharp edges."""
    rows, columns = np.flatnonzero(group.any(axis=1)), np.flatnonzero(group.any(axis=0))
    # Patches with an edge in them are low or not, by a few pixels.
    rows = rows[group[rows].mean(axis=1) >= 0.5 * group[rows].mean(axis=1).max()]
    columns = columns[group[:, columns].mean(axis=0) >= 0.5 * group[:, columns].mean(axis=0).max()]
    inside = group[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if np.count_nonzero(inside) < max(FILLED * inside.size, MIN_PATCHES):
        return None
    lines = image[int(y[rows[0]]) : int(y[rows[-1]]) + PATCH]
    across = _edges(lines, columns, x, image.shape[1])
    lines = image[:, int(x[columns[0]]) : int(x[columns[-1]]) + PATCH].T
    along = _edges(lines, rows, y, image.shape[0])
    if across is None or along is None:
        return None
    return DeadPart(along[0], along[1], across[0], across[1], max(across[2], along[2]))


def _edges(lines: F4, patches: I8, start: I8, size: int) -> tuple[int, int, float] | None:
    """Return the first pixel and the one after the last of a low part, and the step beside it."""
    some = np.linspace(0, lines.shape[0] - 1, 33).astype(np.int64)[1:-1]
    level = _middle(lines[some].astype(np.float64), 0)
    first, last = int(start[patches[0]]), int(start[patches[-1]]) + PATCH
    own = median(level[first:last])
    low, high, step = 0, size, 0.0
    # The edge may be in the last patch, or in the next one.
    if patches[0] > 0:
        before = int(start[max(patches[0] - 2, 0)])
        edge = _edge(level[before : first + PATCH][::-1], own)
        if edge is None:
            return None
        low, step = first + PATCH - edge[0], edge[1]
    if patches[-1] < GRID - 1:
        after = int(start[min(patches[-1] + 2, GRID - 1)]) + PATCH
        edge = _edge(level[last - PATCH : after], own)
        if edge is None:
            return None
        high, step = last - PATCH + edge[0], max(step, edge[1])
    return low, high, step


def _edge(level: F8, own: float) -> tuple[int, float] | None:
    """Return how many of the levels are still low, and the step; None if it is not sharp."""
    beyond = median(level[-PATCH:])
    high = np.flatnonzero(level > 0.5 * (own + beyond))
    k = int(high[0]) if high.size else level.size
    before, after = level[: max(k - EDGE, 0)], level[k + EDGE :]
    step = beyond - own
    is_sharp = after.size > 0 and (after > own + 0.75 * step).all()
    return (k, step) if is_sharp and (before < own + 0.25 * step).all() else None


def _middle(values: F8, axis: int) -> F8:
    """Return the upper median along an axis: that of numpy imports `numpy.ma`."""
    k = values.shape[axis] // 2
    middle: F8 = np.partition(values, k, axis=axis).take(k, axis=axis)
    return middle


def _share_far(values: F4) -> float:
    sample = values[:: max(1, values.size // 200_000)].astype(np.float64)
    return float(np.mean(sample > median(sample) + FAR * robust_sigma(sample)))
