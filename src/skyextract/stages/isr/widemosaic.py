"""Colour mosaics whose colours repeat after 4 or 6 pixels, as pixels show them.

Four pixels of one colour side by side (sensors of telephones), and Fujifilm's X-Trans.  The sky
has the levels of its colours; a layout of the colours is looked for that explains them.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.mosaic import shifted
from skyextract.datamodel.noise import median, medians
from skyextract.kernels.values import MAD_TO_SIGMA

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, AnyArray
    from skyextract.datamodel.exposure import Exposure

LAYOUTS = {
    4: "11GG11GGGG22GG22",
    6: "G1GG2G2G21G1G1GG2GG2GG1G1G12G2G2GG1G",
}
"""Colours of one period, row after row: green and two others."""

N_CELLS, MIN_CELLS = 400, 100
"""Periods from which levels come, at most and at least."""

MIN_CONTRAST = 0.2
"""Rms of what neither rows nor columns have alike in the levels, in units of the scatter."""

EXPLAINED = 0.9
"""Share of the squares of the levels that the layout explains."""

AS_WELL = 0.02
"""Layouts that explain as much but for this share differ in what is green: the brighter is."""


def period_of_colours(exposure: Exposure) -> str:
    """Return the layout that the pixels show, letters as in `LAYOUTS`; empty if they show none."""
    best: tuple[float, float, str] | None = None
    for period in LAYOUTS:
        levels = _levels(exposure, period)
        if levels is None:
            continue
        alone = _centred(levels)
        for pattern, colours in _layouts(period):
            if _left(alone, _centred(colours)) > 1.0 - EXPLAINED:
                continue
            # What is green differs in the means of rows and columns alone in 2 x 2 of blocks.
            left = _left(levels, colours)
            green = float(levels[colours[0]].mean() - levels[~colours[0]].mean())
            better = best is None or left < best[0] - AS_WELL
            if better or (best and left < best[0] + AS_WELL and green > best[1]):
                best = (left, green, pattern)
    return "" if best is None else best[2]


def _left(levels: F8, colours: AnyArray) -> float:
    """Return the share of the squares of levels that no levels of the colours explain."""
    basis = colours.reshape(len(colours), -1).T.astype(np.float64)
    weights = np.linalg.lstsq(basis, levels.ravel(), rcond=None)[0]
    return float(((levels.ravel() - basis @ weights) ** 2).sum() / (levels**2).sum())


def _levels(exposure: Exposure, period: int) -> F8 | None:
    """Return the levels (period, period); None if they are alike but for rows and columns."""
    ny, nx = (n // period * period for n in exposure.shape)
    step = period * max(1, math.isqrt(ny * nx // period**2 // N_CELLS))
    places = [
        (slice(row, ny, step), slice(column, nx, step))
        for row in range(period) for column in range(period)
    ]  # fmt: skip
    values = np.stack([exposure.image[place].ravel() for place in places]).astype(np.float64)
    good = np.bitwise_or.reduce([exposure.mask[place].ravel() for place in places]) == 0
    values = values[:, good & np.isfinite(values.sum(axis=0))]
    if values.shape[1] < MIN_CELLS:
        return None
    values -= values.mean(axis=0)
    levels: F8 = medians(values)
    scatter = MAD_TO_SIGMA * median(np.abs(values - levels[:, None]))
    levels = levels.reshape(period, period)
    contrast = math.sqrt(float((_centred(levels) ** 2).mean()))
    return levels if contrast > MIN_CONTRAST * scatter and contrast > 0.0 else None


def _centred(levels: F8) -> F8:
    """Return levels less the means of rows and columns, which amplifiers may have of their own."""
    rows, columns = (levels.mean(axis=axis, keepdims=True) for axis in (-1, -2))
    out: F8 = levels - rows - columns + levels.mean(axis=(-1, -2), keepdims=True)
    return out


@cache
def _layouts(period: int) -> list[tuple[str, AnyArray]]:
    """Return all places at which a layout may begin, and the pixels of its colours."""
    layouts = {}
    for first in range(period * period):
        pattern = shifted(LAYOUTS[period], *divmod(first, period))
        if pattern.translate(str.maketrans("12", "21")) not in layouts:
            letters = np.array(list(pattern)).reshape(period, period)
            layouts[pattern] = np.stack([letters == one for one in "G12"])
    return list(layouts.items())
