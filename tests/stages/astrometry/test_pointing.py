"""Where a frame is thought to be."""

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK5, SkyCoord
from astropy.io import fits
from astropy.time import Time

from skyextract.datamodel.wcs import SkyWcs
from skyextract.settings.keywords import Astrometry
from skyextract.stages.astrometry.pointing import (
    header_scale,
    pointing,
    read_start,
    search_region,
)

SHAPE = (1000, 2000)
CARDS = {
    "NAXIS1": 2000, "NAXIS2": 1000, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
    "CRVAL1": 50.0, "CRVAL2": 20.0, "CRPIX1": 1000.5, "CRPIX2": 500.5,
    "CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("cards", "ra", "dec"),
    [
        ({"RA": "23:26:33.6", "DEC": "+00:06:40"}, 351.64, 0.111111),
        ({"RA": 351.64, "DEC": 0.111111}, 351.64, 0.111111),
        ({"RA": "351.64", "DEC": "0.111111"}, 351.64, 0.111111),
        ({"OBJCTRA": "23 26 33.6", "OBJCTDEC": "-00 06 40"}, 351.64, -0.111111),
        ({"RA-MNT": 301.5, "DEC-MNT": 44.4}, 301.5, 44.4),
        ({"CRVAL1": 10.0, "CRVAL2": -80.0}, 10.0, -80.0),
        ({**CARDS, "CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"}, 40.963757, 36.879617),
        ({**CARDS, "CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, 271.612782, 23.667024),
        (
            {
                **CARDS,
                "CUNIT1": "rad",
                "CUNIT2": "rad",
                "CRVAL1": math.radians(50.0),
                "CRVAL2": math.radians(20.0),
            },
            50.0,
            20.0,
        ),
        (
            {
                **CARDS,
                "CUNIT1": "arcsec",
                "CUNIT2": "arcsec",
                "CRVAL1": 180000.0,
                "CRVAL2": 72000.0,
            },
            50.0,
            20.0,
        ),
        ({**CARDS, "CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN"}, 20.0, 50.0),
        ({"RA": "unknown", "DEC": "?", "TELRA": -10.0, "TELDEC": 5.0}, 350.0, 5.0),
    ],
)
def test_pointing(cards, ra, dec):
    found = pointing(fits.Header(cards))
    assert found is not None
    assert found[:2] == pytest.approx((ra, dec), abs=1e-5)


@pytest.mark.parametrize(
    "cards",
    [
        {}, {"RA": 10.0}, {"RA": 10.0, "DEC": 100.0}, {"RA": "x", "DEC": "y"},
        {"CRVAL1": 1.0, "CRVAL2": 1.0, "CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {**CARDS, "CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"},
    ],
)  # fmt: skip
def test_no_pointing(cards):
    assert pointing(fits.Header(cards)) is None
    assert read_start(fits.Header(cards), SHAPE, None, Astrometry()) is None
    assert search_region(fits.Header(cards), SHAPE, None, Astrometry()) is None


def test_decimal_hours_by_the_comment():
    for header in (fits.Header(), fits.Header()):
        header["RA"] = (10.5, "[hours] telescope")
        header["DEC"] = (20.0, "[deg]")
        assert pointing(header)[0] == pytest.approx(157.5)


@pytest.mark.parametrize("comment", ["[h] right ascension", "RA in h", "(hrs)", "decimal hours"])
def test_hours_in_few_letters(comment):
    header = fits.Header([("RA", 10.0, comment), ("DEC", 2.0)])
    assert pointing(header)[:2] == pytest.approx((150.0, 2.0))


def test_radians_by_the_comment():
    header = fits.Header(
        [("RA", math.radians(150.0), "[rad]"), ("DEC", math.radians(2.0), "[rad]")]
    )
    assert pointing(header)[:2] == pytest.approx((150.0, 2.0))
    header = fits.Header([("RA", 150.0, "radial velocity is 0"), ("DEC", 2.0)])
    assert pointing(header)[:2] == pytest.approx((150.0, 2.0))


@pytest.mark.parametrize("equinox", [1950.0, 2026.9])
def test_equinox_against_astropy(equinox):
    found = pointing(fits.Header({"RA": 150.0, "DEC": 40.0, "EQUINOX": equinox}))
    frame = FK5(equinox=Time(equinox, format="jyear"))
    true = SkyCoord(150.0 * u.deg, 40.0 * u.deg, frame=frame).transform_to(FK5(equinox="J2000"))
    own = SkyCoord(found[0] * u.deg, found[1] * u.deg, frame=FK5(equinox="J2000"))
    assert own.separation(true).arcsec < 1.0


@pytest.mark.parametrize(
    ("cards", "scale"),
    [
        ({"PIXSCALE": 0.396}, 0.396),
        ({"SECPIX": "1.2"}, 1.2),
        ({"CDELT1": -1e-4}, 0.36),
        ({"FOCALLEN": 1000.0, "XPIXSZ": 9.0, "XBINNING": 2}, 206.264806 * 9e-3),
        ({"FOCALLEN": 1000.0, "PIXSIZE1": 4.5, "XBINNING": 2}, 206.264806 * 9e-3),
        ({"CDELT1": 1.0}, math.nan),
        ({"FOCALLEN": 0.0, "XPIXSZ": 9.0}, math.nan),
        ({}, math.nan),
    ],
)
def test_scale(cards, scale):
    assert header_scale(fits.Header(cards)) == pytest.approx(scale, nan_ok=True)


def test_limits_by_default():
    with_wcs = read_start(fits.Header(CARDS), SHAPE, SkyWcs.from_header(CARDS), Astrometry())
    assert with_wcs.position == pytest.approx(1.0 / 60.0)
    assert with_wcs.angle == pytest.approx(math.radians(5.0))
    assert with_wcs.flips == (0,)
    assert with_wcs.hard_scales == pytest.approx((0.3, 0.432))
    assert (with_wcs.ra, with_wcs.dec) == pytest.approx((50.0, 20.0))
    bare = read_start(
        fits.Header({"RA": 50.0, "DEC": 20.0, "PIXSCALE": 0.36}), SHAPE, None, Astrometry()
    )
    assert bare.position == pytest.approx(1.0)
    assert bare.angle == pytest.approx(math.pi)
    assert bare.flips == (0, 1)
    blind = read_start(fits.Header({"RA": 50.0, "DEC": 20.0}), SHAPE, None, Astrometry())
    assert blind.hard_scales == (0.1, 60.0)
    # The ranges around the nominal scales cover everything.
    edges = np.array(blind.scales)
    assert np.all(edges[1:] / edges[:-1] < math.exp(2.0 * blind.log_range))
    assert edges[0] <= 0.1 * math.exp(blind.log_range)
    assert edges[-1] >= 60.0 / math.exp(blind.log_range)


def test_limits_as_set():
    config = Astrometry(
        position_maxerr=2.0, posangle_maxerr=10.0, pixscale_maxerr=1.5, match_flipped=True
    )
    start = read_start(fits.Header(CARDS), SHAPE, SkyWcs.from_header(CARDS), config)
    assert start.position == pytest.approx(2.0 / 60.0)
    assert start.angle == pytest.approx(math.radians(10.0))
    assert start.hard_scales == pytest.approx((0.24, 0.54))
    assert start.flips == (0, 1)
    ra, dec, radius = search_region(fits.Header(CARDS), SHAPE, SkyWcs.from_header(CARDS), config)
    assert (ra, dec) == pytest.approx((50.0, 20.0))
    assert radius > 0.5 * math.hypot(*SHAPE) * 0.54 / 3600.0 + 2.0 / 60.0


def test_expected_positions_are_east_and_north():
    start = read_start(fits.Header(CARDS), SHAPE, SkyWcs.from_header(CARDS), Astrometry())
    east, north = start.expected(np.array([999.5, 899.5]), np.array([499.5, 599.5]))
    np.testing.assert_allclose(east, [0.0, 100.0], atol=1e-3)
    np.testing.assert_allclose(north, [0.0, 100.0], atol=1e-3)


def test_a_wcs_without_a_sensible_scale_is_not_used():
    class Degenerate:
        def to_j2000(self, x, y):
            return x * 0.0, y * 0.0

        def pixel_scale(self, x, y):
            return 0.0

    start = read_start(fits.Header({"RA": 50.0, "DEC": 20.0}), SHAPE, Degenerate(), Astrometry())
    assert start.wcs is None
    assert start.ra == 50.0
