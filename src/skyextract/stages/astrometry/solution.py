"""From a rough solution to a fitted plate with the evidence for it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.flags import Flags
from skyextract.datamodel.matches import match_radius
from skyextract.datamodel.noise import median
from skyextract.datamodel.refcatalog import RefCatalog, reference_variance
from skyextract.kernels.astrometry.match import mutual_nearest
from skyextract.record import record
from skyextract.settings.keywords import Astrometry as AstrometryConfig
from skyextract.sky.angles import ARCSEC
from skyextract.sky.plate import Plate, gnomonic, plate_of, stereographic_inverse
from skyextract.stages.astrometry.fields import Field
from skyextract.stages.astrometry.platefit import PlateFit, fit_plate
from skyextract.stages.astrometry.platemodels import models
from skyextract.stages.astrometry.pointing import Start
from skyextract.stages.astrometry.refine import Rough
from skyextract.stages.astrometry.sources import Sources
from skyextract.stages.astrometry.verification import Offset, Verification, verify

if TYPE_CHECKING:
    from skyextract.stages.astrometry.extent import Extent

SATURATED_OR_CUT = int(
    Flags.SATURATED
    | Flags.TRUNCATED
    | Flags.APERTURE_INCOMPLETE
    | Flags.DEBLEND_OVERFLOW
    | Flags.EXTRACT_OVERFLOW
)
"""FLAGS of sources whose position is not used for the fit while there are others."""

BROAD = 3.0
"""The scatter is not that of the errors from so many times these on, ..."""
BROAD_PIXELS = 0.25
"""... and from so many pixels."""
SETTLED = 0.02
"""The middle of it is found where it moves by less than this part of the scatter."""
KEPT = 0.95
"""Share of the matches that clipping must keep: else they are of one broad distribution."""
_RECENTRED = 8

USUAL_DEGREE = 3
"""Highest degree that every frame is fitted with where DISTORT_DEGREES is AUTO."""

ENOUGH_MOTIONS = 20
"""From this many stars with a proper motion on, those without serve no longer."""


@record
class Solution:
    """A fit to the pairs that a rough solution suggests, and what speaks for it.

    Attributes
    ----------
    fit : PlateFit
    verification : Verification
    offset : Offset
        From what was expected of the frame.
    first, second : int64 (k,)
        Pairs, indices into the sources and into `region`.
    in_fit : int64
        Pairs given to the fit, indices into `first`.
    region : RefCatalog
        Reference stars around the frame.
    radius : float
        Matching radius, arcsec.
    prior : Plate
        What the fit started from.
    extent : Extent or None
        What is expected of the plate at each place, if the fit told it.
    looked_at : Extent or None
        What its stars tell of terms beyond the plate's, if somebody has looked; no fit has it.
    """

    fit: PlateFit
    verification: Verification
    offset: Offset
    first: I8
    second: I8
    in_fit: I8
    region: RefCatalog
    radius: float
    prior: Plate
    extent: Extent | None = None
    looked_at: Extent | None = None


class Place(NamedTuple):
    """Where sources are expected: in a tangent plane, deg, and arcsec per pixel there."""

    xi: F8
    eta: F8
    ra0: float
    dec0: float
    scale: float

    @classmethod
    def by(cls, plate: Plate, sources: Sources) -> Place:
        """Return where a plate puts them."""
        xi, eta = plate.to_plane(sources.x, sources.y)
        return cls(xi, eta, plate.ra0, plate.dec0, plate.pixel_scale)


def _prior(start: Start, rough: Rough, *, linear: bool) -> Plate:
    """Return the expected plate about the rough centre, mirrored if the match is."""
    x0, y0 = start.centre
    unit = 0.5 * max(start.shape)
    prior = None
    if start.wcs is not None:
        for degree in (1,) if linear else (1, 2, 3, 5, 7):
            prior, error = plate_of(start.wcs.to_j2000, start.shape, degree)
            if not error > 1e-4:
                break
        if not (error <= 0.05 or (linear and math.isfinite(error))):
            prior = None
    if prior is None:
        step = rough.unit * unit
        coefficients = np.array([[0.0, -step, 0.0], [0.0, 0.0, step]])
        prior = Plate(rough.ra0, rough.dec0, x0, y0, unit, coefficients)
    if rough.flip:
        prior = replace(prior, coefficients=prior.coefficients * np.array([[-1.0], [1.0]]))
    return replace(prior, ra0=rough.ra0, dec0=rough.dec0)


def fit_and_test(
    start: Start, sources: Sources, field: Field, rough: Rough, config: AstrometryConfig
) -> Solution | None:
    """Match everything near a rough solution, fit and weigh it; None if the fit fails."""
    prior = _prior(start, rough, linear=config.projection_type == "TAN")
    scale = rough.unit * ARCSEC
    half = 0.6 * math.hypot(*start.shape) * math.exp(start.log_range) * scale / ARCSEC
    region = field.reference.take(field.around(start, rough.ra0, rough.dec0, half))
    place = Place(rough.xi, rough.eta, rough.ra0, rough.dec0, scale)
    widest = match_radius(config.crossid_radius, scale)
    # First the pairs that the rough solution is sure of, then all within reach of the first
    # fit, then those within its scatter.
    radius = min(rough.radius * scale, 3.0 * widest)
    for step in range(4):
        found = paired_fit(sources, region, place, radius, prior, config)
        if found is None:
            return None
        fit, first, second, in_fit = found
        before, place = radius, Place.by(fit.plate, sources)
        widest = match_radius(config.crossid_radius, place.scale)
        radius = widest
        if step > 0:
            radius = min(widest, max(6.0 * fit.rms(), 0.5 * place.scale))
            if abs(radius - before) < 0.05 * before:
                break
    offset = offset_of(fit.plate, start)
    verification = verify(
        fit.plate, start.shape, sources.x, sources.y, region.ra, region.dec, widest, offset,
        fit.model.parameters,
    )  # fmt: skip
    return Solution(fit, verification, offset, first, second, in_fit, region, widest, prior)


def paired_fit(
    sources: Sources, region: RefCatalog, place: Place, radius: float,
    prior: Plate, config: AstrometryConfig, *, clip: bool = True, highest: int = 0,
) -> tuple[PlateFit, I8, I8, I8] | None:  # fmt: skip
    """Fit the pairs of sources, where they are expected, and stars within a radius, arcsec.

    Returns also the pairs, and which of them were given to the fit; None if it fails.
    `highest` is the highest degree, 0: that of the settings.
    """
    rx, ry = gnomonic(region.ra, region.dec, place.ra0, place.dec0)
    near = np.flatnonzero(np.isfinite(rx) & np.isfinite(ry))
    first, second, _ = mutual_nearest(
        ARCSEC * place.xi, ARCSEC * place.eta, ARCSEC * rx[near], ARCSEC * ry[near], radius
    )
    second = near[second]
    in_fit = usable(sources, first, region, second, config)
    if len(in_fit) < 3:
        return None
    own, other = first[in_fit], second[in_fit]
    variance = sources.variance[own] * place.scale**2 + reference_variance(region, other)
    linear = config.projection_type == "TAN"
    fit = fit_plate(
        sources.x[own], sources.y[own], region.ra[other], region.dec[other], variance, prior,
        models(
            prior, highest or config.distort_degrees or USUAL_DEGREE, len(own), linear=linear
        ),
        config.astrclip_nsigma if clip else math.inf,
    )  # fmt: skip
    return None if fit is None else (fit, first, second, in_fit)


def with_all_matches(
    solution: Solution, sources: Sources, start: Start, config: AstrometryConfig
) -> Solution:
    """Return the solution, from all matches where their scatter is not that of the errors.

    Coarse positions (rounded, or of another epoch) have a broad distribution.  Clipping, and a
    radius that follows the scatter, find a narrow part of it, beside its middle: so the middle of
    all is found first, without either.
    """
    fit, widest = solution.fit, solution.radius
    scale = fit.plate.pixel_scale
    own, other = (rows[solution.in_fit] for rows in (solution.first, solution.second))
    known = np.sqrt(sources.variance[own] * scale**2 + reference_variance(solution.region, other))
    if not fit.floor > max(BROAD * median(known), BROAD_PIXELS * scale):
        return solution
    found = None
    for _ in range(_RECENTRED):
        before, place = fit.plate, Place.by(fit.plate, sources)
        found = paired_fit(
            sources, solution.region, place, widest, solution.prior, config, clip=False
        )
        if found is None:
            return solution
        fit = found[0]
        if _shift(fit.plate, before) < SETTLED * fit.floor:
            break
    clipped = paired_fit(sources, solution.region, place, widest, solution.prior, config)
    if clipped is not None:
        n_matched = len(clipped[3]) - solution.verification.expected
        found = clipped if clipped[0].used.sum() >= KEPT * n_matched else found
    assert found is not None
    fit, first, second, in_fit = found
    return replace(
        solution, fit=fit, first=first, second=second, in_fit=in_fit,
        offset=offset_of(fit.plate, start),
    )  # fmt: skip


def _shift(plate: Plate, other: Plate) -> float:
    """Distance of the tangent points of two plates, arcsec."""
    x, y = gnomonic(np.array([plate.ra0]), np.array([plate.dec0]), other.ra0, other.dec0)
    return ARCSEC * math.hypot(float(x[0]), float(y[0]))


def usable(
    sources: Sources, first: I8, region: RefCatalog, second: I8, config: AstrometryConfig
) -> I8:
    """Return the pairs that are good enough for the fit.

    Saturated or cut sources serve where the others are fewer than ten and than half, faint ones
    where these are fewer than ten, too; stars that may have moved, with their larger errors, where
    too few have a proper motion.
    """
    bright = sources.snr[first] >= config.sn_thresholds[0]
    clean = (sources.flags[first] & SATURATED_OR_CUT) == 0
    good = np.flatnonzero(bright & clean)
    if len(good) < max(10, len(first) // 2):
        some = np.flatnonzero(bright)
        good = some if len(some) >= min(10, len(first)) else np.arange(len(first))
    moving = np.isfinite(region.pmra[second[good]]) & np.isfinite(region.pmdec[second[good]])
    return good[moving] if np.sum(moving) >= ENOUGH_MOTIONS else good


def offset_of(plate: Plate, start: Start) -> Offset:
    """How far a plate is from what was expected of the frame."""
    x, y = gnomonic(np.array([plate.ra0]), np.array([plate.dec0]), start.ra, start.dec)
    shift = ARCSEC * float(max(abs(x[0]), abs(y[0])))
    scale = plate.pixel_scale
    if len(start.scales) == 1:
        log_scale = abs(math.log(scale / start.scales[0]))
    else:
        log_scale = 0.5 * math.log(start.hard_scales[1] / start.hard_scales[0])
    return Offset(shift, _turn(plate, start), log_scale, len(start.flips))


def _turn(plate: Plate, start: Start) -> float:
    """Angle in radians between the plate and the expected one; pi if none is expected."""
    if start.angle >= math.pi and start.wcs is None:
        return math.pi
    # Both in one tangent plane: near a pole, north means nothing.
    x0, y0 = start.centre
    step = 0.25 * min(start.shape)
    x, y = np.array([x0, x0 + step, x0]), np.array([y0, y0, y0 + step])
    if start.wcs is None:
        unit = start.scales[0] / ARCSEC
        wx, wy = (v * unit for v in start.expected(x, y))
        sky = stereographic_inverse(wx, wy, start.ra, start.dec)
    else:
        sky = start.wcs.to_j2000(x, y)
    xi, eta = gnomonic(*sky, plate.ra0, plate.dec0)
    expected = np.array([[xi[1] - xi[0], xi[2] - xi[0]], [eta[1] - eta[0], eta[2] - eta[0]]])
    fitted = plate.matrix
    if np.linalg.det(fitted) * np.linalg.det(expected) < 0.0:
        expected = expected * np.array([[-1.0], [1.0]])
    turn = fitted @ np.linalg.inv(expected)
    return abs(math.atan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1]))


def broken_limit(solution: Solution, start: Start) -> str:
    """Say which limit a solution breaks; empty if none."""
    offset, scale = solution.offset, solution.fit.plate.pixel_scale
    if not offset.position <= start.position * ARCSEC:
        return (
            f"shifted by {offset.position / 60.0:.2f} arcmin, "
            f"POSITION_MAXERR is {start.position * 60.0:g}"
        )
    if offset.angle > start.angle:
        return (
            f"rotated by {math.degrees(offset.angle):.2f} deg, "
            f"POSANGLE_MAXERR is {math.degrees(start.angle):g}"
        )
    if not start.hard_scales[0] <= scale <= start.hard_scales[1]:
        low, high = start.hard_scales
        # as many digits as tell them apart
        digits = next(n for n in (4, 6, 8, 10, 17) if n == 17 or _differ(scale, low, high, n))
        return (
            f"{scale:.{digits}g} arcsec/pixel, not between {low:.{digits}g} and {high:.{digits}g} "
            "(PIXSCALE_MAXERR)"
        )
    return ""


def searched(start: Start) -> str:
    """Say within which limits a solution was looked for, by the keywords that set them."""
    low, high = start.hard_scales
    mirrored = "Y" if len(start.flips) > 1 else "N"
    return (
        f"searched: POSITION_MAXERR {start.position * 60.0:.3g}, POSANGLE_MAXERR "
        f"{math.degrees(start.angle):.3g}, {low:.4g} to {high:.4g} arcsec/pixel (PIXSCALE_MAXERR), "
        f"MATCH_FLIPPED {mirrored}"
    )


def _differ(scale: float, low: float, high: float, digits: int) -> bool:
    return f"{scale:.{digits}g}" not in (f"{low:.{digits}g}", f"{high:.{digits}g}")
