"""Parts of the frame that are out of place, and that the plate left out.

The stars of a small chip are too few to bend a plate or to be half of anything: clipping leaves
them out, the plate is right for all others, and wrong there by many of its errors.  What tells
them from outliers, which are off by chance and lie among stars that are not: they are displaced
alike, and so are the other stars between them.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.noise import median
from skyextract.record import record

MIN_STARS = 4
"""Stars that are displaced alike, at least."""
MIN_OFFSET = 0.2
"""Pixels; less is a distortion."""
APART = 8.0
"""They are displaced by this many of their errors, at least."""
SHARE = 0.75
"""Share of the stars between them that are nearer to their place than to that of the plate."""
MIN_SIDE = 8.0
"""Pixels between the outermost of them, along both axes: what a border cuts is drawn inwards."""
MOST = 300
"""Outliers that are looked at, those with the smallest errors."""
_WINDOW = 2.0
"""Half of the width in which they agree, in errors of their difference, ..."""
_TURNED = 0.1
"""... and in units of the displacement: a chip may be turned, too, and a plate bent."""


@record
class Displaced:
    """A part of the frame whose stars are displaced alike.

    Attributes
    ----------
    number : int
        Outliers of the fit in it; 0 if there is no such part.
    total : int
        Stars there.
    offset : float
        Their mean displacement, arcsec.
    columns, rows : (float, float)
        The first and the last, FITS pixels, between which they are.
    """

    number: int = 0
    total: int = 0
    offset: float = 0.0
    columns: tuple[float, float] = (math.nan, math.nan)
    rows: tuple[float, float] = (math.nan, math.nan)

    @property
    def told(self) -> str:
        """Say so; empty where there is none."""
        message = (
            f"{self.number} of {self.total} stars in columns {self.columns[0]:.0f} to "
            f"{self.columns[1]:.0f}, rows {self.rows[0]:.0f} to {self.rows[1]:.0f} are displaced "
            f"alike, by {self.offset:.2f} arcsec, and no part of the fit: a chip out of place?"
        )
        return message if self.number else ""


def find_displaced(
    place: tuple[F8, F8], offset: tuple[F8, F8], errors: F8, apart: Bools, scale: float
) -> Displaced:
    """Find the part of the frame with the most outliers that are displaced alike.

    Parameters
    ----------
    place : two of (n,) float64
        Pixels x, y of the stars, used or not.
    offset : two of (n,) float64
        Detection minus reference in xi and eta, arcsec.
    errors : (n,) float64
        Of an offset, per axis, arcsec.
    apart : (n,) bool
        The outliers.
    scale : float
        arcsec per pixel.
    """
    rows = np.flatnonzero(apart)
    if len(rows) < MIN_STARS:
        return Displaced()
    rows = rows[np.argsort(errors[rows], kind="stable")[:MOST]]
    dx, dy, x, y = (axis[rows] for axis in (*offset, *place))
    error = errors[rows]
    size = np.hypot(dx, dy)
    width = _WINDOW * np.hypot(error[:, None], error) + _TURNED * np.minimum(size[:, None], size)
    near = np.hypot(dx[:, None] - dx, dy[:, None] - dy) < width
    number = near.sum(axis=1)
    for centre in np.argsort(-number, kind="stable"):
        members = near[centre]
        if number[centre] < MIN_STARS:
            break
        shift = float(dx[members].mean()), float(dy[members].mean())
        length = math.hypot(*shift)
        if length < max(MIN_OFFSET * scale, APART * median(error[members])):
            continue
        (left, right), (low, high) = ((v[members].min(), v[members].max()) for v in (x, y))
        if min(right - left, high - low) < MIN_SIDE:
            continue
        inside = (place[0] >= left) & (place[0] <= right) & (place[1] >= low) & (place[1] <= high)
        there = offset[0][inside], offset[1][inside]
        with_them = np.hypot(there[0] - shift[0], there[1] - shift[1]) < np.hypot(*there)
        if with_them.mean() >= SHARE:
            edges = (float(left) + 1.0, float(right) + 1.0), (float(low) + 1.0, float(high) + 1.0)
            return Displaced(int(number[centre]), int(inside.sum()), length, *edges)
    return Displaced()
