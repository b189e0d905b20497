"""The moon, against astropy's own places for an observer."""

from __future__ import annotations

import math

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import AltAz, EarthLocation, SkyCoord, get_body
from astropy.time import Time
from astropy.utils import iers

from skyextract.sky.moon import Site, airmass_at, moon_of

SITES = [Site(-70.7345, -29.2584, 2400.0), Site(-155.47, 19.83, 4200.0), Site(2.1, 66.0, 50.0)]


@pytest.fixture(autouse=True)
def _no_network():
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("auto_max_age", None):
        yield


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("mjd", [48000.3, 55197.95, 60123.4321])
def test_as_astropy_sees_it_from_a_site(site, mjd):
    place = EarthLocation.from_geodetic(site.longitude, site.latitude, site.height)
    time = Time(mjd, format="mjd")
    moon, sun = (get_body(name, time, place) for name in ("moon", "sun"))
    target = SkyCoord(83.6, -22.0, unit="deg")
    ours = moon_of(mjd, 83.6, -22.0, site)
    there = target.transform_to(moon.frame)
    assert ours.separation == pytest.approx(moon.separation(there).deg, abs=0.02)
    horizon = AltAz(obstime=time, location=place)
    assert ours.altitude == pytest.approx(moon.transform_to(horizon).alt.deg, abs=0.03)
    # Both geocentric, to some metres; astropy 6 does not know `origin_mismatch`.
    elongation = SkyCoord(moon.ra, moon.dec).separation(SkyCoord(sun.ra, sun.dec)).rad
    phase = math.atan2(
        (sun.distance * np.sin(elongation)).to_value(u.km),
        (moon.distance - sun.distance * np.cos(elongation)).to_value(u.km),
    )
    assert ours.illumination == pytest.approx((1.0 + math.cos(phase)) / 2.0, abs=0.01)
    height = target.transform_to(horizon).alt.rad
    expected = 1.0 / math.sin(height) if height > 0.0 else math.inf
    assert airmass_at(mjd, 83.6, -22.0, site) == pytest.approx(expected, rel=0.02)


def test_full_and_new_moon():
    """Of 1 and 16 August 2023."""
    assert moon_of(60157.77, 0.0, 0.0, None).illumination == pytest.approx(1.0, abs=0.003)
    assert moon_of(60172.40, 0.0, 0.0, None).illumination == pytest.approx(0.0, abs=0.003)
    assert moon_of(60172.40, 0.0, 0.0, None).altitude is None
