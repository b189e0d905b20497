"""Stars upon galaxies and in wide blends: detection has overlooked them, the other side has not.

A branch of a blend needs a share of all its light, so that the wider a blend is, the brighter are
the stars in it that are no detections of their own.  Nor do the fits of point sources show them:
what these leave of galaxies is brighter.  But a galaxy, as a star, looks the same when it is turned
by half a circle about its centre (C. J. Conselice 2003, ApJS 147, 1), and a star upon it does not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.detection.companions import Footprints, Stars
from skyextract.kernels.detection.overlooked import Blends, Sides, lights_off_centre
from skyextract.stages.crowded.rest import disc_offsets, nearest_pixel
from skyextract.stages.pointsources.sweeps import UNUSABLE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8, U2, Bools
    from skyextract.datamodel.detections import Detections
    from skyextract.run import Run

LEAST = 1.6
"""Height above the other side, at least, in detection thresholds: both sides are noisy..."""
SHARE = 0.2
"""... and as a share of the light there: galaxies are not that even."""
MOST = 50.0
"""Brighter ones, in detection thresholds, show in other ways: here they are saturated stars whose
pixels have run over, while no header tells of it."""
NEAREST = 0.7
"""Distance from the centre, at least, in FWHM."""
RING, AROUND, ALONG = 1.6, 0.6, 0.45
"""At this distance, in FWHM, a point source has nothing left; another galaxy has more than such a
share of its height, and a spiral arm, or a trail, more than that on two opposite sides."""
UNSEEN = 1.0
"""No pixel is without data within this distance, in FWHM, of the place, the other side, or the
centre."""
MARGIN = 1.0
"""Distance of the other side from the edge of the frame, in FWHM."""
BY_CHANCE, SIGMAS = 0.5, 2.0
"""Sources that have no part in each other lie in footprints of others by chance: as many as there
are detections, times the share of the frame that these cover; at most half of them are overlooked.
Where there are more, by so many sigma, galaxies have knots."""
PIXELS_PER_PLACE = 30
"""Memory for places: one for so many pixels of footprints."""


def places_upon(
    found: Detections, rows: Bools, footprints: Footprints, stars: Stars, fwhm: float,
    photon_noise: float, mask: U2, run: Run,
) -> tuple[I8, F8, F8, F8]:  # fmt: skip
    """Return the detections upon which another source stands, its x and y, and its height.

    Parameters
    ----------
    found : Detections
    rows : (n,) bool
        Detections that are looked at.
    footprints : Footprints
    stars : Stars
        The detections as point sources.
    fwhm : float
        Of stars, pixels.
    photon_noise : float
        Variance that one unit of light adds, in units of that of the empty sky.
    mask : (ny, nx) uint16
        Of the exposure.

    Returns
    -------
    host : (k,) int64
    x, y : (k,) float64
    height : (k,) float64
        Of the filtered image there, above the other side.
    """
    ny, nx = found.image_shape
    member = np.argsort(found.id_parent, kind="stable")
    parent = found.id_parent[member]
    begin = np.append(np.flatnonzero(np.diff(parent, prepend=-1)), found.n)
    box = np.empty((begin.size - 1, 4), np.int64)
    for column, (least, edge) in enumerate(
        ((np.minimum, found.ymin), (np.maximum, found.ymax), (np.minimum, found.xmin),
         (np.maximum, found.xmax))
    ):  # fmt: skip
        box[:, column] = least.reduceat(edge[member], begin[:-1])
    blends = Blends(member, begin, box, rows.astype(np.int64))
    threshold = float(found.threshold)
    sides = Sides(
        NEAREST * fwhm, threshold, LEAST * threshold, MOST * threshold, photon_noise, SHARE,
        RING * fwhm, AROUND, ALONG, MARGIN * fwhm, int(ny), int(nx),
    )  # fmt: skip
    size = np.append(0, np.cumsum(np.diff(found.first)[member]))[begin]

    def part(span: tuple[int, int]) -> F8:
        room = int(size[span[1]] - size[span[0]]) // PIXELS_PER_PLACE + 1
        place = np.empty((room, 4))
        return place[: lights_off_centre(*span, blends, footprints, stars, sides, place)]

    host, x, y, height = np.concatenate(run.map(part, run.bands(begin.size - 1))).T.copy()
    host = host.astype(np.int64)
    seen = np.ones(host.size, np.bool_)
    centre_x, centre_y = stars.x[host], stars.y[host]
    for turn in (1.0, 0.0, -1.0):
        at_x, at_y = centre_x + turn * (x - centre_x), centre_y + turn * (y - centre_y)
        seen &= _is_seen(mask, at_x, at_y, UNSEEN * fwhm)
    chance = BY_CHANCE * found.n * found.pixel.size / (ny * nx)
    if np.count_nonzero(seen) > chance + SIGMAS * math.sqrt(chance / BY_CHANCE):
        run.info(f"{np.count_nonzero(seen)} lights upon galaxies, of {chance:.0f} by chance: knots")
        seen[:] = False
    return host[seen], x[seen], y[seen], height[seen]


def _is_seen(mask: U2, x: F8, y: F8, radius: float) -> Bools:
    """Tell which places have data in all pixels about them."""
    row, column = nearest_pixel(x, y, mask.shape)
    seen = np.ones(x.size, np.bool_)
    for dy, dx in disc_offsets(radius).tolist():
        beside = np.clip(row + dy, 0, mask.shape[0] - 1), np.clip(column + dx, 0, mask.shape[1] - 1)
        seen &= (mask[beside] & np.uint16(UNUSABLE)) == 0
    return seen
