"""Sizes of stars that neighbours have alike and the PSF does not follow: tiles of a mosaic, rows.

Where there are many parts with stars of their own, few stars are in each, and the departures of
sizes from the PSF show it by being alike among neighbours: Moran's I (P. A. P. Moran 1950,
Biometrika 37, 17), with departures that are cut off at a few times their scatter.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.noise import median
from skyextract.datamodel.unfollowed import Unfollowed
from skyextract.kernels.values import MAD_TO_SIGMA

NEIGHBOURS = 3
"""The nearest of a star, with which it is compared."""

MIN_STARS, MAX_STARS = 30, 1000
"""That are compared: fewer tell little, and of more these, from all of the frame."""

NO_STAR = 0.12
"""Departure of log10 sizes above which a source is a galaxy or a blend."""

CUT = 3.0
"""Departures count at most so many times their scatter."""

WIDE, ONE_SIZE, MIN_WIDE = 0.02, 0.03, 5
"""Departure from which sources are wide, and scatter of wide neighbours, of so many at least, above
which they are a cluster of galaxies: stars of a tile are of one size."""

SURE = 3.0
"""Moran's I over its scatter for sizes that are in any order."""

SURE_ALONG = 3.5
"""The same for neighbours along one axis..."""

OTHER_AXIS = 0.5
"""... and so much of it along the other one, at most."""

OFF, MEAN_OF = 0.02, 5
"""Departure of log10 sizes, as the median of so many along the axis, whose fluxes are off."""


def alike_in_bands(away: F8, rest: F8, x: F8, y: F8) -> tuple[str, Unfollowed | None]:
    """Tell of sizes that change along one axis faster than a PSF: a drift scan in another seeing.

    Ranks of departures from the PSF, and from a surface of low degree, are correlated with those of
    the next star along the axis (Wald & Wolfowitz 1943, Ann. Math. Stat. 14, 378), not across.

    Parameters
    ----------
    away, rest : (n,) float64
        Departures of log10 sizes from the PSF, and from the surface.
    x, y : (n,) float64
        Pixels.

    Returns
    -------
    str, Unfollowed or None
        The doubt and the bands; empty and None where there are none.
    """
    rows = np.flatnonzero(np.abs(away - median(away)) < NO_STAR)
    if rows.size < MIN_STARS:
        return "", None
    away, rest, x, y = (values[rows] for values in (away, rest, x, y))
    orders = [np.argsort(axis, kind="stable") for axis in (x, y)]
    sure = [min(_serial_correlation(values[k]) for values in (away, rest)) for k in orders]
    along = int(sure[1] > sure[0])
    if sure[along] < SURE_ALONG or sure[1 - along] > OTHER_AXIS * sure[along]:
        return "", None
    half, order = MEAN_OF // 2, orders[along]
    padded = np.pad(away[order], half, mode="reflect")
    middle = np.sort(np.lib.stride_tricks.sliding_window_view(padded, MEAN_OF), axis=1)[:, half]
    is_off = np.abs(middle) > OFF
    if not is_off.any():
        return "", None
    place, name = (x, y)[along][order], ("column", "row")[along]
    low, high = 10.0 ** middle.min() - 1.0, 10.0 ** middle.max() - 1.0
    message = (
        f"stars are {low:+.0%} to {high:+.0%} wider than the PSF from {name} to {name}, faster "
        f"than it can vary (a drift scan in changing seeing?): fluxes in {name}s where it does not "
        f"follow, from {round(place[is_off][0]) + 1} to {round(place[is_off][-1]) + 1}, are off"
    )
    scale = (0.0, 1.0) if along else (1.0, 0.0)
    return message, Unfollowed(x[order], y[order], is_off, scale)


def _serial_correlation(values: F8) -> float:
    """Return the correlation of the ranks of neighbours over its scatter by chance."""
    rank = np.argsort(np.argsort(values, kind="stable")) - 0.5 * (values.size - 1)
    return float((rank[1:] * rank[:-1]).mean() / np.square(rank).mean() * math.sqrt(values.size))


def alike_among_neighbours(away: F8, x: F8, y: F8) -> float:
    """Return the part of departures that neighbours have alike, rms; 0 if it may be chance.

    Parameters
    ----------
    away : (n,) float64
        Departures of log10 sizes.
    x, y : (n,) float64
        Pixels.
    """
    away = away - median(away)
    if x.size < MIN_STARS or _are_galaxies(away, x, y):
        return 0.0
    rows = np.flatnonzero(np.abs(away) < NO_STAR)
    if rows.size < MIN_STARS:
        return 0.0
    rows = rows[:: math.ceil(rows.size / MAX_STARS)]
    away, n = away[rows], rows.size
    near = _neighbours(x[rows], y[rows])
    scatter = MAD_TO_SIGMA * median(np.abs(away))
    if not scatter > 0.0:
        return 0.0
    score = np.clip(away / scatter, -CUT, CUT)
    score = (score - score.mean()) / max(float(score.std()), 1e-30)
    weight = np.zeros((n, n))
    np.put_along_axis(weight, near, 0.5, axis=1)
    weight += weight.T
    total = n * NEIGHBOURS
    index = float((score[:, None] * score[near]).sum()) / total
    # Mean and variance of normal numbers (Cliff & Ord 1981, Spatial Processes), many stars.
    error = math.sqrt(2.0 * float((weight**2).sum())) / total
    if index + 1.0 / (n - 1) < SURE * error:
        return 0.0
    return math.sqrt(max(0.0, float((away[:, None] * away[near]).mean())))


def _neighbours(x: F8, y: F8) -> I8:
    """Return the nearest (n, NEIGHBOURS) of each source."""
    squares = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    np.fill_diagonal(squares, np.inf)
    near: I8 = np.argpartition(squares, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    return near


def _are_galaxies(away: F8, x: F8, y: F8) -> bool:
    """Tell whether wide sources that are neighbours are of many sizes."""
    wide = np.flatnonzero(away > WIDE)
    if wide.size < MIN_WIDE:
        return False
    wide = wide[:: math.ceil(wide.size / MAX_STARS)]
    apart = away[wide][:, None] - away[wide][_neighbours(x[wide], y[wide])]
    # The difference of two numbers scatters 2^.5 times as much as these.
    return MAD_TO_SIGMA * median(np.abs(apart).ravel()) > ONE_SIZE * math.sqrt(2.0)
