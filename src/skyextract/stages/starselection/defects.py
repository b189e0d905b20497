"""Stars among defects: few, of one size and shape, that more cosmic rays outnumber.

Tracks and hot pixels are as sharp as the stars of undersampled images, and where many are left
more of them than stars have about one size.  But their sizes and shapes differ: larger sources
that agree in both, more than chance allows, are the stars.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.stages.chance import log_as_many

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import I8, Bools
    from skyextract.stages.starselection.candidates import Candidates

LARGER = 1.2
"""So many times as large as what was taken for stars, at least."""

SIZES, SHAPES = 0.01, 0.018
"""Scatter of log10 sizes and of ellipticities of stars beside their noise."""

CLIP = 2.5
"""Alike are sources within so many sigma of that."""

CHANCE = math.log(1e-3)
"""Log of the chance, over all groups that were looked at, below which sources are alike."""

ROUND = 0.1
"""(A - B) / (A + B) of stars, at most: the longer a track, the more elongated it is."""

MIN_GROUP = 4
"""Sources that are alike, at least."""

MOST = 400
"""Of the brightest sources, so many are looked at, at most."""


def alike_among_defects(c: Candidates, rows: I8, fwhm: float) -> float:
    """Return the log10 size of larger sources that agree in size and shape; NaN if none do.

    How many would by chance follows from the shares that have the size alone and the shape alone.

    Parameters
    ----------
    rows : (n,) int64
        Bright candidates.
    fwhm : float
        Of what was taken for stars, pixels.
    """
    rows = rows[c.fwhm[rows] > LARGER * fwhm]
    rows = rows[np.argsort(-c.snr[rows], kind="stable")][:MOST]
    size, shape, noise = np.log10(c.fwhm[rows]), c.ellipticity[rows], 1.0 / c.snr[rows]
    centres = np.flatnonzero(shape < ROUND)
    best, least = math.nan, CHANCE - math.log(max(centres.size, 1))
    for centre in centres:
        as_large = np.abs(size - size[centre]) < CLIP * np.hypot(0.4343 * noise, SIZES)
        as_round = np.abs(shape - shape[centre]) < CLIP * np.hypot(noise, SHAPES)
        both: Bools = as_large & as_round
        n = int(both.sum())
        if n < MIN_GROUP:
            continue
        other = max(int((~as_large & ~as_round).sum()), 1)
        mean = ((as_large & ~as_round).sum() + 1.0) * ((as_round & ~as_large).sum() + 1.0) / other
        # The centre is one of them in any case.
        if mean < 0.5 * (n - 1) and log_as_many(n - 1, mean) < least:
            least = log_as_many(n - 1, mean)
            best = median(size[both])
    return best
