"""Whether a plate holds in all parts of the frame."""

from __future__ import annotations

import math
from dataclasses import field

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.flags import Flags
from skyextract.datamodel.refcatalog import reference_variance
from skyextract.kernels.astrometry.match import mutual_nearest
from skyextract.record import record
from skyextract.settings.keywords import Astrometry as AstrometryConfig
from skyextract.sky.angles import ARCSEC
from skyextract.sky.plate import gnomonic
from skyextract.stages.agreement import (
    Group,
    Spread,
    cells,
    second_group,
    spread_of_medians,
    two_groups,
)
from skyextract.stages.astrometry.brightness import Brightness, find_trend
from skyextract.stages.astrometry.corners import Corners, find_corners
from skyextract.stages.astrometry.displaced import Displaced, find_displaced
from skyextract.stages.astrometry.outside import Outside, find_outside
from skyextract.stages.astrometry.seam import Seam, find_seam
from skyextract.stages.astrometry.solution import Solution, usable
from skyextract.stages.astrometry.sources import Sources

MAX_PART = 1.0
"""Median offset of a part of the frame, pixels, that makes the solution a FALLBACK."""
WIDER = 3.0
"""Stars that are displaced together are looked for within so many matching radii."""
MIN_ERROR = 1e-3
"""No offset is better known than this, pixels."""
CUT = int(Flags.TRUNCATED | Flags.APERTURE_INCOMPLETE)
"""FLAGS of sources that say nothing about a seam."""
MIN_SPLIT = 0.05
"""Error of a position, pixels, at least, when two groups are told apart."""
SURE = 4.0
"""A star is displaced, and a part is, from this many of its errors on."""


@record
class AstrometryParts:
    """What parts of the stars say about the plate of all.

    Attributes
    ----------
    axes : (Spread, Spread)
        Of the median offsets in cells of the frame, in xi and eta, arcsec.
    group : Group
        Stars that are displaced alike, by x and y arcsec.
    halves : Group
        The smaller of two groups that the fit lies between, and its place from the larger.
    seam : Seam
        Row or column beyond which stars are displaced.
    corners : Corners
        Corners of the frame whose stars are displaced.
    displaced : Displaced
        A part of the frame whose stars the fit left out, displaced alike.
    outside : Outside
        Stars without a partner, away from those that have one, or displaced alike.
    brightness : Brightness
        How stars are displaced by their brightness.
    """

    axes: tuple[Spread, Spread]
    group: Group
    halves: Group = field(default_factory=Group)
    seam: Seam = field(default_factory=Seam)
    corners: Corners = field(default_factory=Corners)
    displaced: Displaced = field(default_factory=Displaced)
    outside: Outside = field(default_factory=Outside)
    brightness: Brightness = field(default_factory=Brightness)

    @property
    def error(self) -> float:
        """Error per axis that the parts differ by, arcsec."""
        return max(self.seam.error, self.corners.error, *(spread.rms for spread in self.axes))

    @property
    def contradiction(self) -> str:
        """Why the solution cannot be right for the whole frame; empty if it may be."""
        return self._told(self.group) if self.group.contradicts else ""

    @staticmethod
    def _told(group: Group) -> str:
        return (
            f"{group.number} stars ({group.share:.0%}) are displaced alike, by "
            f"{math.hypot(group.x, group.y):.2f} arcsec: a mosaic out of place, a trailed or "
            "doubled frame, two systems in the reference catalogue?"
        )

    def split(self, pixel_scale: float) -> str:
        """Say that the stars are of two places, which of is right cannot be told; else empty."""
        if not self.halves.contradicts:
            return ""
        offset = math.hypot(self.halves.x, self.halves.y)
        return self._told(self.halves) if offset > MAX_PART * pixel_scale else ""

    def weakness(self, pixel_scale: float) -> str:
        """Why the solution is to be taken with care; empty if it is not."""
        if self.seam.axis:
            return self.seam.told
        if self.halves.contradicts:
            return self._told(self.halves)
        if self.corners.number:
            return self.corners.told
        if self.displaced.number:
            return self.displaced.told
        for spread in self.axes:
            if spread.exceeds(MAX_PART * pixel_scale, SURE):
                off = abs(spread.worst)
                return f"stars in a part of the frame are off by {off:.2f} arcsec: distortion?"
        return ""

    @property
    def numbers(self) -> dict[str, float]:
        """What the summary tells."""
        return {
            "error_of_field": self.error,
            "n_second_group": max(self.group.number, self.halves.number),
            "seam_arcsec": self.seam.offset,
            "n_lost_in_corners": self.corners.number,
            "n_displaced": self.displaced.number,
            "n_alone_outside": self.outside.alone,
            "n_alone_alike": self.outside.alike,
        } | self.brightness.numbers


