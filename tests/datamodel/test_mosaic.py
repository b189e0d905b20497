"""Patterns of colour mosaics, and where the pixels of a plane are in the frame."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

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


def test_catalogue():
    plane = MosaicPlane("R", 1.0, 0.0)
    catalog = plane.on_full_frame(
        Catalog({
            "X_IMAGE": np.array([1.0, 2.5], "f4"), "YWIN_IMAGE": np.array([1.0, 2.5]),
            "XMIN_IMAGE": np.array([1, 3], "i4"), "XMAX_IMAGE": np.array([1, 3], "i4"),
            "X2_IMAGE": np.array([1.0, 2.0]), "XY_IMAGE": np.array([1.0, 2.0]),
            "A_IMAGE": np.array([1.0, 2.0]),
        })
    )  # fmt: skip
    assert catalog["X_IMAGE"].tolist() == [2.0, 5.0]
    assert catalog["YWIN_IMAGE"].tolist() == [1.0, 4.0]
    assert catalog["XMIN_IMAGE"].tolist() == [2, 6]
    assert catalog["XMAX_IMAGE"].tolist() == [3, 7]
    for name in ("X2_IMAGE", "XY_IMAGE", "A_IMAGE"):
        assert catalog[name].tolist() == [1.0, 2.0]


def test_cards():
    plane = MosaicPlane("GREEN", 0.5, 0.5)
    cards = {key: value for key, (value, _) in plane.cards().items()}
    assert MosaicPlane.from_header(cards) == plane
    assert MosaicPlane.from_header({"BAYERPAT": "RGGB"}) is None
    assert MosaicPlane.from_header(None) is None
