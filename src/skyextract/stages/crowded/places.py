"""Where companions of detections may be: beside stars, and upon anything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U2, Bools
from skyextract.kernels.detection.companions import (
    Footprints,
    Rules,
    Stars,
    brightest_beside,
    centre_peaks,
)
from skyextract.stages.crowded.overlooked import places_upon
from skyextract.stages.pointsources.pairs import pairs_within

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.run import Run
    from skyextract.stages.detection.matched import MatchedFilter

MIN_PEAK = 20.0
"""Peaks of the stars beside which others are looked for, in sigma."""
NEAREST, FARTHEST = 0.7, 3.5
"""Distances of companions, in FWHM."""
MIN_SHARE = 0.2
"""A companion is at least this share of the light of the others there..."""
MIN_CONTRAST = 2.0
"""... and so many times what is left at the same distance from the star: galaxies are round."""
APART, MAX_SYMMETRY = 1.6, 0.5
"""From this distance on, in FWHM, stars have peaks of their own, and what leaves such a share of
its light on the other side, too, is a galaxy."""
FELT = 4.0
"""Distance, in FWHM, within which detections are felt."""
MIN_SEPARATION = 0.7
"""Sources nearer to each other than this, in FWHM, are not told from an extended one."""
FINE_PSF = 6.0
"""Samples per FWHM, at least, of the PSF convolved with itself."""


def places_of_companions(
    found: Detections, rows: Bools, matched: MatchedFilter, unit: float, fwhm: float,
    photon_noise: float, mask: U2, run: Run,
) -> tuple[I8, F8, F8, Bools]:  # fmt: skip
    """Return hosts and positions of what is beside stars, and upon anything, and which is upon."""
    footprints, stars = _stars_of(found, matched, fwhm, run)
    beside = places_beside(found, rows, footprints, stars, unit, fwhm, photon_noise, run)
    *upon, height = places_upon(found, rows, footprints, stars, fwhm, photon_noise, mask, run)
    order = np.argsort(-height, kind="stable")
    host, x, y = (
        np.concatenate([theirs[order], ours]) for ours, theirs in zip(beside, upon, strict=True)
    )
    is_upon = np.arange(host.size) < order.size
    first, second = pairs_within(x, y, MIN_SEPARATION * fwhm)
    kept = np.ones(host.size, np.bool_)
    kept[second[is_upon[first]]] = False
    return host[kept], x[kept], y[kept], is_upon[kept]


def places_beside(
    found: Detections, rows: Bools, footprints: Footprints, stars: Stars, unit: float, fwhm: float,
    photon_noise: float, run: Run,
) -> tuple[I8, F8, F8]:  # fmt: skip
    """Return the detections beside which something is left, and x, y of that.

    Parameters
    ----------
    found : Detections
        In whose footprints the image is filtered with the PSF.
    rows : (n,) bool
        Detections that are looked at, if they are bright.
    footprints : Footprints
    stars : Stars
    unit : float
        Noise of the filtered image.
    fwhm : float
        Of stars, pixels.
    photon_noise : float
        Variance that one unit of light adds, in units of that of the empty sky.
    """
    hosts = np.flatnonzero(rows & (stars.height > MIN_PEAK * unit))
    rules = Rules(
        NEAREST * fwhm, FARTHEST * fwhm, float(found.threshold), photon_noise, MIN_SHARE,
        MIN_CONTRAST, APART * fwhm, MAX_SYMMETRY,
    )  # fmt: skip
    beside = np.empty((hosts.size, 2))

    def part(span: tuple[int, int]) -> None:
        some = slice(*span)
        brightest_beside(hosts[some], footprints, stars, rules, beside[some])

    run.map(part, run.bands(hosts.size))
    some = np.isfinite(beside[:, 0])
    return hosts[some], beside[some, 0], beside[some, 1]


def _stars_of(
    found: Detections, matched: MatchedFilter, fwhm: float, run: Run
) -> tuple[Footprints, Stars]:
    """Return the detections for kernels, as what they cover and as point sources."""
    _, nx = found.image_shape
    footprints = Footprints(found.first, found.pixel, found.filtered, nx)
    place, peak = np.empty((found.n, 3)), found.ypeak.astype(np.int64) * nx + found.xpeak

    def part(span: tuple[int, int]) -> None:
        first = found.first[span[0] : span[1] + 1]
        some = slice(*span)
        centre_peaks(footprints._replace(first=first), peak[some], place[some])

    run.map(part, run.bands(found.n))
    x, y, height = (np.ascontiguousarray(v) for v in place.T)
    first, second = pairs_within(x, y, FELT * fwhm)
    near, far = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.argsort(near, kind="stable")
    begin = np.searchsorted(near[order], np.arange(found.n + 1))
    fineness = math.ceil(FINE_PSF / fwhm)
    up, across = matched.cells_of(np.rint(y).astype(np.int64), np.rint(x).astype(np.int64))
    cell = up * matched.column.shape[1] + across
    stars = Stars(
        x, y, height, cell, _profiles(matched, fineness), fineness, begin, far[order]
    )  # fmt: skip
    return footprints, stars


def _profiles(matched: MatchedFilter, fineness: int) -> F4:
    """Return the PSF of each cell convolved with itself, of peak 1, in samples of 1 / fineness.

    That of a sum of outer products is one of those of their factors, each with each.
    """
    sides = []
    for side in (matched.column, matched.line):
        factors = side.reshape(-1, *side.shape[2:]).astype(np.float64)
        size = 2 * factors.shape[2]
        waves = np.fft.rfft(factors, size)
        both = waves[:, :, None].conj() * waves[:, None]
        fine = np.fft.irfft(both, fineness * size)
        sides.append(np.fft.fftshift(fine, axes=3).reshape(len(fine), -1, fineness * size))
    light = np.matmul(sides[0].transpose(0, 2, 1), sides[1])
    peak = light[:, [[fineness * size // 2]], [[fineness * size // 2]]]
    profiles: F4 = (light / peak).astype(np.float32)
    return profiles
