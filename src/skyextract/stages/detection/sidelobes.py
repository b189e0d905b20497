"""Sidelobes in radio maps, by the dips among them.

The beam of an interferometer has positive and negative sidelobes, about as high as deep; what of
them deconvolution left about bright sources passes for faint ones.  A map of noise and sources
alone has no dips: as many dips as there are beyond the threshold, as many peaks are none.
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.record import record
from skyextract.stages.detection.marked import Marked

DEEP = 5.0
"""Depth of a dip, in units of the noise."""
LEAST, SHARE = 4, 0.05
"""So many dips, and of the number of sources, are no chance."""
AS_HIGH = 0.8
"""A source that is less high than a dip near it is deep, but for this factor, may be a sidelobe."""
REACH = 15.0
"""Distance of that dip, in FWHM of the beam."""
MANY = 0.1
"""Dips over sources, and share of the sources that are not higher, from which the list of these is
doubtful."""
MAX_DIPS = 20_000


@record
class Dips:
    """Dips of a map: what is said of them, and whether they make its sources doubtful."""

    doubt: str
    are_many: bool


def find_sidelobes(
    image: F4, sigma: float, bad: Bools, x: F8, y: F8, peak: F4, fwhm: float
) -> tuple[Dips, Marked] | None:
    """Look for dips as deep as sources are high; None where they are no more than chance has.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted map.
    sigma : float
        Its noise.
    bad : (ny, nx) bool
        Pixels without a value.
    x, y : (n,) float64
        Sources, 0-based pixels.
    peak : (n,) float32
        Their highest pixels.
    fwhm : float
        Of the beam, pixels.

    Returns
    -------
    (Dips, Marked) or None
        What is said of the map, and of its sources.
    """
    row, column, depth = _dips(image, DEEP * sigma, bad)
    if depth.size < max(LEAST, SHARE * x.size):
        return None
    rows = np.zeros(x.size, np.bool_)
    for k in range(x.size):
        near = (column - x[k]) ** 2 + (row - y[k]) ** 2 < (REACH * fwhm) ** 2
        rows[k] = near.any() and peak[k] * AS_HIGH < depth[near].max()
    message = (
        f"{depth.size} dips of the map are {DEEP:g} times as deep as its noise: sidelobes, or "
        "extended emission that the array did not see"
    )
    dips = Dips(message, are_many=bool(depth.size > MANY * x.size))
    message = (
        f"{np.count_nonzero(rows)} of {x.size} sources are not higher than dips near them are deep "
        "(sidelobes?; GHOST in FLAGS_SKY)"
    )
    return dips, Marked(rows, message, MANY)


def _dips(image: F4, least: float, bad: Bools) -> tuple[I8, I8, F8]:
    """Return rows, columns and depths of pixels lower than all about them, and than -least."""
    row, column = np.nonzero((image < -least) & (bad == 0))
    inside = (row > 0) & (column > 0) & (row < image.shape[0] - 1) & (column < image.shape[1] - 1)
    row, column = row[inside][:MAX_DIPS], column[inside][:MAX_DIPS]
    lowest = np.ones(row.size, np.bool_)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy or dx:
                lowest &= image[row, column] <= image[row + dy, column + dx]
    row, column = row[lowest], column[lowest]
    return row, column, -image[row, column].astype(np.float64)
