"""Groups of lines that no light reached, anywhere in a frame: masks between strips of light.

Between the slits of a mask, the two beams of a polarimeter or two chips a detector is read, too:
rows (or columns) of bias with read noise, which a mesh of the background would take for sky.  They
lie far below the light on both sides, have less noise, and begin and end within a few pixels.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median, quantile_of_sorted, robust_sigma
from skyextract.stages.pixels.strips import Strip

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, Bools
    from skyextract.run import Run

PIXELS = 31
"""So many pixels tell the level of a line."""
MIN_LINES = 4
"""Of a group."""
MIN_STEP = 8.0
"""Below the light on both sides, in units of its noise of a pixel, ..."""
LESS_NOISE = 0.7
"""... with this part of that noise, at most, ..."""
EDGE = 3
"""... reached within so many lines, ..."""
ALIKE = 0.25
"""... and no line differs from the others of the group by more than this part of the step."""
BESIDE = 16
"""So many lines beyond an edge tell the light there."""
LIT = 0.9
"""Lines at the edges that have less of the light are dark, too."""
ALL = 0.1
"""So many pixels of a group may be bright: other dark parts have no straight edge."""
SAMPLE = 16
"""Lines that tell a noise, about."""
BRIGHT = 0.75
"""Of the lines this part is darker than what is surely lit."""
MOST = 0.6
"""Part of the frame that is dark, at most."""
MIN_SIZE = 64


def dark_lines(image: F4, without: Bools, run: Run) -> list[Strip]:
    """Return the groups of rows, or of columns, that no light reached.

    Parameters
    ----------
    image : (ny, nx) float32
    without : (ny, nx) bool
        Pixels without data.
    """
    if min(image.shape) < MIN_SIZE:
        return []

    def along(axis: int) -> list[Strip]:
        lines, lost = (image, without) if axis == 0 else (image.T, without.T)
        some = np.linspace(0, lines.shape[1] - 1, PIXELS + 2).astype(np.int64)[1:-1]
        values = lines[:, some].astype(np.float64)
        values[lost[:, some]] = np.nan
        groups = _groups(lines, lost, _levels(values))
        if sum(last - first + 1 for first, last, _ in groups) > MOST * len(lines):
            return []
        return [Strip(axis, *group) for group in groups]

    rows, columns = run.map(along, (0, 1))
    return rows or columns


def _levels(values: F8) -> F8:
    """Return the median of each line; NaN where less than half of its pixels have data."""
    number = np.count_nonzero(np.isfinite(values), axis=1)
    # (NaN are the last)
    ordered = np.sort(values, axis=1)
    level = ordered[np.arange(len(values)), np.maximum(number - 1, 0) // 2]
    return np.where(number > PIXELS // 2, level, np.nan)


def _groups(lines: F4, lost: Bools, levels: F8) -> list[tuple[int, int, float]]:
    """Return first and last line of the groups, and by how much each is below its light."""
    known = levels[np.isfinite(levels)]
    if known.size < MIN_SIZE:
        return []
    ordered = np.sort(known)
    lit, lowest = quantile_of_sorted(ordered, BRIGHT), float(ordered[MIN_LINES - 1])
    noise = _noise(_some(lines, lost, np.flatnonzero(levels >= lit)))
    if not lit - lowest > MIN_STEP * noise > 0.0:
        return []
    middle = 0.5 * (lit + lowest)
    edges = np.flatnonzero(np.diff(levels < middle, prepend=True, append=True)).tolist()
    # (lit lines, and from one of these to the next what is dark)
    parts = list(zip(edges[::2], edges[1::2], strict=True))
    groups = []
    for (start, begin), (end, stop) in pairwise(parts):
        group = _group(levels, begin, end, (levels[start:begin][::-1], levels[end:stop]))
        if group is None or group[2] < MIN_STEP * noise:
            continue
        inside = _some(lines, lost, np.arange(begin, end))
        if _noise(inside) < LESS_NOISE * noise and np.mean(inside > middle) < ALL:
            groups.append(group)
    return groups


def _group(
    levels: F8, begin: int, end: int, beside: tuple[F8, F8]
) -> tuple[int, int, float] | None:
    """Return first and last dark line of a run of low ones, and their step; None of others.

    Parameters
    ----------
    begin, end : int
        The run, `end` outside.
    beside : (F8, F8)
        Levels of the lit lines on either side, the nearest ones first.
    """
    if end - begin < MIN_LINES:
        return None
    soft = min(EDGE, (end - begin - 2) // 2)
    inside = levels[begin + soft : end - soft]
    dark = median(inside)
    steps, soft_lines = [], []
    for side in beside:
        light = median(side[EDGE:BESIDE] if side.size > 2 * EDGE else side)
        part = (side[: EDGE + 1] - dark) / (light - dark)
        if not part[-1] > 1.0 - ALIKE:
            return None
        steps.append(light - dark)
        soft_lines.append(int(np.argmax(part > LIT)) if (part > LIT).any() else part.size)
    if not np.ptp(inside) < ALIKE * min(steps):
        return None
    return begin - soft_lines[0], end - 1 + soft_lines[1], min(steps)


def _some(lines: F4, lost: Bools, which: I8) -> F8:
    """Return the pixels of some of the lines; NaN without data."""
    which = which[:: max(1, which.size // SAMPLE)]
    return np.where(lost[which], np.nan, lines[which].astype(np.float64))


def _noise(pixels: F8) -> float:
    """Return the noise of a pixel, by differences of neighbours."""
    change = np.diff(pixels, axis=1)
    change = change[np.isfinite(change)]
    return robust_sigma(change) / math.sqrt(2.0) if change.size else 0.0


def tell_of_dark_lines(groups: list[Strip], shape: tuple[int, ...], run: Run) -> None:
    """Warn of groups of dark lines."""
    n = sum(group.last - group.first + 1 for group in groups)
    name = "columns" if groups[0].axis == 1 else "rows"
    first = f"{groups[0]}" + (f" and {len(groups) - 1} more groups" if len(groups) > 1 else "")
    step = median(np.array([group.step for group in groups]))
    share = 100.0 * n / shape[groups[0].axis]
    run.warn(
        f"{share:.2g} % of the {name} ({first}) are {step:.4g} below those on both sides, with "
        "less noise and sharp edges: no light reached them (a mask between strips of light, a gap "
        "between chips?). They take no part"
    )
