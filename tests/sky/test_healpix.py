"""HEALPix pixel numbers, against astropy-healpix and known values."""

import numpy as np
import pytest

from skyextract.sky.healpix import ang2pix_ring, disc_pixels
from skyextract.sky.plate import stereographic_inverse


def sphere(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180.0, 360.0, n), np.rad2deg(np.arcsin(rng.uniform(-1.0, 1.0, n)))
    lat[:50] = 90.0 - 10.0 ** rng.uniform(-7.0, 1.0, 50)
    lat[50:100] = -90.0 + 10.0 ** rng.uniform(-7.0, 1.0, 50)
    return lon, lat


@pytest.mark.parametrize("nside", [1, 2, 32, 1024])
def test_against_astropy_healpix(nside):
    healpix = pytest.importorskip("astropy_healpix")
    units = pytest.importorskip("astropy.units")
    lon, lat = sphere(20_000)
    theirs = healpix.HEALPix(nside, "ring").lonlat_to_healpix(lon * units.deg, lat * units.deg)
    np.testing.assert_array_equal(ang2pix_ring(nside, lon, lat), theirs)


def test_known_pixels():
    lon, lat = np.array([45.0, 0.0, 315.0, 120.9383044]), np.array([90.0, 0.0, -90.0, 4.86859385])
    assert ang2pix_ring(1, lon, lat)[:3].tolist() == [0, 4, 11]
    assert ang2pix_ring(32, lon, lat)[3] == 5483


def test_equal_areas():
    lon, lat = sphere(200_000)
    count = np.bincount(ang2pix_ring(8, lon[100:] % 180.0 * 2.0, lat[100:]), minlength=768)
    assert len(count) == 768
    assert abs(count.std() / np.sqrt(count.mean()) - 1.0) < 0.15


def test_disc_misses_no_pixel():
    rng = np.random.default_rng(5)
    for k in range(200):
        lon, lat = rng.uniform(0.0, 360.0), np.rad2deg(np.arcsin(rng.uniform(-1.0, 1.0)))
        lat = 90.0 - rng.uniform(0.0, 3.0) if k < 30 else lat
        radius = 10.0 ** rng.uniform(-2.0, 0.7)
        angle = rng.uniform(0.0, 2.0 * np.pi, 2000)
        distance = radius * np.sqrt(rng.uniform(0.9 * (k % 2), 1.0, 2000))
        plane = 2.0 * np.rad2deg(np.tan(np.deg2rad(distance) / 2.0))
        inside = stereographic_inverse(plane * np.cos(angle), plane * np.sin(angle), lon, lat)
        touched = set(ang2pix_ring(32, *inside).tolist())
        assert touched <= set(disc_pixels(32, lon, lat, radius).tolist())


def test_disc_of_the_whole_sky():
    assert len(disc_pixels(4, 10.0, 20.0, 180.0)) == 192
