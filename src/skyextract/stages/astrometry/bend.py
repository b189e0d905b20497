"""Distortions of a higher degree than the stars of a frame determine each term of.

Ten coefficients per axis need some forty stars, twenty-one need 170.  Fewer stars still tell most
of a lens's distortion if the terms are restrained to a common size, which they tell, too (ridge
regression, its parameter by marginal likelihood: MacKay 1992, Neural Computation 4, 415).  Pairs
are made anew with each fit, so that its reach grows outward.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools
from skyextract.datamodel.refcatalog import reference_variance
from skyextract.kernels.astrometry.match import mutual_nearest
from skyextract.settings.keywords import Astrometry as AstrometryConfig
from skyextract.sky.angles import ARCSEC
from skyextract.sky.plate import Plate, exponents, gnomonic, gnomonic_inverse, monomials
from skyextract.stages.astrometry.corners import HIGHER_DEGREES, STARS_PER_TERM
from skyextract.stages.astrometry.extent import Extent, explored, extent_of
from skyextract.stages.astrometry.platefit import PlateFit
from skyextract.stages.astrometry.platemodels import Model
from skyextract.stages.astrometry.pointing import Start
from skyextract.stages.astrometry.solution import Solution, offset_of, usable
from skyextract.stages.astrometry.sources import Sources
from skyextract.stages.astrometry.verification import verify

MIN_STARS = 12
"""Stars of the fit, at least."""
MIN_OFFSET = 3.0
"""What the terms suggest, in errors of it, at the places of the stars (rms), at least."""
MAX_RESIDUAL = 0.7
"""The rms of stars held out falls to this part, at most."""
MAX_DEGREE = 7
"""Of the cards that a plate is written to."""
MAX_CHANCE = 0.2
"""Other sources that are to be expected within the errors of a pair, at most."""
_NEAR = 3.0
"""A pair is one within so many errors."""
_ROUNDS = 12
_LATTICE = 17


def bent(solution: Solution, sources: Sources, start: Start, config: AstrometryConfig) -> Solution:
    """Return the solution, or one with restrained terms that is clearly better.

    With DISTORT_DEGREES AUTO only, where the stars are too few for higher degrees.  Of the degrees
    the one whose held-out residuals are smallest.
    """
    enough = STARS_PER_TERM * len(exponents(HIGHER_DEGREES[0]))
    if (
        config.distort_degrees is not None or config.projection_type == "TAN"
        or not MIN_STARS <= len(solution.in_fit) < enough
    ):  # fmt: skip
        return solution
    extent = extent_of(solution, sources, start.shape)
    as_it_is = replace(solution, looked_at=extent)
    if extent.highest > MAX_DEGREE or not _is_sure(extent, solution, sources):
        return as_it_is
    best = solution
    for highest in range(max(extent.lowest, 3), extent.highest + 1):
        found = _grown(extent, highest, solution, sources, start, config)
        if found is None:
            continue
        lost = found.verification.n_matched < best.verification.n_matched
        limit = (MAX_RESIDUAL if best is solution else 1.0) * best.fit.rms(held=True)
        fewer = found.fit.used.sum() < best.fit.used.sum()
        if not lost and not fewer and found.fit.rms(held=True) < limit:
            best = found
    return as_it_is if best is solution else best


def _is_sure(extent: Extent, solution: Solution, sources: Sources) -> bool:
    """Whether the terms are beyond the errors where the stars are."""
    own = solution.first[solution.in_fit]
    x, y = sources.x[own], sources.y[own]
    ratio = 0.5 * np.sum(extent.offset(x, y) ** 2, axis=1) / extent.variance(x, y)
    return float(np.sqrt(np.mean(ratio))) > MIN_OFFSET


def _grown(
    extent: Extent,
    highest: int,
    solution: Solution,
    sources: Sources,
    start: Start,
    config: AstrometryConfig,
) -> Solution | None:
    """Pair stars by what terms up to a degree suggest, and find these, until both stay.

    The errors are those of terms of all degrees.
    """
    fit, region = solution.fit, solution.region
    plate = fit.plate
    xi, eta = (ARCSEC * v for v in plate.to_plane(sources.x, sources.y))
    rx, ry = (ARCSEC * v for v in gnomonic(region.ra, region.dec, plate.ra0, plate.dec0))
    near = np.flatnonzero(np.isfinite(rx) & np.isfinite(ry))
    everyone = np.ones(len(xi), bool)
    density = len(xi) / (start.shape[0] * start.shape[1] * plate.pixel_scale**2)
    scatter, pairs = fit.floor, np.zeros(0, np.int64)
    for _ in range(_ROUNDS):
        suggested = extent.offset(sources.x, sources.y)
        px, py = xi - suggested[:, 0], eta - suggested[:, 1]
        first, second, _ = mutual_nearest(px, py, rx[near], ry[near], solution.radius)
        second = near[second]
        in_fit = usable(sources, first, region, second, config)
        own, other = first[in_fit], second[in_fit]
        x, y = sources.x[own], sources.y[own]
        variance = sources.variance[own] * plate.pixel_scale**2
        variance = variance + reference_variance(region, other)
        expected = extent.variance(x, y) + variance + scatter**2
        within = _NEAR**2 * expected
        left = np.stack([px[own] - rx[other], py[own] - ry[other]], axis=1)
        sure = (np.sum(left**2, axis=1) < within) & (np.pi * within * density < MAX_CHANCE)
        if sure.sum() < MIN_STARS:
            return None
        same = np.array_equal(pairs, own[sure])
        pairs = own[sure]
        offset = np.stack([xi[own] - rx[other], eta[own] - ry[other]], axis=1)
        extent, _, scatter, _ = explored(
            fit, start.shape, x[sure], y[sure], offset[sure], variance[sure],
            everyone[: len(pairs)], highest,
        )  # fmt: skip
        if same:
            break
    wide = explored(
        fit, start.shape, x[sure], y[sure], offset[sure], variance[sure],
        everyone[: len(pairs)],
    )[0]  # fmt: skip
    found = _with_terms(
        solution, extent, sources, start, (first, second, in_fit), sure, variance, scatter
    )
    return replace(found, extent=wide.about(extent))


def _with_terms(
    solution: Solution, extent: Extent, sources: Sources, start: Start,
    pairs: tuple[I8, I8, I8], used: Bools, variance: F8, scatter: float,
) -> Solution:  # fmt: skip
    """Return a solution whose plate has the terms."""
    first, second, in_fit = pairs
    own, other = first[in_fit], second[in_fit]
    region = solution.region
    plate = bent_plate(solution.fit.plate, extent, start.shape)
    left = extent.about(extent)
    x, y = sources.x[own], sources.y[own]
    rx, ry = gnomonic(region.ra[other], region.dec[other], plate.ra0, plate.dec0)
    xi, eta = plate.to_plane(x, y)
    dx, dy = ARCSEC * (xi - rx), ARCSEC * (eta - ry)
    error = left.error(x, y)
    leverage = np.where(used, error**2 / (variance + scatter**2 + 1e-12), 0.0)
    held = 1.0 / np.maximum(1.0 - leverage, 1e-3)
    fit = PlateFit(
        plate, Model("polynomial", plate.degree), dx, dy, dx * held, dy * held, used, scatter,
        float(np.sqrt(np.mean(error[used] ** 2))),
    )  # fmt: skip
    offset = offset_of(plate, start)
    verification = verify(
        plate, start.shape, sources.x, sources.y, region.ra, region.dec, solution.radius, offset,
        max(4, round(2.0 * float(leverage.sum()))),
    )  # fmt: skip
    return replace(
        solution, fit=fit, verification=verification, offset=offset, first=first, second=second,
        in_fit=in_fit, extent=left,
    )  # fmt: skip


def bent_plate(plate: Plate, extent: Extent, shape: tuple[int, int]) -> Plate:
    """Return a plate with what the terms suggest."""
    across, along = (np.linspace(0.0, n - 1.0, _LATTICE) for n in shape[::-1])
    x, y = np.repeat(across, _LATTICE), np.tile(along, _LATTICE)
    middle = np.array([plate.x0]), np.array([plate.y0])

    def sky(x: F8, y: F8) -> tuple[F8, F8]:
        xi, eta = plate.to_plane(x, y)
        more = extent.offset(x, y) / ARCSEC
        return gnomonic_inverse(xi - more[:, 0], eta - more[:, 1], plate.ra0, plate.dec0)

    (ra0,), (dec0,) = sky(*middle)
    target = np.stack(gnomonic(*sky(x, y), ra0, dec0), axis=1)
    degree = max(plate.degree, extent.highest)
    rows = monomials((x - plate.x0) / plate.unit, (y - plate.y0) / plate.unit, degree)
    coefficients = np.asarray(np.linalg.lstsq(rows, target, rcond=None)[0].T, np.float64)
    coefficients[:, 0] = 0.0
    return replace(plate, ra0=float(ra0), dec0=float(dec0), coefficients=coefficients)
