"""Celestial frames of catalogue columns: J2000 and B1950 from the frame of the image.

`_J2000` columns are in the frame of the header without a shift between ICRS and FK5 (below
0.03 arcsec), and `_B1950` columns are FK4 at equinox B1950, observed at epoch J2000, as
SExtractor gives them.  From FK5 to FK4 is a matrix and the E-terms of aberration (Murray 1989, A&A
218, 325; Seidelmann 1992, Explanatory Supplement, 3.5); other frames are those of headers that are
rare, `astropy.coordinates` transforms them, and is imported where it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8


@record
class SkyFrame:
    """The celestial frame of a WCS.

    Attributes
    ----------
    name : str
        ICRS, FK5, FK4, GALACTIC, SUPERGALACTIC or ECLIPTIC.
    equinox : float
        Julian (FK5) or Besselian (FK4) year.
    """

    name: str = "ICRS"
    equinox: float = 2000.0


_TO_J2000 = (
    (0.9999256794956877, -0.0111814832204662, -0.0048590038153592),
    (0.0111814832391717, 0.9999374848933135, -0.0000271625947142),
    (0.0048590037723143, -0.0000271702937440, 0.9999881946023742),
)
"""From FK4 without E-terms, B1950, to FK5, J2000: Murray's equation 28."""
_PER_CENTURY = (
    (-0.0026455262e-6, -1.1539918689e-6, 2.1111346190e-6),
    (1.1540628161e-6, -0.0129042997e-6, 0.0236021478e-6),
    (-2.1112979048e-6, -0.0056024448e-6, 0.0102587734e-6),
)
"""What is added for each Julian century from 1950 to the epoch: FK4 rotates (his equation 29)."""
_E_TERMS = (-1.62557e-6, -0.31919e-6, -0.13843e-6)
"""Of aberration, B1950: due to the ellipticity of the orbit of the Earth, left in FK4."""


def unit_vectors(lon: F8, lat: F8) -> F8:
    """Return unit vectors (n, 3) of longitudes and latitudes in degrees."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), axis=-1)


def j2000_to_b1950(lon: F8, lat: F8) -> tuple[F8, F8]:
    """Return FK4 B1950 coordinates (deg) of FK5 J2000 ones, for epoch of observation J2000."""
    # rows times the matrix are its inverse, the transpose, times columns
    fixed = unit_vectors(lon, lat) @ (np.array(_TO_J2000) + 0.5 * np.array(_PER_CENTURY))
    e_terms = np.array(_E_TERMS)
    seen = fixed / np.linalg.norm(fixed, axis=-1, keepdims=True)
    seen = seen + e_terms - seen * (seen @ e_terms)[..., None]
    return (
        np.degrees(np.arctan2(seen[..., 1], seen[..., 0])) % 360.0,
        np.degrees(np.arctan2(seen[..., 2], np.hypot(seen[..., 0], seen[..., 1]))),
    )


def tangent_axes(lon: F8, lat: F8) -> tuple[F8, F8]:
    """Return unit vectors (n, 3) to the east and to the north at points in degrees."""
    lon, lat = np.radians(lon), np.radians(lat)
    zero = np.zeros_like(lon)
    east = np.stack((-np.sin(lon), np.cos(lon), zero), axis=-1)
    north = np.stack((-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)), axis=-1)
    return east, north


def north_angle(lon: F8, lat: F8, north_lon: F8, north_lat: F8) -> F8:
    """Return the position angle (deg) of another frame's north.

    Parameters
    ----------
    lon, lat : (n,) float64
        The points in this frame (deg).
    north_lon, north_lat : (n,) float64
        In this frame, points a little to the north of them in the other frame (deg).
    """
    lon, lat, north_lon, north_lat = (np.radians(c) for c in (lon, lat, north_lon, north_lat))
    turn = north_lon - lon
    east = np.sin(turn) * np.cos(north_lat)
    north = np.cos(lat) * np.sin(north_lat) - np.sin(lat) * np.cos(north_lat) * np.cos(turn)
    angle: F8 = np.degrees(np.arctan2(east, north))
    return angle


def to_j2000(frame: SkyFrame, lon: F8, lat: F8) -> tuple[F8, F8]:
    """Return J2000 right ascension and declination (deg) of coordinates in `frame`.

    ICRS and FK5 of equinox 2000 are taken as they are, any other frame is transformed.
    """
    if frame.name in ("ICRS", "FK5") and frame.equinox == 2000.0:
        return lon, lat
    from astropy import coordinates

    system = {
        "FK4": lambda: coordinates.FK4(equinox=f"B{frame.equinox}", obstime="J2000"),
        "FK5": lambda: coordinates.FK5(equinox=f"J{frame.equinox}"),
        "GALACTIC": coordinates.Galactic,
        "SUPERGALACTIC": coordinates.Supergalactic,
        # of catalogues, without the aberration by which a geocentric frame of a date differs
        "ECLIPTIC": lambda: coordinates.BarycentricMeanEcliptic(
            equinox=f"{'B' if frame.equinox < 1984.0 else 'J'}{frame.equinox}"
        ),
    }[frame.name]()
    native = coordinates.SkyCoord(lon, lat, unit="deg", frame=system)
    j2000 = native.transform_to(coordinates.FK5(equinox="J2000"))
    return np.asarray(j2000.ra.deg), np.asarray(j2000.dec.deg)
