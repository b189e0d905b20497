"""Few stars of another size that stand together: a part of the frame in another seeing or focus.

Where a part has few bright stars the median of their sizes tells little.  But each of them is many
of its errors from the PSF, they are of one size, as galaxies are not, and none of the PSF stars is
among them: all that is not by chance.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools
from skyextract.stages.chance import log_choices
from skyextract.stages.starselection.locus import CLIP, INTRINSIC
from skyextract.stages.starselection.rectangles import Edges, rectangles_and_strips

FEW = 3
"""That make a part, at least."""

CELLS = 6
"""Of the grid of rectangles."""

OTHER, SURE = 0.03, 5.0
"""Departure of the log10 size of a star that is none of the PSF, at least, also in its errors."""

RANGE = 0.3
"""Log10 over which the sizes of galaxies are spread, at least."""

MOST = 0.7
"""Share of the sources in a part that are of its size."""

NEIGHBOURS = 3
"""Of these one is of the same size: a blend or a galaxy by itself is no part of the frame."""

BY_SIZE, BY_PLACE = 0.03, 3e-3
"""Probability that so many are alike where sizes are random, as in a cluster of galaxies, and that
they are together where places are, as those of bright stars that are wider, at most."""


def part_of_few(
    away: F8, error: F8, is_star: Bools, u: F8, v: F8
) -> tuple[Edges, Edges, I8] | None:
    """Return a rectangle whose stars are of another size, and these; None if there is none.

    Parameters
    ----------
    away, error : (n,) float64
        Departures of log10 sizes from the PSF, and their errors.
    is_star : (n,) bool
        PSF stars.
    u, v : (n,) float64
        Places in the field, from -0.5 to 0.5.
    """
    total = np.hypot(error, INTRINSIC)
    others = np.flatnonzero(~is_star & (np.abs(away) > np.maximum(OTHER, SURE * total)))
    others = others[np.abs(away[others]) < RANGE]
    if others.size < FEW:
        return None
    window = CLIP * total[others]
    near = np.abs(away[others, None] - away[others]) < window
    alike = np.zeros(away.size, dtype=np.bool_)
    alike[others[near[int(np.argmax(near.sum(axis=1)))]]] = True
    n, n_alike = away.size, int(alike.sum())
    if n_alike < FEW:
        return None
    # Of galaxies each is of the size of the first by chance.
    by_size = np.log(np.minimum(2.0 * CLIP * total / RANGE, 1.0))

    def log_of_sizes(rows: I8) -> float:
        chance = float(by_size[rows].sum() - by_size[rows].min())
        return chance + log_choices(others.size, rows.size)

    if log_of_sizes(np.flatnonzero(alike)) > math.log(BY_SIZE):  # as in most fields
        return None
    least, best = (math.log(BY_PLACE), 0.0), None
    parts, those = list(rectangles_and_strips(u, v, CELLS)), np.flatnonzero(alike)
    for across, along, inside in parts:
        rows = those[inside[those]]
        k, n_inside = rows.size, int(np.count_nonzero(inside))
        if k < FEW or k < MOST * n_inside:
            continue
        if log_of_sizes(rows) > math.log(BY_SIZE):
            continue
        chance = log_choices(n_alike, k) + log_choices(n - n_alike, n_inside - k)
        chance += math.log(len(parts)) - log_choices(n, n_inside)
        area = (across[1] - across[0]) * (along[1] - along[0])
        if (chance, area) < least:
            least, best = (chance, area), (across, along, rows)
    return best


def of_that_size(away: F8, departure: float, x: F8, y: F8) -> Bools:
    """Tell which sources are rather of another size than of that of the PSF, as is a neighbour.

    Parameters
    ----------
    away : (n,) float64
        Departures of log10 sizes from the PSF.
    departure : float
        That of the other stars.
    x, y : (n,) float64
        Pixels.
    """
    is_unlike: Bools = np.abs(away - departure) < 0.5 * abs(departure)
    squares = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    np.fill_diagonal(squares, np.inf)
    near = np.argsort(squares, axis=1)[:, :NEIGHBOURS]
    return is_unlike & is_unlike[near].any(axis=1)
