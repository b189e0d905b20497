"""Images of one grid whose headers tell of different places on the sky."""

from __future__ import annotations

import math

import pytest

from skyextract.datamodel.alignment import apart_by_headers
from skyextract.datamodel.wcs import SkyWcs

SHAPE = (400, 500)


def wcs(*, ra=150.0, dec=20.0, shift=(0.0, 0.0), turned=0.0, scale=0.6, **more):
    c, s = (f(math.radians(turned)) * scale / 3600.0 for f in (math.cos, math.sin))
    return SkyWcs.from_header({
        "NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0], "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
        "CRVAL1": ra, "CRVAL2": dec, "CRPIX1": 250.0 + shift[0], "CRPIX2": 200.0 + shift[1],
        "CD1_1": -c, "CD1_2": s, "CD2_1": s, "CD2_2": c, **more,
    })  # fmt: skip


@pytest.mark.parametrize("dec", [20.0, -89.9])
@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"shift": (30.0, -4.0)}, "(+30.0, -4.0) pixels"),
        ({"shift": (300.0, 0.0)}, "(+300.0, +0.0) pixels"),
        ({"turned": 90.0}, "up to 453 pixels (turned, or of another scale)"),
        ({"scale": 0.3}, "up to 320 pixels (turned, or of another scale)"),
    ],
)
def test_what_headers_tell(dec, other, told):
    assert apart_by_headers(wcs(dec=dec), wcs(dec=dec, **other), SHAPE) == told


def test_another_field_is_told_in_degrees():
    assert apart_by_headers(wcs(), wcs(dec=-40.0), SHAPE) == "60 degrees"


@pytest.mark.parametrize(
    "other", [{}, {"shift": (0.7, 1.0)}, {"turned": 0.2}, {"scale": 0.6025}, {"EXPTIME": 3.0}]
)
def test_fits_of_registered_images_differ_by_as_much(other):
    assert not apart_by_headers(wcs(), wcs(**other), SHAPE)
    assert not apart_by_headers(None, wcs(**other), SHAPE)
    assert not apart_by_headers(wcs(**other), None, SHAPE)
