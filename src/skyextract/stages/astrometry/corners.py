"""Corners of the frame that a polynomial of too low a degree gives up.

Stars in the corners of a distorted frame are displaced ever farther from the plate of the middle:
clipping leaves them out, or they are beyond the matching radius, and the rest agrees.  So what was
left out is looked at by itself, and a higher degree is fitted outward from the middle, pairs being
made anew with each fit.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.record import record
from skyextract.settings.keywords import Astrometry as AstrometryConfig
from skyextract.sky.angles import ARCSEC
from skyextract.sky.plate import exponents, gnomonic
from skyextract.stages.astrometry.platefit import PlateFit
from skyextract.stages.astrometry.pointing import Start
from skyextract.stages.astrometry.solution import (
    USUAL_DEGREE,
    Place,
    Solution,
    offset_of,
    paired_fit,
)
from skyextract.stages.astrometry.sources import Sources
from skyextract.stages.astrometry.verification import verify

HIGHER_DEGREES = (5, 7)
"""Degrees that are tried, one after the other, where DISTORT_DEGREES is AUTO."""
STARS_PER_TERM = 8
"""Matched stars that each coefficient of it asks for."""
BETTER = 3.0
"""A higher degree is taken if it is better by so many standard errors ..."""
MIN_GAIN = 0.05
"""... and by this share of the mean square."""
_ROUNDS = 12
_SETTLED = 0.01

OUTER = 0.75
"""A corner begins at this part of the half diagonal."""
MIN_LOST = 3
"""Stars of a corner that were left out, at least, ..."""
LOST_SHARE = 0.25
"""... of all there, ..."""
CONTRAST = 3.0
"""... and so many times the share in the middle of the frame ..."""
TOGETHER = 0.7
"""... whose directions agree: the length of their mean unit vector, at least."""
SURE = 10.0
"""Minus the log of the probability of it by chance (Rayleigh's test), all corners together."""


@record
class Corners:
    """Stars in corners of the frame that are displaced together.

    Attributes
    ----------
    number : int
        Those that the fit left out.
    total : int
        All stars in these corners.
    offset : float
        Their median distance, arcsec, in the worst corner.
    error : float
        The rms per axis of the displacement of all stars in these corners, arcsec.
    degree : int
        Of the plate.
    """

    number: int = 0
    total: int = 0
    offset: float = 0.0
    error: float = 0.0
    degree: int = 0

    @property
    def told(self) -> str:
        """Say so; empty where there are none."""
        message = (
            f"{self.number} of {self.total} stars in corners of the frame are off by "
            f"{self.offset:.2f} arcsec: a distortion of a higher degree than {self.degree}? "
            "Raise DISTORT_DEGREES"
        )
        return message if self.number else ""


def find_corners(
    place: tuple[F8, F8], offset: tuple[F8, F8], errors: F8, shape: tuple[int, int],
    n_sigma: float, degree: int,
) -> Corners:  # fmt: skip
    """Find corners whose stars are displaced together.

    Parameters
    ----------
    place : (F8, F8)
        Pixels x, y of the stars, used or not.
    offset : (F8, F8)
        Detection minus reference in xi and eta, arcsec.
    errors : float64 (n,)
        Of an offset, per axis, arcsec.
    shape : tuple of int
        Frame [y, x].
    n_sigma : float
        Stars farther off were left out.
    degree : int
        Of the plate.
    """
    ny, nx = shape
    u, v = place[0] - 0.5 * (nx - 1), place[1] - 0.5 * (ny - 1)
    distance = np.hypot(*offset)
    lost = distance > n_sigma * errors
    outer = np.hypot(u, v) > OUTER * 0.5 * math.hypot(nx, ny)
    middle = float(np.mean(lost[~outer])) if np.any(~outer) else 1.0
    number = total = 0
    worst = square = sure = 0.0
    for side in range(4):
        here = outer & ((u > 0.0) == bool(side & 1)) & ((v > 0.0) == bool(side & 2))
        left = here & lost
        n, n_lost = int(here.sum()), int(left.sum())
        if n_lost < MIN_LOST or n_lost < max(LOST_SHARE, CONTRAST * middle) * n:
            continue
        mean = math.hypot(*(float(np.mean(axis[left] / distance[left])) for axis in offset))
        if mean < TOGETHER:
            continue
        sure += n_lost * mean * mean
        number, total = number + n_lost, total + n
        worst = max(worst, float(np.median(distance[left])))
        square += float(np.sum(distance[here] ** 2))
    if sure < SURE:
        return Corners()
    return Corners(number, total, worst, math.sqrt(0.5 * square / total), degree)


def outward(
    solution: Solution, sources: Sources, start: Start, config: AstrometryConfig
) -> Solution:
    """Return the solution, or one of a higher degree that is clearly better and loses no star.

    With DISTORT_DEGREES AUTO only.  Pairs are made anew with each fit, within the matching radius,
    so that the part of the frame that the fit holds for grows from the middle.
    """
    if config.distort_degrees is not None or config.projection_type == "TAN":
        return solution
    for degree in HIGHER_DEGREES:
        if len(solution.in_fit) < STARS_PER_TERM * len(exponents(degree)):
            break
        solution = _raised(solution, degree, sources, start, config)
    return solution


def _raised(
    solution: Solution, degree: int, sources: Sources, start: Start, config: AstrometryConfig
) -> Solution:
    """Return a solution of up to this degree if it is better, else the one given."""
    fit, count, found = solution.fit, len(solution.in_fit), None
    for _ in range(_ROUNDS):
        found = paired_fit(
            sources, solution.region, Place.by(fit.plate, sources), solution.radius,
            solution.prior, config, highest=degree,
        )  # fmt: skip
        if found is None or found[0].plate.degree <= max(USUAL_DEGREE, solution.fit.plate.degree):
            return solution
        before, (fit, _first, _second, in_fit) = count, found
        count = len(in_fit)
        if abs(count - before) <= _SETTLED * before:
            break
    if found is None or not _is_better(found, solution, sources, config.astrclip_nsigma):
        return solution
    fit, first, second, in_fit = found
    offset, region = offset_of(fit.plate, start), solution.region
    verification = verify(
        fit.plate, start.shape, sources.x, sources.y, region.ra, region.dec, solution.radius,
        offset, fit.model.parameters,
    )  # fmt: skip
    if verification.n_matched < solution.verification.n_matched:
        return solution
    return replace(
        solution, fit=fit, verification=verification, offset=offset, first=first, second=second,
        in_fit=in_fit,
    )  # fmt: skip


def _is_better(
    found: tuple[PlateFit, I8, I8, I8], solution: Solution, sources: Sources, n_sigma: float
) -> bool:
    """Whether a fit has smaller residuals, held out, of the same stars than a solution.

    Or clearly more stars that it holds for.  A star counts with the square of the clipping limit at
    most.  Those of the solution are not held out, which favours it.
    """
    fit, first, second, in_fit = found
    if int(fit.used.sum()) < int(solution.fit.used.sum()):
        return False
    own, other = first[in_fit], second[in_fit]
    plate, region = solution.fit.plate, solution.region
    rx, ry = gnomonic(region.ra[other], region.dec[other], plate.ra0, plate.dec0)
    xi, eta = plate.to_plane(sources.x[own], sources.y[own])
    unit = max(float(np.sqrt(np.median(fit.held_dx**2 + fit.held_dy**2))) / 1.1774, 1e-6)
    now = (fit.held_dx**2 + fit.held_dy**2) / unit**2
    then = ARCSEC**2 * ((xi - rx) ** 2 + (eta - ry) ** 2) / unit**2
    limit = n_sigma**2
    gain = np.minimum(then, limit) - np.minimum(now, limit)
    error = float(gain.std()) / math.sqrt(len(gain))
    mean = float(gain.mean())
    if mean > max(BETTER * error, MIN_GAIN * float(np.minimum(then, limit).mean())):
        return True
    # Few stars, in the corners only, may be lost in the noise of all: count them, too
    # (McNemar 1947, Psychometrika 12, 153).
    was, now_used = np.zeros((2, len(sources.x)), bool)
    was[solution.first[solution.in_fit[solution.fit.used]]] = True
    now_used[own[fit.used]] = True
    back, gone = int(np.sum(now_used & ~was)), int(np.sum(was & ~now_used))
    return mean > error and back - gone > BETTER * math.sqrt(back + gone)
