"""What would have matched where astrometry failed: common mistakes, tried one after the other.

Nothing of it becomes a solution: limits are there to be kept, and a header that is wrong is wrong
in more than this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.datamodel.wcs import SkyWcs
from skyextract.settings.keywords import Astrometry as AstrometryConfig
from skyextract.sky.angles import ARCSEC
from skyextract.sky.frames import j2000_to_b1950
from skyextract.stages.astrometry.pointing import Start, pointing, read_start
from skyextract.stages.astrometry.solution import Solution
from skyextract.stages.astrometry.sources import Sources

Solver = Callable[[Start, Sources, RefCatalog], Solution | None]
"""Returns a verified solution within the limits of the start, if there is one."""

MIN_SOURCES = 8
"""With fewer nothing is tried."""
WIDER, WIDER_POINTING = 10.0, 3.0
"""Times POSITION_MAXERR; where only the pointing is known angle and scale are searched, too."""
BINNINGS = ((2.0, 2.0), (0.5, 0.5), (2.0, 1.0), (1.0, 2.0), (3.0, 3.0), (4.0, 4.0))
"""Pixels of the WCS per pixel of the frame, in x and y."""
SCALE_FACTOR, SCALE_STEP = 4.5, 1.25
"""Pixel scales are tried up to this factor, about each to this one."""


def remedy(
    start: Start, sources: Sources, reference: RefCatalog, solve: Solver,
    header: Mapping[str, Any], wcs: SkyWcs | None, config: AstrometryConfig,
) -> str:  # fmt: skip
    """Return what would have matched, for the end of a message; empty if nothing would.

    Parameters
    ----------
    start : Start
        What was tried.
    sources, reference
    solve : callable
    header, wcs, config
        What the start was made of.
    """
    if sources.x.size < MIN_SOURCES:
        return ""
    told = _of_b1950(start, sources, reference, solve)
    if not told and not _near(start, reference.ra, reference.dec):
        told = _by_pointing(start, sources, reference, solve, header) or _elsewhere(
            start, sources, reference, solve
        )
    elif not told:
        told = _near_the_frame(start, sources, reference, solve, header, wcs, config)
    return told


def _near_the_frame(
    start: Start, sources: Sources, reference: RefCatalog, solve: Solver,
    header: Mapping[str, Any], wcs: SkyWcs | None, config: AstrometryConfig,
) -> str:  # fmt: skip
    """Say what would have matched where the reference has stars in the frame."""
    reach = WIDER if wcs else WIDER_POINTING
    wider = replace(start, position=reach * start.position, angle=math.pi, flips=(0, 1))
    found = solve(wider, sources, reference)
    if found is not None:
        return _unlike_the_limits(found, start)
    if wcs is None:
        known = len(start.scales) == 1  # all others were tried
        return _of_another_scale(start, sources, reference, solve) if known else ""
    for x, y in BINNINGS:
        shape = round(y * start.shape[0]), round(x * start.shape[1])
        other = read_start(header, shape, wcs, config)
        binned = replace(
            sources, x=(sources.x + 0.5) * x - 0.5, y=(sources.y + 0.5) * y - 0.5,
            variance=sources.variance * x * y,
        )  # fmt: skip
        found = None if other is None else solve(other, binned, reference)
        if found is not None:
            n = found.verification.n_matched
            return (
                f": {n} stars match if a pixel of the frame is {x:g} x {y:g} pixels of the WCS: "
                "binned since?"
            )
    return _of_another_scale(start, sources, reference, solve)


def _of_another_scale(
    start: Start, sources: Sources, reference: RefCatalog, solve: Solver
) -> str:  # fmt: skip
    """Say which pixel scale about the expected centre matches: the header has that of a binning."""
    expected = start.scales[0]
    log_range = math.log(SCALE_STEP)
    n = math.ceil(math.log(SCALE_FACTOR) / (1.9 * log_range))
    scales = tuple(float(s) for s in expected * SCALE_FACTOR ** (np.arange(-n, n + 1) / n))
    free = replace(
        start, wcs=None, scales=scales, log_range=log_range, angle=math.pi, flips=(0, 1),
        hard_scales=(expected / SCALE_FACTOR, expected * SCALE_FACTOR),
    )  # fmt: skip
    found = solve(free, sources, reference)
    if found is None:
        return ""
    scale = found.fit.plate.pixel_scale
    return (
        f": {found.verification.n_matched} stars match if a pixel is {scale:.4g} arcsec, "
        f"{scale / expected:.3g} times the header's: binned, or not?"
    )


def _near(start: Start, ra: F8, dec: F8) -> int:
    """Return how many places are where the frame can be."""
    reach = 0.6 * math.hypot(*start.shape) * start.hard_scales[1] / ARCSEC + 1.5 * start.position
    return int(np.count_nonzero(_distance(ra, dec, start.ra, start.dec) < reach))


def _distance(ra: F8, dec: F8, ra0: float, dec0: float) -> F8:
    """Return angular distances, deg."""
    d, d0 = np.deg2rad(dec), math.radians(dec0)
    half = np.deg2rad(0.5 * (ra - ra0))
    haversine = np.sin(0.5 * (d - d0)) ** 2 + np.cos(d) * math.cos(d0) * np.sin(half) ** 2
    distance: F8 = np.rad2deg(2.0 * np.arcsin(np.sqrt(np.clip(haversine, 0.0, 1.0))))
    return distance


def _of_b1950(start: Start, sources: Sources, reference: RefCatalog, solve: Solver) -> str:
    """Say whether catalogue or header are of B1950: what precession moves is half a degree."""
    ra, dec = reference.ra, reference.dec
    if not ra.size or np.abs(dec).max() > 90.0:
        return ""
    old = j2000_to_b1950(ra, dec)
    # The way back is found by iteration.
    new_ra, new_dec = ra, dec
    for _ in range(3):
        back = j2000_to_b1950(new_ra, new_dec)
        new_ra = (new_ra + (ra - back[0] + 180.0) % 360.0 - 180.0) % 360.0
        new_dec = np.clip(new_dec + dec - back[1], -90.0, 90.0)
    return _if_moved(
        start, sources, reference, solve, new_ra, new_dec,
        "the positions of the catalogue are of B1950, not J2000",
    ) or _if_moved(
        start, sources, reference, solve, *old, "the header is of B1950 (EQUINOX 1950)"
    )  # fmt: skip


def _if_moved(
    start: Start, sources: Sources, reference: RefCatalog, solve: Solver, ra: F8, dec: F8,
    mistake: str,
) -> str:  # fmt: skip
    """Say that stars match where the reference stars are at other places (deg), if they do."""
    good = np.abs(dec) <= 90.0
    if not _near(start, ra[good], dec[good]):
        return ""
    found = solve(start, sources, replace(reference.take(good), ra=ra[good], dec=dec[good]))
    return "" if found is None else f": {found.verification.n_matched} stars match if {mistake}"


def _by_pointing(
    start: Start, sources: Sources, reference: RefCatalog, solve: Solver, header: Mapping[str, Any]
) -> str:
    """Say whether other cards than the WCS tell where the frame is: nobody filled that in."""
    pointed = pointing(header)
    if start.wcs is None or pointed is None or pointed[2] == "CRVAL1":
        return ""
    ra, dec, key = pointed
    there = replace(start, ra=ra, dec=dec, wcs=None, angle=math.pi, flips=(0, 1))
    if not _near(there, reference.ra, reference.dec):
        return ""
    found = solve(there, sources, reference)
    if found is None:
        return ""
    return (
        f": {found.verification.n_matched} stars match about RA {ra:.3f}, Dec {dec:+.3f} of the "
        f"card {key}, where the WCS says {start.ra:.3f}, {start.dec:+.3f}: nobody filled it in?"
    )


def _elsewhere(start: Start, sources: Sources, reference: RefCatalog, solve: Solver) -> str:
    """Say where the reference stars are, and what would bring them to the frame."""
    ra, dec = reference.ra, reference.dec
    mistakes = {
        "the RA of the catalogue is in hours": (15.0 * ra % 360.0, dec),
        # As if the header were right: positions turn about the pole.
        "the RA of the header is in hours": ((ra - 14.0 * start.ra) % 360.0, dec),
        "RA and Dec of the catalogue are in radians": (np.rad2deg(ra) % 360.0, np.rad2deg(dec)),
        "RA and Dec of the catalogue are swapped": (dec % 360.0, np.where(ra > 180, ra - 360, ra)),
        "the Dec of the catalogue has the wrong sign": (ra, -dec),
        # Nearly: the field is as wide on the other side of the equator.
        "the Dec of the header has the wrong sign": (ra, dec + 2.0 * start.dec),
    }
    for mistake, moved in mistakes.items():
        told = _if_moved(start, sources, reference, solve, *moved, mistake)
        if told:
            return told
    if start.wcs is None:
        told = _if_swapped(start, sources, reference, solve)
        if told:
            return told
    if not ra.size:
        return ""
    nearest = int(np.argmin(_distance(ra, dec, start.ra, start.dec)))
    return (
        f": the frame is expected at RA {start.ra:.3f}, Dec {start.dec:+.3f}, and the nearest star "
        f"is at {ra[nearest]:.3f}, {dec[nearest]:+.3f}"
    )


def _if_swapped(start: Start, sources: Sources, reference: RefCatalog, solve: Solver) -> str:
    """Say that stars match where the RA of the header is its Dec (deg, or hours), if they do."""
    for hours in (1.0, 15.0):
        there = replace(start, ra=hours * start.dec % 360.0, dec=start.ra / hours)
        if abs(there.dec) > 90.0 or not _near(there, reference.ra, reference.dec):
            continue
        found = solve(there, sources, reference)
        if found is not None:
            n = found.verification.n_matched
            return f": {n} stars match if RA and Dec of the header are swapped"
    return ""


def _unlike_the_limits(found: Solution, start: Start) -> str:
    """Say how a solution differs from what was expected."""
    parts = []
    expected, plate = start.wcs, found.fit.plate
    if expected is not None and np.linalg.det(plate.matrix) * expected.parity < 0.0:
        parts.append("mirrored (MATCH_FLIPPED Y)")
    offset = found.offset
    if offset.angle > start.angle:
        parts.append(f"turned by {math.degrees(offset.angle):.1f} deg (POSANGLE_MAXERR)")
    if offset.position > ARCSEC * start.position:
        parts.append(f"shifted by {offset.position / 60.0:.2f} arcmin (POSITION_MAXERR)")
    if not parts:
        return ""
    return f": {found.verification.n_matched} stars match if it is {', '.join(parts)}"