def pairs_within(solution: Solution, sources: Sources, radius: float) -> tuple[I8, I8, F8, F8]:
    """Pair all sources with reference stars.

    Returns indices into the sources and into the region's stars, and the offsets, detection
    minus reference in the tangent plane, arcsec.
    """
    plate, region = solution.fit.plate, solution.region
    xi, eta = (ARCSEC * v for v in plate.to_plane(sources.x, sources.y))
    rx, ry = (ARCSEC * v for v in gnomonic(region.ra, region.dec, plate.ra0, plate.dec0))
    near = np.flatnonzero(np.isfinite(rx) & np.isfinite(ry))
    first, second, _ = mutual_nearest(xi, eta, rx[near], ry[near], radius)
    second = near[second]
    return first, second, xi[first] - rx[second], eta[first] - ry[second]


def compare_parts(
    solution: Solution, sources: Sources, shape: tuple[int, int], config: AstrometryConfig
) -> AstrometryParts:
    """Compare the offsets of stars in parts of the frame, whether the fit used them or not."""
    fit = solution.fit
    first, second, dx, dy = pairs_within(solution, sources, WIDER * solution.radius)
    rows = usable(sources, first, solution.region, second, config)
    first, second, dx, dy = first[rows], second[rows], dx[rows], dy[rows]
    own = sources.variance[first] * fit.plate.pixel_scale**2
    known = np.sqrt(own + reference_variance(solution.region, second))
    errors = np.maximum(np.hypot(known, fit.floor), MIN_ERROR * fit.plate.pixel_scale)
    distance = np.hypot(dx, dy)
    apart = distance > SURE * errors
    group = second_group(dx, dy, errors, apart)
    everywhere = sources.x[first], sources.y[first]
    displaced = find_displaced(everywhere, (dx, dy), errors, apart, fit.plate.pixel_scale)
    # Beyond the radius most pairs are chance.
    near = distance < solution.radius
    part, _ = cells(sources.x[first[near]], sources.y[first[near]], shape)
    axes = [spread_of_medians(v[near], errors[near], part) for v in (dx, dy)]
    trend = find_trend(
        (dx[near], dy[near]), np.sqrt(own[near]), errors[near], solution.region, second[near]
    )
    known = np.maximum(known, MIN_SPLIT * fit.plate.pixel_scale)
    place = sources.x[first[near]], sources.y[first[near]]
    halves = two_groups(dx[near], dy[near], known[near], fit.floor, place)
    plane = gnomonic(
        solution.region.ra[second], solution.region.dec[second], fit.plate.ra0, fit.plate.dec0
    )
    # Stars that the edge cuts, or their light, are displaced away from it.
    k = np.flatnonzero((sources.flags[first] & CUT) == 0)
    seam = find_seam(
        (sources.x[first[k]], sources.y[first[k]]), (ARCSEC * plane[0][k], ARCSEC * plane[1][k]),
        (dx[k], dy[k]), known[k], shape, fit.plate.pixel_scale, fit.plate.degree,
    )  # fmt: skip
    corners = find_corners(
        (sources.x[first[k]], sources.y[first[k]]), (dx[k], dy[k]), errors[k], shape,
        config.astrclip_nsigma, fit.plate.degree,
    )  # fmt: skip
    pairs = pairs_within(solution, sources, solution.radius)[:2]
    outside = find_outside(solution, sources, pairs, shape)
    return AstrometryParts(
        (axes[0], axes[1]), group, halves, seam, corners, displaced, outside, trend
    )
