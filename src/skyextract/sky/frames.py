"""Celestial frames of catalogue columns: J2000 and B1950 from the frame of the image.

`_J2000` columns are in the frame of the header without a shift between ICRS and FK5 (below
0.03 arcsec), and `_B1950` columns are FK4 at equinox B1950, observed at epoch J2000, as
SExtractor gives them.  `astropy.coordinates` transforms; it is imported where it is needed.
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


def unit_vectors(lon: F8, lat: F8) -> F8:
    """Return unit vectors (n, 3) of longitudes and latitudes in degrees."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), axis=-1)


def j2000_to_b1950(lon: F8, lat: F8) -> tuple[F8, F8]:
    """Return FK4 B1950 coordinates (deg) of FK5 J2000 ones, for epoch of observation J2000."""
    from astropy.coordinates import FK4, FK5, SkyCoord

    j2000 = SkyCoord(lon, lat, unit="deg", frame=FK5(equinox="J2000"))
    b1950 = j2000.transform_to(FK4(equinox="B1950", obstime="J2000"))
    return np.asarray(b1950.ra.deg), np.asarray(b1950.dec.deg)


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
    from astropy.coordinates import position_angle

    angle = position_angle(*(np.radians(c) for c in (lon, lat, north_lon, north_lat)))
    result: F8 = (np.degrees(np.asarray(angle)) + 180.0) % 360.0 - 180.0
    return result


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
        "ECLIPTIC": lambda: coordinates.GeocentricMeanEcliptic(equinox="J2000"),
    }[frame.name]()
    native = coordinates.SkyCoord(lon, lat, unit="deg", frame=system)
    j2000 = native.transform_to(coordinates.FK5(equinox="J2000"))
    return np.asarray(j2000.ra.deg), np.asarray(j2000.dec.deg)
