"""A reference catalogue: positions, proper motions and magnitudes of known stars."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F8, I8, AnyArray

MAS = np.pi / (180.0 * 3600.0 * 1000.0)
"""One milliarcsecond in radians."""


@dataclass(frozen=True)
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
        """
        moving = np.isfinite(self.pmra) & np.isfinite(self.pmdec) & np.isfinite(self.epoch)
        if not np.isfinite(year) or not np.any(moving):
            return self
        years = np.where(moving, year - self.epoch, 0.0)
        along = np.where(moving, self.pmra, 0.0) * MAS * years
        across = np.where(moving, self.pmdec, 0.0) * MAS * years
        ra, dec = np.deg2rad(self.ra), np.deg2rad(self.dec)
        sa, ca, sd, cd = np.sin(ra), np.cos(ra), np.sin(dec), np.cos(dec)
        px = cd * ca - along * sa - across * sd * ca
        py = cd * sa + along * ca - across * sd * sa
        pz = sd + across * cd
        return replace(
            self,
            ra=np.where(moving, np.rad2deg(np.arctan2(py, px)) % 360.0, self.ra),
            dec=np.where(moving, np.rad2deg(np.arctan2(pz, np.hypot(px, py))), self.dec),
            epoch=np.where(moving, year, self.epoch),
        )
