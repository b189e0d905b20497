"""Celestial frames against astropy."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import FK4, FK5, BarycentricMeanEcliptic, Galactic, SkyCoord

from skyextract.sky.frames import (
    SkyFrame,
    j2000_to_b1950,
    north_angle,
    tangent_axes,
    to_j2000,
    unit_vectors,
)

B1950 = FK4(equinox="B1950", obstime="J2000")
LON = np.concatenate([np.random.default_rng(1).uniform(0, 360, 500), [0.0, 10.0, 180.0]])
LAT = np.concatenate([np.degrees(np.arcsin(np.linspace(-1, 1, 500))), [90.0, -90.0, 0.0]])


def separation(lon: np.ndarray, lat: np.ndarray, other: SkyCoord) -> float:
    """Return the largest distance in arcsec, whatever the frame is called."""
    step = unit_vectors(lon, lat) - unit_vectors(other.ra.deg, other.dec.deg)
    return float(np.degrees(np.linalg.norm(step, axis=-1)).max() * 3600.0)


def test_b1950_and_back() -> None:
    lon, lat = j2000_to_b1950(LON, LAT)
    oracle = SkyCoord(LON, LAT, unit="deg", frame=FK5()).transform_to(B1950)
    assert separation(lon, lat, oracle) < 1e-5
    back = SkyCoord(*to_j2000(SkyFrame("FK4", 1950.0), lon, lat), unit="deg")
    assert separation(LON, LAT, back) < 1e-4


def test_frames_of_headers() -> None:
    assert to_j2000(SkyFrame(), LON, LAT)[0] is LON
    # SExtractor 2.25 on a J2000 header: B1950 at epoch J2000
    assert to_j2000(SkyFrame("FK5"), LON, LAT)[1] is LAT
    for frame, native in (
        (SkyFrame("GALACTIC"), Galactic()),
        (SkyFrame("FK5", 1975.0), FK5(equinox="J1975")),
        (SkyFrame("ECLIPTIC"), BarycentricMeanEcliptic(equinox="J2000")),
        (SkyFrame("ECLIPTIC", 1950.0), BarycentricMeanEcliptic(equinox="B1950")),
    ):
        oracle = SkyCoord(LON, LAT, unit="deg", frame=native)
        oracle = oracle.transform_to(FK5(equinox="J2000"))
        assert separation(*to_j2000(frame, LON, LAT), oracle) < 1e-6


def test_the_ecliptic_is_the_equator_turned_by_the_obliquity() -> None:
    """Without the aberration (20 arcsec) of a frame that goes with the Earth."""
    vectors = unit_vectors(LON, LAT)
    obliquity = np.radians(84381.448 / 3600.0)
    cos, sin = np.cos(obliquity), np.sin(obliquity)
    turned = vectors @ np.array([[1.0, 0.0, 0.0], [0.0, cos, sin], [0.0, -sin, cos]])
    step = unit_vectors(*to_j2000(SkyFrame("ECLIPTIC"), LON, LAT)) - turned
    assert np.degrees(np.linalg.norm(step, axis=-1)).max() * 3600.0 < 0.1


def test_north_angle() -> None:
    lon, lat = LON[:500], np.clip(LAT[:500], -89.0, 89.0)
    here = SkyCoord(lon, lat, unit="deg", frame=FK5())
    ahead = here.directional_offset_by(0.0 * units.deg, 1e-3 * units.deg).transform_to(B1950)
    there = here.transform_to(B1950)
    angle = north_angle(there.ra.deg, there.dec.deg, ahead.ra.deg, ahead.dec.deg)
    oracle = there.position_angle(ahead).wrap_at(180 * units.deg).deg
    np.testing.assert_allclose(angle, oracle, atol=1e-6)


@pytest.mark.parametrize("lat", [-90.0, -30.0, 0.0, 90.0])
def test_axes_are_orthonormal(lat: float) -> None:
    lon = np.array([0.0, 123.0])
    east, north = tangent_axes(lon, np.full(2, lat))
    radial = unit_vectors(lon, np.full(2, lat))
    basis = np.stack([east, north, radial], axis=1)
    np.testing.assert_allclose(basis @ basis.transpose(0, 2, 1), [np.eye(3)] * 2, atol=1e-15)
