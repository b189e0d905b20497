"""Clumps of point sources within larger footprints.

In a crowd a galaxy is in one footprint with many stars, perhaps with other galaxies, which no one
profile describes; but its pieces stand closer together than stars do, and the light of all others
is subtracted with their models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import I8, Bools
from skyextract.stages.crowded.cutouts import AROUND, SIZES
from skyextract.stages.pointsources.pairs import connected, pairs_within

if TYPE_CHECKING:
    from skyextract.stages.crowded.hidden import Hidden

LINK = 1.2
"""Sources of one footprint that are no farther apart than this, in FWHM, are of one clump."""


def clumps_of(hidden: Hidden, n_detected: int, host: I8, free: Bools, fewest: int) -> list[I8]:
    """Return the rows of the sources of each clump with added ones.

    Parameters
    ----------
    n_detected : int
        The first ones are detections.
    host : (n,) int64
        Detections whose footprints they are in; -1: none.
    free : (n,) bool
        Sources that may be of one.
    fewest : int
        Sources of a clump, at least.
    """
    rows = np.flatnonzero(free)
    first, second = pairs_within(hidden.x[rows], hidden.y[rows], LINK * hidden.psf.fwhm)
    host = host[rows]
    alike = (host[first] == host[second]) & (host[first] >= 0)
    label = connected(rows.size, first[alike], second[alike])
    order = np.argsort(label, kind="stable")
    rows, label = rows[order], label[order]
    # Most are alone: `numpy.split` would make an array of each.
    edges = np.flatnonzero(np.diff(label, prepend=-1, append=-1))
    first, size = edges[:-1], np.diff(edges)
    wanted = (size >= fewest) & (rows[edges[1:] - 1] >= n_detected)
    return [rows[k : k + n] for k, n in zip(first[wanted], size[wanted], strict=True)]


def places_of(hidden: Hidden, groups: list[I8]) -> tuple[I8, I8]:
    """Return the middle pixels (row, column) of clumps, and the sides of windows about them."""
    middle, need = np.zeros((len(groups), 2), np.int64), np.zeros(len(groups), np.int64)
    for k, group in enumerate(groups):
        y, x = hidden.y[group], hidden.x[group]
        middle[k] = np.rint((y.min() + y.max()) / 2.0), np.rint((x.min() + x.max()) / 2.0)
        reach = max(np.ptp(x), np.ptp(y)) / 2.0 + AROUND * hidden.psf.fwhm
        need[k] = min(2 * int(np.ceil(reach)) + 3, SIZES[-1])
    return middle, need


def but_for_one(hidden: Hidden, n_detected: int, pieces: I8) -> tuple[I8, I8]:
    """Return the pieces of an extended source without, and with only, what stands for it.

    That is a detection, or else the piece nearest to the middle of their light.
    """
    if pieces.size == 0 or (pieces < n_detected).any():
        return pieces, pieces[:0]
    flux = np.maximum(hidden.flux[pieces], 1e-30)
    x, y = hidden.x[pieces], hidden.y[pieces]
    middle = (flux @ x) / flux.sum(), (flux @ y) / flux.sum()
    nearest = np.argmin(np.hypot(x - middle[0], y - middle[1]))
    return np.delete(pieces, nearest), pieces[[nearest]]
