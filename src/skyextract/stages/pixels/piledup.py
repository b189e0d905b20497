"""Saturation about a level, not at it: full wells and charge that runs over are noisy.

Columns into which charge of a bright star has run have the level of full wells with noise, so
that only half of their pixels reach what a card gives as saturation; the others would be pieces of
sources, and cosmic rays.  Such a pile-up is a peak of the histogram about that level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import n_from
from skyextract.datamodel.noise import median

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4
    from skyextract.run import Run

MIN_PILE = 16
"""Pixels of a pile-up below the level, ..."""
PILE = 4.0
"""... so many times what there are farther below, ..."""
REACH, BELOW = 0.03, 0.1
"""... in this part of the range between sky and level; farther below is up to the second."""
BINS = 100
"""Of the range `BELOW`."""


def foot_of_pile(image: F4, level: float, sky: float, run: Run) -> float:
    """Return where the pixels begin that are piled up about a level; the level if none are.

    Parameters
    ----------
    image : (ny, nx) float32
    level, sky : float
        Saturation that a card gives, and the median of the pixels.
    """
    span = BELOW * (level - sky)
    if not span > 0.0:
        return level
    edge = level - REACH / BELOW * span
    n_top, n_edge, n_all = n_from(image, (level, edge, level - span), run).tolist()
    of_pile, of_rest = n_edge - n_top, (n_all - n_edge) * REACH / (BELOW - REACH)
    if n_top < MIN_PILE or of_pile < max(MIN_PILE, PILE * of_rest):
        return level
    values = image[image > np.float32(level - span)]
    depth = (level - values[values < np.float32(level)].astype(np.float64)) / span
    number = np.bincount(np.minimum((depth * BINS).astype(np.int64), BINS - 1), minlength=BINS)
    rest = median(number[round(BINS * REACH / BELOW) :])
    many = number > PILE * rest + 1.0
    n = int(np.argmin(many))
    if number[:n].sum() < MIN_PILE:
        return level
    # A bin more: the foot of the peak.
    return float(level - (n + 1) / BINS * span)
