"""What a reference catalogue leaves open about all positions: epochs, doubles, coarse positions."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record
from skyextract.sky.angles import ARCSEC
from skyextract.sky.plate import gnomonic
from skyextract.stages.astrometry.checks import pairs_within
from skyextract.stages.astrometry.platefit import PlateFit
from skyextract.stages.astrometry.solution import ENOUGH_MOTIONS, Solution
from skyextract.stages.astrometry.sources import Sources
from skyextract.stages.doubles import Doubles, find_doubles

MIN_APART = 0.1
"""Two entries of a star that are nearer, pixels, are one."""
NOTED_SCATTER = 0.5
"""Scatter beyond the errors, pixels, that is told of, ..."""
WEAK_SCATTER = 1.2
"""... and that makes the solution a FALLBACK: centres on photographic plates scatter by one."""
MIN_YEARS = 1.0
"""Displacements along the proper motions count from so many years, ..."""
SURE = 5.0
"""... and from so many errors of them."""
WEAK_DRIFT = 0.1
"""Drift, arcsec, from which the solution is a FALLBACK: no star of the frame shows it."""
_FAR = 4.0
"""Stars that are off by more sigma do not count there."""


@record
class Epoch:
    """How stars are displaced along their proper motions.

    Attributes
    ----------
    years : float
        0 where they are not.
    drift : float
        What all stars are displaced by, arcsec per axis.
    """

    years: float = 0.0
    drift: float = 0.0


@record
class Unsure:
    """What the reference catalogue leaves open about all of its positions.

    Attributes
    ----------
    drift : float
        What all stars may have moved together, arcsec.
    fit : PlateFit
    doubles : Doubles or None
        Stars with two entries.
    epoch : Epoch
    has_errors : bool
        Whether the reference catalogue quotes errors of its positions.
    """

    drift: float
    fit: PlateFit
    doubles: Doubles | None
    epoch: Epoch
    has_errors: bool = True

    @property
    def reference_scatter(self) -> float:
        """Scatter that is the reference's, arcsec per axis; NaN where it cannot be told.

        Scatter beyond the errors that neither shrinks with the S/N of the sources nor is shared
        by neighbours (which are the errors of the field) is that of a catalogue whose errors are
        not known.  One that is wider than the images of stars may as well be a distortion.
        """
        if self.has_errors or self._scatter > WEAK_SCATTER:
            return math.nan
        return self.fit.floor

    @property
    def fit_error(self) -> float:
        """Error of the plate, and scatter that may be that of the sources, arcsec per axis."""
        own = self.fit.floor if math.isnan(self.reference_scatter) else 0.0
        return math.hypot(self.fit.error, own)

    @property
    def _apart(self) -> float:
        """Distance of both entries, arcsec; 0 if there are none, or they agree."""
        apart = 0.0 if self.doubles is None else self.doubles.displacement()
        return apart if apart > MIN_APART * self.fit.plate.pixel_scale else 0.0

    @property
    def errors(self) -> tuple[float, float]:
        """Errors per axis, arcsec: of the drift, and of doubles, of which either may be right."""
        used = self.doubles is not None and not self.doubles.suffices
        doubled = 0.5 * math.sqrt(0.5) * self._apart if used else 0.0
        return math.hypot(self.drift, self.epoch.drift), doubled

    @property
    def numbers(self) -> dict[str, float]:
        """What the summary tells."""
        drift, doubled = self.errors
        found = {"error_of_fit": self.fit_error, "error_of_drift": drift}
        if not math.isnan(self.reference_scatter):
            found |= {"reference_scatter": self.reference_scatter}
        if self.epoch.years:
            found |= {"years_off": self.epoch.years}
        if self.doubles is not None:
            found |= {"error_of_doubles": doubled, "n_doubled": self.doubles.n_doubled}
        return found

    @property
    def remark(self) -> str:
        """What is to be told; empty if nothing is."""
        message = ""
        if self._apart and self.doubles is not None:
            message = self.doubles.told(f"{self._apart:.2f} arcsec")
        elif self.epoch.years:
            message = (
                f"stars are displaced along their proper motions by {self.epoch.years:+.1f} years: "
                "the epoch of the reference catalogue, or the date of the frame, is another one"
            )
        elif self._scatter > NOTED_SCATTER:
            message = (
                f"matched stars scatter by {self.fit.floor:.2f} arcsec ({self._scatter:.1f} pixels)"
                " beyond their errors: coarse or old positions in the reference catalogue, or a "
                "distortion?"
            )
        return message

    @property
    def weakness(self) -> str:
        """The same where the solution is to be taken with care."""
        doubted = self.errors[1] > 0.0 or self.epoch.years or self._scatter > WEAK_SCATTER
        message = self.remark if doubted else ""
        if not doubted and self.drift > WEAK_DRIFT:
            message = (
                f"all stars together may have moved by {self.drift:.2f} arcsec since the positions "
                "of the reference catalogue, which has no proper motions"
            )
        return message

    @property
    def _scatter(self) -> float:
        """Scatter beyond the errors, pixels per axis."""
        return self.fit.floor / self.fit.plate.pixel_scale


def doubles_of(solution: Solution, sources: Sources) -> Doubles | None:
    """Find matched stars that the reference has twice."""
    region, plate = solution.region, solution.fit.plate
    _, second, _, _ = pairs_within(solution, sources, solution.radius)
    rx, ry = (ARCSEC * v for v in gnomonic(region.ra, region.dec, plate.ra0, plate.dec0))
    near = np.flatnonzero(np.isfinite(rx) & np.isfinite(ry))
    place = np.searchsorted(near, second)
    return find_doubles(region.take(near), rx[near], ry[near], place, solution.radius)


def epoch_of(solution: Solution, year: float) -> Epoch:
    """Ask the proper motions whether the positions are those of the frame's epoch.

    Residuals of stars in a field have nothing to do with their motions, unless these were applied
    for a wrong number of years.  The fit has taken up what all stars share.  Without a year they
    were not applied.
    """
    if not math.isfinite(year):
        return Epoch()
    fit, region = solution.fit, solution.region
    stars = solution.second[solution.in_fit]
    pm = np.stack([region.pmra[stars], region.pmdec[stars]]) * 1e-3
    off = np.stack([fit.dx, fit.dy])
    known = np.all(np.isfinite(pm), axis=0) & np.isfinite(region.epoch[stars])
    if known.sum() < ENOUGH_MOTIONS:
        return Epoch()
    pm, off = pm[:, known], off[:, known]
    shared = np.array([[median(axis)] for axis in pm])
    years, error = 0.0, math.inf
    for _ in range(3):
        left = off - years * (pm - shared)
        left -= np.array([[median(axis)] for axis in left])
        size = np.hypot(left[0], left[1])
        good = size <= _FAR * max(median(size) / 1.1774, 1e-9)
        motion = (pm - shared)[:, good]
        motion = motion - motion.mean(axis=1, keepdims=True)
        power = float(np.sum(motion**2))
        if not power > 0.0:
            return Epoch()
        change = float(np.sum(motion * left[:, good])) / power
        years += change
        error = MAD_TO_SIGMA * median(np.abs(left[:, good] - change * motion)) / math.sqrt(power)
    if not abs(years) > max(MIN_YEARS, SURE * error):
        return Epoch()
    return Epoch(years, abs(years) * math.hypot(*shared[:, 0]) * math.sqrt(0.5))
