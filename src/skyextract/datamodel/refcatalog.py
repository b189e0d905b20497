"""A reference catalogue: positions, proper motions and magnitudes of known stars."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F8, I8, AnyArray, Bools
from skyextract.record import record

MAS = np.pi / (180.0 * 3600.0 * 1000.0)
"""One milliarcsecond in radians."""
TYPICAL_MOTION = 7.0
"""Of stars of 12 to 18 mag, mas/yr per axis, where a catalogue has none."""
COMMON_MOTION = 3.0
"""What stars of a field share of it, mas/yr: that of the Sun, and galactic rotation."""


@record
class RefCatalog:
    """Stars of a reference catalogue; every array has one element per star.

    Attributes
    ----------
    ra, dec : float64 (n,)
        ICRS position in degrees at `epoch`; 0 <= ra < 360.  Always finite.
    ra_error, dec_error : float64 (n,)
        Standard errors in arcsec on the sky (ra_error includes cos dec); NaN unknown.
    pmra, pmdec : float64 (n,)
        Proper motion in mas/yr (pmra includes cos dec); NaN unknown.
    epoch : float64 (n,)
        Epoch of the position in Julian years; NaN unknown.
    magnitudes, magnitude_errors : dict of float64 (n,)
        By column name as in the file; NaN unknown.  `magnitude_errors` has the same
        names as `magnitudes` and lacks those without a column of errors.
    mag_key : str
        The name in `magnitudes` that orders the stars by brightness; empty if there is none.
    row : int64 (n,)
        Row of the star in the file(s), counted from 0 over all files read.
    name : str
        Where the stars come from, for messages.
    """

    ra: F8
    dec: F8
    ra_error: F8
    dec_error: F8
    pmra: F8
    pmdec: F8
    epoch: F8
    magnitudes: dict[str, F8] = field(default_factory=dict)
    magnitude_errors: dict[str, F8] = field(default_factory=dict)
    mag_key: str = ""
    row: I8 = field(default_factory=lambda: np.zeros(0, np.int64))
    name: str = ""

    @property
    def n_stars(self) -> int:
        """Number of stars."""
        return len(self.ra)

    @property
    def mag(self) -> F8:
        """The magnitude `mag_key`, NaN without one."""
        if self.mag_key:
            return self.magnitudes[self.mag_key]
        return np.full(self.n_stars, np.nan)

    @classmethod
    def from_arrays(
        cls, ra: Any, dec: Any, mag: Any = None, *, mag_key: str = "mag", name: str = ""
    ) -> RefCatalog:
        """Make a catalogue of bare positions (deg, ICRS) and, optionally, one magnitude."""
        right = np.asarray(ra, np.float64) % 360.0
        unknown = np.full(len(right), np.nan)
        return cls(
            right, np.asarray(dec, np.float64), unknown, unknown, unknown, unknown, unknown,
            magnitudes={} if mag is None else {mag_key: np.asarray(mag, np.float64)},
            mag_key="" if mag is None else mag_key,
            row=np.arange(len(right), dtype=np.int64), name=name,
        )  # fmt: skip

    def take(self, rows: AnyArray) -> RefCatalog:
        """Return the given stars (a boolean mask or indices)."""
        arrays = ("ra", "dec", "ra_error", "dec_error", "pmra", "pmdec", "epoch", "row")
        return replace(
            self,
            **{key: getattr(self, key)[rows] for key in arrays},
            magnitudes={key: mag[rows] for key, mag in self.magnitudes.items()},
            magnitude_errors={key: err[rows] for key, err in self.magnitude_errors.items()},
        )

    def at_epoch(self, year: float) -> RefCatalog:
        """Return the catalogue with the positions propagated to a Julian epoch.

        Uniform motion in space at right angles to the line of sight, so parallax and
        radial velocity are taken as zero: p(t) ~ p + t (pmra e_ra + pmdec e_dec), the
        rigorous form of ESA SP-1200 (Hipparcos) vol. 1, sect. 1.5.5 in that case.  Stars
        without a proper motion or an epoch, and any at a NaN `year`, stay where they are.
        The errors of those without a motion grow by what they may have moved since their epoch
        (the typical epoch, if theirs is unknown).
        """
        moving = np.isfinite(self.pmra) & np.isfinite(self.pmdec) & np.isfinite(self.epoch)
        if not np.isfinite(year):
            return self
        if not np.any(moving):
            path = 1e-3 * TYPICAL_MOTION * np.nan_to_num(np.abs(year - self.epoch))
            return replace(
                self,
                ra_error=_enlarged(self.ra_error, path), dec_error=_enlarged(self.dec_error, path),
            )  # fmt: skip
        years = np.where(moving, year - self.epoch, 0.0)
        along = np.where(moving, self.pmra, 0.0) * MAS * years
        across = np.where(moving, self.pmdec, 0.0) * MAS * years
        ra, dec = np.deg2rad(self.ra), np.deg2rad(self.dec)
        sa, ca, sd, cd = np.sin(ra), np.cos(ra), np.sin(dec), np.cos(dec)
        moved = self._unknown_path(moving, year)
        px = cd * ca - along * sa - across * sd * ca
        py = cd * sa + along * ca - across * sd * sa
        pz = sd + across * cd
        return replace(
            self,
            ra=np.where(moving, np.rad2deg(np.arctan2(py, px)) % 360.0, self.ra),
            dec=np.where(moving, np.rad2deg(np.arctan2(pz, np.hypot(px, py))), self.dec),
            ra_error=_enlarged(self.ra_error, moved),
            dec_error=_enlarged(self.dec_error, moved),
            epoch=np.where(moving, year, self.epoch),
        )

    def years_without_motion(self, year: float) -> float:
        """Return the years since the epoch where no star has a motion; 0 if any has, or unknown."""
        apart = np.abs(year - self.epoch)
        apart = apart[np.isfinite(apart)]
        if not apart.size or np.any(np.isfinite(self.pmra)):
            return 0.0
        return float(np.median(apart))

    def _unknown_path(self, moving: Bools, year: float) -> F8:
        """Return how far stars without a motion may have moved, arcsec per axis.

        The motions that are known tell: 68 % of them are smaller (in the axis with the larger).
        """
        epoch = np.where(np.isfinite(self.epoch), self.epoch, np.median(self.epoch[moving]))
        typical = max(
            float(np.percentile(np.abs(motion[moving]), 68.3)) for motion in (self.pmra, self.pmdec)
        )
        return np.where(moving, 0.0, 1e-3 * typical * np.abs(year - epoch))


def reference_variance(catalog: RefCatalog, rows: I8) -> F8:
    """Variance of one axis of the positions, arcsec2; 0 where unknown."""
    ra, dec = catalog.ra_error[rows], catalog.dec_error[rows]
    return np.nan_to_num(0.5 * (ra * ra + dec * dec))


def _enlarged(error: F8, more: F8) -> F8:
    """Return errors with more added; an unknown one without more stays unknown."""
    return np.where(more > 0.0, np.hypot(np.nan_to_num(error), more), error)
