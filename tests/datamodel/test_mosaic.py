"""Patterns of colour mosaics, and where the pixels of a plane are in the frame."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skyextract.columns.request import UNITS
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.mosaic import MosaicPlane, mosaic_pattern


@pytest.mark.parametrize(
    ("cards", "pattern"),
    [
        ({"BAYERPAT": "RGGB"}, "RGGB"),
        ({"BAYERPAT": "GRBG "}, "GRBG"),
        ({"COLORTYP": "rggb"}, "RGGB"),
        ({"BAYRPAT": "BGGR"}, "BGGR"),
        ({"BAYERPAT": "BAYER_RGGB16"}, "RGGB"),
        ({"BAYERPAT": "RGGB", "XBAYROFF": 1, "YBAYROFF": 0}, "GRBG"),
        ({"BAYERPAT": "RGGB", "XBAYROFF": 0, "YBAYROFF": 1}, "GBRG"),
        ({"BAYERPAT": "RGGB", "XBAYROFF": 1, "YBAYROFF": 1}, "BGGR"),
        ({"BAYERPAT": "RGGB", "ROWORDER": "BOTTOM-UP"}, "GBRG"),
        ({"BAYERPAT": "RGGB", "ROWORDER": "TOP-DOWN"}, "RGGB"),
        ({"BAYERPAT": "RRGGRRGGGGBBGGBB"}, "RRGGRRGGGGBBGGBB"),
        ({"BAYERPAT": "RRGGRRGGGGBBGGBB", "XBAYROFF": 1}, "RGGRRGGRGBBGGBBG"),
        (
            {"BAYERPAT": "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG", "YBAYROFF": 2},
            "BRGRBGGGBGGRGGRGGBRBGBRGGGRGGBGGBGGR",
        ),
        ({"BAYERPAT": "RGGBRGGBRGGBRGGB"[:9]}, ""),
        ({"BAYERPAT": "RGB"}, ""),
        ({"BAYERPAT": "TRUE"}, ""),
        ({"BAYERPAT": "RRGB"}, ""),
        ({"COLORTYP": 1}, ""),
        ({}, ""),
    ],
)
def test_pattern(cards, pattern):
    assert mosaic_pattern(cards, (100, 100)) == pattern


def test_bottom_up_of_an_odd_height():
    assert mosaic_pattern({"BAYERPAT": "RGGB", "ROWORDER": "BOTTOM-UP"}, (101, 100)) == "RGGB"


FRAME = {"CRPIX1": 100.0, "CRPIX2": 80.0, "CRVAL1": 50.0, "CRVAL2": 40.0}
CD = {"CD1_1": -1e-4, "CD1_2": 2e-5, "CD2_1": 1e-5, "CD2_2": 1e-4}
TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", **FRAME}
SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", **FRAME, **CD, "A_ORDER": 3,
       "B_ORDER": 2, "A_2_0": 3e-5, "A_0_3": 1e-7, "B_1_1": 2e-5}  # fmt: skip
CDELT = {"CDELT1": -1e-4, "CDELT2": 1e-4, "CROTA2": 20.0}
PC = {"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8}


@pytest.mark.parametrize("cards", [{**TAN, **CD}, SIP, {**TAN, **CDELT},
                                   {**TAN, **PC, "CDELT1": -1e-4, "CDELT2": 1e-4}])  # fmt: skip
@pytest.mark.parametrize("first", [(0.5, 0.5), (1.0, 0.0)])
def test_wcs(cards, first):
    """A pixel of the plane is at the same place on the sky, and back again."""
    plane = MosaicPlane("GREEN", *first)
    x, y = np.random.default_rng(1).uniform(0.0, 90.0, (2, 50))
    small = plane.plane_wcs(cards)
    full = WCS(fits.Header(cards)).all_pix2world(2 * x + first[0], 2 * y + first[1], 0)
    np.testing.assert_allclose(WCS(fits.Header(small)).all_pix2world(x, y, 0), full, atol=1e-11)
    again = plane.full_wcs(small)
    np.testing.assert_allclose([again[k] for k in FRAME], [cards[k] for k in FRAME], atol=1e-9)


def test_cells_of_another_size():
    """Cards of a plane of 3 x 3 pixels that begins at (1, 2), and numbers in the full frame."""
    plane = MosaicPlane("R", 2.0, 3.0, 3, 1, 2)
    header = {key: value for key, (value, _) in plane.cards().items()}
    assert MosaicPlane.from_header(header) == plane
    catalog = Catalog(
        {
            "X_IMAGE": np.array([1.0, 2.5]),
            "XMIN_IMAGE": np.array([1, 3], "i4"),
            "XMAX_IMAGE": np.array([1, 3], "i4"),
            "A_IMAGE": np.array([1.0, 2.0]),
        }
    )
    found = plane.on_full_frame(catalog, UNITS)
    assert {name: found[name].tolist() for name in found} == {
        "X_IMAGE": [3.0, 7.5], "XMIN_IMAGE": [2, 8], "XMAX_IMAGE": [4, 10], "A_IMAGE": [3.0, 6.0],
    }  # fmt: skip
    cards = {**TAN, **CD}
    small = plane.plane_wcs(cards)
    full = WCS(fits.Header(cards)).all_pix2world(3 * 7.0 + 2.0, 3 * 5.0 + 3.0, 0)
    np.testing.assert_allclose(WCS(fits.Header(small)).all_pix2world(7.0, 5.0, 0), full, atol=1e-11)


def test_catalogue():
    """A source of the plane has the numbers that it would have been measured with in the frame."""
    plane = MosaicPlane("R", 1.0, 0.0)
    catalog = Catalog({
        "X_IMAGE": np.array([1.0, 2.5], "f4"), "YWIN_IMAGE": np.array([1.0, 2.5]),
        "XMIN_IMAGE": np.array([1, 3], "i4"), "XMAX_IMAGE": np.array([1, 3], "i4"),
        "X2_IMAGE": np.array([1.0, 2.0]), "XY_IMAGE": np.array([1.0, 2.0]),
        "A_IMAGE": np.array([1.0, 2.0]), "ERRX2PSF_IMAGE": np.array([1.0, 2.0]),
        "CXX_IMAGE": np.array([1.0, 2.0]), "ISOAREA_IMAGE": np.array([5, 6], "i4"),
        "FLUX_RADIUS": np.array([[1.0, 2.0], [3.0, 4.0]], "f4"),
        "FLUX_AUTO": np.array([5.0, 6.0]), "THETA_IMAGE": np.array([10.0, 20.0]),
        "A_WORLD": np.array([1.0, 2.0]),
    })  # fmt: skip
    found = plane.on_full_frame(catalog, UNITS)
    assert {name: found[name].tolist() for name in found} == {
        "X_IMAGE": [2.0, 5.0], "YWIN_IMAGE": [1.0, 4.0],
        "XMIN_IMAGE": [2, 6], "XMAX_IMAGE": [3, 7],
        "X2_IMAGE": [4.0, 8.0], "XY_IMAGE": [4.0, 8.0],
        "A_IMAGE": [2.0, 4.0], "ERRX2PSF_IMAGE": [4.0, 8.0],
        "CXX_IMAGE": [0.25, 0.5], "ISOAREA_IMAGE": [20, 24],
        "FLUX_RADIUS": [[2.0, 4.0], [6.0, 8.0]],
        "FLUX_AUTO": [5.0, 6.0], "THETA_IMAGE": [10.0, 20.0],
        "A_WORLD": [1.0, 2.0],
    }  # fmt: skip
    assert found["X_IMAGE"].dtype == np.float32
    assert found["ISOAREA_IMAGE"].dtype == np.int32
