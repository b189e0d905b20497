"""Plate polynomials and their FITS cards, against astropy.wcs."""

import math

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skyextract.datamodel.wcs import SkyWcs
from skyextract.sky.plate import (
    Plate,
    exponents,
    gnomonic,
    gnomonic_inverse,
    plate_of,
    stereographic,
    stereographic_inverse,
)

SHAPE = (1489, 2048)


def make_plate(degree: int, dec0: float = -30.0, bend: float = 10.0, seed: int = 0) -> Plate:
    rng = np.random.default_rng(seed)
    scale = 0.4 / 3600.0
    terms = len(exponents(degree))
    coefficients = np.zeros((2, terms))
    c, s = math.cos(0.3), math.sin(0.3)
    coefficients[:, 1:3] = 1024.0 * scale * np.array([[-c, s], [s, c]])
    coefficients[:, 3:] = rng.normal(0.0, bend * scale / terms, (2, terms - 3))
    return Plate(350.0, dec0, 1023.5, 744.0, 1024.0, coefficients)


def pixels(n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.uniform(0.0, SHAPE[1] - 1.0, n), rng.uniform(0.0, SHAPE[0] - 1.0, n)


def header_of(plate: Plate, projection: str) -> fits.Header:
    return fits.Header(plate.cards(projection, SHAPE))


@pytest.mark.parametrize("degree", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("projection", ["TAN-SIP", "TPV"])
@pytest.mark.parametrize("dec0", [-30.0, 89.99, 90.0])
def test_cards_agree_with_astropy_to_a_millionth_of_a_pixel(degree, projection, dec0):
    plate = make_plate(degree, dec0)
    x, y = pixels()
    ra, dec = WCS(header_of(plate, projection)).all_pix2world(x, y, 0)
    own_ra, own_dec = plate.to_sky(x, y)
    scale = plate.pixel_scale / 3600.0
    east = ((own_ra - ra + 180.0) % 360.0 - 180.0) * np.cos(np.deg2rad(dec))
    assert np.abs(east).max() / scale < 1e-6
    assert np.abs(own_dec - dec).max() / scale < 1e-6


def test_cards_agree_with_our_own_reader():
    plate = make_plate(3)
    x, y = pixels()
    for projection in ("TAN-SIP", "TPV"):
        wcs = SkyWcs.from_header(plate.cards(projection, SHAPE))
        ra, dec = wcs.to_sky(x, y)
        back = wcs.to_pixel(ra, dec)
        own_ra, own_dec = plate.to_sky(x, y)
        np.testing.assert_allclose(ra, own_ra, atol=1e-10)
        np.testing.assert_allclose(dec, own_dec, atol=1e-10)
        np.testing.assert_allclose(back, (x, y), atol=1e-6)


def test_inverse_sip_polynomials():
    plate = make_plate(3, bend=60.0)
    x, y = pixels()
    header = header_of(plate, "TAN-SIP")
    u, v = np.linalg.solve(plate.matrix, np.stack(plate.to_plane(x, y)))
    for axis, far, true in (("A", u, x - plate.x0), ("B", v, y - plate.y0)):
        order = header[f"{axis}P_ORDER"]
        correction = sum(
            header.get(f"{axis}P_{p}_{q}", 0.0) * u**p * v**q for p, q in exponents(order)
        )
        assert np.abs(far + correction - true).max() < 1e-3


def test_to_pixel_is_the_inverse_and_nan_far_away():
    plate = make_plate(3, bend=60.0)
    x, y = pixels()
    np.testing.assert_allclose(plate.to_pixel(*plate.to_plane(x, y)), (x, y), atol=1e-8)
    far_x, _ = plate.to_pixel(np.array([5.0, np.nan]), np.array([5.0, 0.0]))
    assert np.all(np.isnan(far_x))


def test_projections_against_astropy():
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0.0, 360.0, 300), rng.uniform(-20.0, 89.9, 300)
    for kind, project, unproject in (
        ("TAN", gnomonic, gnomonic_inverse),
        ("STG", stereographic, stereographic_inverse),
    ):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = [f"RA---{kind}", f"DEC--{kind}"]
        wcs.wcs.crval = [200.0, 60.0]
        wcs.wcs.cdelt = [1.0, 1.0]
        near = np.hypot(*stereographic(ra, dec, 200.0, 60.0)) < 60.0
        x, y = project(ra[near], dec[near], 200.0, 60.0)
        np.testing.assert_allclose(np.stack([x, y], 1), wcs.wcs_world2pix(
            np.stack([ra[near], dec[near]], 1), 0) + 1.0, atol=1e-9)  # fmt: skip
        back_ra, back_dec = unproject(x, y, 200.0, 60.0)
        np.testing.assert_allclose(back_ra, ra[near], atol=1e-10)
        np.testing.assert_allclose(back_dec, dec[near], atol=1e-10)
    # Half the sky away the tangent plane has no answer.
    assert np.isnan(gnomonic(np.array([20.0]), np.array([-60.0]), 200.0, 60.0)[0][0])


def test_tpv_to_sip_and_back(shared_data):
    path = next((shared_data / "decam_tpv/images").rglob("*ooi*.fits"))
    header = fits.getheader(path, 1)
    shape = header["NAXIS2"], header["NAXIS1"]
    original = SkyWcs.from_header(header)
    plate, error = plate_of(original.to_sky, shape, 3)
    assert error < 1e-4
    sip = SkyWcs.from_header(plate.cards("TAN-SIP", shape))
    again, _ = plate_of(sip.to_sky, shape, 3)
    tpv = SkyWcs.from_header(again.cards("TPV", shape))
    y, x = np.mgrid[0 : shape[0] : 20, 0 : shape[1] : 20].astype(float)
    for other in (sip, tpv):
        px, py = other.to_pixel(*original.to_sky(x, y))
        assert np.hypot(px - x, py - y).max() < 1e-3
    ra, dec = WCS(fits.Header(tpv.to_header())).all_pix2world(x.ravel(), y.ravel(), 0)
    ax, ay = WCS(header).all_world2pix(ra, dec, 0)
    assert np.hypot(ax - x.ravel(), ay - y.ravel()).max() < 1e-3


def test_plate_of_an_undefined_wcs_is_nan():
    plate, error = plate_of(lambda x, y: (x * np.nan, y * np.nan), (100, 100), 1)
    assert math.isnan(error)
    assert math.isnan(plate.ra0)
