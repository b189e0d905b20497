"""Celestial frames of catalogue columns: J2000 and B1950 from the frame of the image.

`_J2000` columns are in the frame of the header without a shift between ICRS and FK5 (below
0.03 arcsec), and `_B1950` columns are FK4 at equinox B1950, observed at epoch J2000, as
SExtractor gives them.  Matrices and E-terms: Murray 1989, A&A 218, 325; Seidelmann 1992,
Explanatory Supplement, 3.53 and 3.59.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_B1950_TO_J2000 = np.array(
    [
        [0.9999256794956877, -0.0111814832204662, -0.0048590038153592],
        [0.0111814832391717, 0.9999374848933135, -0.0000271625947142],
        [0.0048590037723143, -0.0000271702937440, 0.9999881946023742],
    ]
)
_FK4_ROTATION = 1e-6 * np.array(
    [
        [-0.0026455262, -1.1539918689, 2.1111346190],
        [1.1540628161, -0.0129042997, 0.0236021478],
        [-2.1112979048, -0.0056024448, 0.0102587734],
    ]
)
"""Rotation of the FK4 against the FK5 per Julian century since 1950."""

_EPOCH = (2000.0 - 1950.0) / 100.0
_FK5_TO_FK4 = (_B1950_TO_J2000 + _FK4_ROTATION * _EPOCH).T
_E_TERMS = 1e-6 * np.array([-1.62557, -0.31919, -0.13843])
"""Elliptic part of the aberration at B1950, a vector in radians."""


@dataclass(frozen=True)
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


def unit_vectors(lon: Floats, lat: Floats) -> Floats:
    """Return unit vectors (n, 3) of longitudes and latitudes in degrees."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), axis=-1)


def angles(vectors: Floats) -> tuple[Floats, Floats]:
    """Return longitude in [0, 360) and latitude in degrees of vectors (n, 3) of any length."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))


def j2000_to_b1950(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """Return FK4 B1950 coordinates (deg) of FK5 J2000 ones, for epoch of observation J2000."""
    vectors = unit_vectors(lon, lat) @ _FK5_TO_FK4.T
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    catalogue = vectors + _E_TERMS - (vectors @ _E_TERMS)[..., None] * vectors
    return angles(catalogue)


def b1950_to_j2000(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """Return FK5 J2000 coordinates (deg) of FK4 B1950 ones, the inverse of the above."""
    catalogue = unit_vectors(lon, lat)
    vectors = catalogue
    for _ in range(3):  # the E-terms are 2e-6: each round gains six digits
        vectors = catalogue - _E_TERMS + (vectors @ _E_TERMS)[..., None] * vectors
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return angles(vectors @ np.linalg.inv(_FK5_TO_FK4).T)


def tangent_axes(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """Return unit vectors (n, 3) to the east and to the north at points in degrees."""
    lon, lat = np.radians(lon), np.radians(lat)
    zero = np.zeros_like(lon)
    east = np.stack((-np.sin(lon), np.cos(lon), zero), axis=-1)
    north = np.stack((-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)), axis=-1)
    return east, north


def north_angle(lon: Floats, lat: Floats, north_lon: Floats, north_lat: Floats) -> Floats:
    """Return the position angle (deg) of another frame's north.

    Parameters
    ----------
    lon, lat : (n,) float64
        The points in this frame (deg).
    north_lon, north_lat : (n,) float64
        In this frame, points a little to the north of them in the other frame (deg).
    """
    east, north = tangent_axes(lon, lat)
    step = unit_vectors(north_lon, north_lat)
    result: Floats = np.degrees(np.arctan2((step * east).sum(-1), (step * north).sum(-1)))
    return result


def to_j2000(frame: SkyFrame, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    """Return J2000 right ascension and declination (deg) of coordinates in `frame`.

    ICRS and FK5 of equinox 2000 are taken as they are, FK4 of equinox 1950 goes by
    `b1950_to_j2000`, any other frame through `astropy.coordinates`.
    """
    if frame.name in ("ICRS", "FK5") and frame.equinox == 2000.0:
        return lon, lat
    if frame.name == "FK4" and frame.equinox == 1950.0:
        return b1950_to_j2000(lon, lat)
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
