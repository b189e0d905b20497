"""The moon as a frame saw it: how far away, how full, how high.

The moon's place is astropy's built-in ephemeris (Meeus' truncated ELP 2000, good to 10"); the
parallax of the site, up to a degree, is added here, because astropy would ask the network for
the rotation of the Earth, which matters by 15" at most.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.record import record
from skyextract.sky.frames import SkyFrame, to_j2000, unit_vectors

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8

_RADIUS, _FLATTENING = 6378.137, 1.0 / 298.257223563  # km, WGS 84


@record
class Site:
    """A place on the Earth: degrees, east positive, and metres."""

    longitude: float
    latitude: float
    height: float = 0.0

    @classmethod
    def from_geocentric(cls, x: float, y: float, z: float) -> Site:
        """Return the place of geocentric coordinates, m (Bowring 1976, Survey Review 23, 323)."""
        radius, eccentricity2 = 1000.0 * _RADIUS, _FLATTENING * (2.0 - _FLATTENING)
        p = math.hypot(x, y)
        polar = (1.0 - _FLATTENING) * radius
        angle = math.atan2(z * radius, p * polar)
        latitude = math.atan2(
            z + eccentricity2 / (1.0 - eccentricity2) * polar * math.sin(angle) ** 3,
            p - eccentricity2 * radius * math.cos(angle) ** 3,
        )
        sine, cosine = math.sin(latitude), math.cos(latitude)
        height = p * cosine + z * sine - radius * math.sqrt(1.0 - eccentricity2 * sine**2)
        return cls(math.degrees(math.atan2(y, x)), math.degrees(latitude), height)


@record
class Moon:
    """The moon of a frame.

    Attributes
    ----------
    separation : float
        From the middle of the frame, deg; without a site as seen from the middle of the Earth.
    illumination : float
        Share of the disk that is lit.
    altitude : float or None
        Above the horizon, deg; None without a site.
    """

    separation: float
    illumination: float
    altitude: float | None


def moon_of(mjd: float, ra: float, dec: float, site: Site | None) -> Moon:
    """Return the moon of a frame.

    Parameters
    ----------
    mjd : float
        UTC.
    ra, dec : float
        J2000, deg.
    """
    from astropy.coordinates import get_body
    from astropy.time import Time

    time = Time(mjd, format="mjd", scale="utc").tdb
    moon, sun = (get_body(name, time).cartesian.xyz.to_value("km") for name in ("moon", "sun"))
    to_sun = sun - moon
    phase = _angle(to_sun, -moon)
    altitude = None
    if site is not None:
        up, place = _observer(mjd, site)
        moon = moon - place
        altitude = 90.0 - _angle(moon, up)
    target = unit_vectors(np.array([ra]), np.array([dec]))[0]
    lit = (1.0 + math.cos(math.radians(phase))) / 2.0
    return Moon(_angle(moon, target), lit, altitude)


def airmass_at(mjd: float, ra: float, dec: float, site: Site) -> float:
    """Return the airmass of a direction (J2000, deg), sec z; infinite at and below the horizon."""
    up, _ = _observer(mjd, site)
    target = unit_vectors(np.array([ra]), np.array([dec]))[0]
    height = float(target @ up)
    return 1.0 / height if height > 0.0 else math.inf


def _observer(mjd: float, site: Site) -> tuple[F8, F8]:
    """Return zenith and place (km) of a site in the frame of J2000.

    Sidereal time of the IAU 1982 model (Aoki et al. 1982, A&A 105, 359); no nutation.
    """
    days = mjd - 51544.5
    sidereal = math.radians((280.46061837 + 360.98564736629 * days + site.longitude) % 360.0)
    latitude = math.radians(site.latitude)
    up = np.array(
        [
            math.cos(latitude) * math.cos(sidereal),
            math.cos(latitude) * math.sin(sidereal),
            math.sin(latitude),
        ]
    )
    eccentricity2 = _FLATTENING * (2.0 - _FLATTENING)
    normal = _RADIUS / math.sqrt(1.0 - eccentricity2 * math.sin(latitude) ** 2)
    height = site.height / 1000.0
    place = (normal + height) * up
    place[2] -= normal * eccentricity2 * math.sin(latitude)
    of_date = SkyFrame("FK5", 2000.0 + days / 365.25)
    axes = to_j2000(of_date, np.array([0.0, 90.0, 0.0]), np.array([0.0, 0.0, 90.0]))
    precession = unit_vectors(*axes)  # a row for each axis
    return up @ precession, place @ precession


def _angle(a: F8, b: F8) -> float:
    """Return the angle between two vectors, deg."""
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b)))
