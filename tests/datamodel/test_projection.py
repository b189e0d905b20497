"""Positions in closed form beside wcslib's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyextract.datamodel.projection import Gnomonic, Wcslib, is_gnomonic, projection_of
from skyextract.errors import ImageError

TAN = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0,
    "CRPIX1": 1024.5, "CRPIX2": 900.0,
}  # fmt: skip
MATRICES = {
    "CD": {"CD1_1": -2e-4, "CD1_2": 3e-5, "CD2_1": 2.5e-5, "CD2_2": 2.1e-4},
    "CD without zeros": {"CD1_2": 1e-4, "CD2_1": 1e-4},
    "PC": {"CDELT1": -1e-4, "CDELT2": 1e-4, "PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6,
           "PC2_2": 0.8},
    "CDELT": {"CDELT1": -1e-4, "CDELT2": 2e-4},
    "CROTA2": {"CDELT1": -1e-4, "CDELT2": 2e-4, "CROTA2": 33.0},
    "wide": {"CDELT1": -0.02, "CDELT2": 0.02},
}  # fmt: skip
CENTRES = [(150.0, 2.0), (0.0001, -89.9), (359.9999, 89.99), (12.0, 0.0)]


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("order", ["lonlat", "latlon"])
def test_positions_are_those_of_wcslib(matrix, centre, order):
    cards = {**TAN, **MATRICES[matrix], "CRVAL1": centre[0], "CRVAL2": centre[1]}
    if order == "latlon":
        cards["CTYPE1"], cards["CTYPE2"] = cards["CTYPE2"], cards["CTYPE1"]
        cards["CRVAL1"], cards["CRVAL2"] = centre[1], centre[0]
    if order == "latlon" and matrix == "CROTA2":
        assert not is_gnomonic(cards)
        return
    assert is_gnomonic(cards)
    x, y = (c.ravel() for c in np.meshgrid(np.linspace(-500, 3000, 11), np.linspace(-500, 3000, 9)))
    ours, theirs = Gnomonic(cards), Wcslib(cards)
    lon, lat = ours.to_sky(x, y)
    lon0, lat0 = theirs.to_sky(x, y)
    turn = (lon - lon0 + 180.0) % 360.0 - 180.0
    assert np.abs(turn * np.cos(np.radians(lat))).max() < 1e-11
    assert np.abs(lat - lat0).max() < 1e-11
    np.testing.assert_allclose(ours.to_pixel(lon0, lat0), [x, y], atol=1e-6)
    np.testing.assert_allclose(ours.to_pixel(lon, lat), [x, y], atol=1e-6)


@given(st.floats(0.0, 360.0), st.floats(-89.0, 89.0), st.floats(0.0, 360.0), st.floats(-90.0, 90.0))
def test_the_sky_behind_the_plane_has_no_pixel(lon0, lat0, lon, lat):
    cards = {**TAN, **MATRICES["CDELT"], "CRVAL1": lon0, "CRVAL2": lat0}
    place = np.array([lon]), np.array([lat])
    x, y = Gnomonic(cards).to_pixel(*place)
    u = np.radians([lon0, lat0])
    v = np.radians([lon, lat])
    cosine = np.sin(u[1]) * np.sin(v[1]) + np.cos(u[1]) * np.cos(v[1]) * np.cos(u[0] - v[0])
    if abs(cosine) > 1e-6:
        assert np.isfinite(x[0]) == np.isfinite(y[0]) == (cosine > 0.0)
    if cosine > 0.1:
        x0, y0 = Wcslib(cards).to_pixel(*place)
        np.testing.assert_allclose([x, y], [x0, y0], rtol=1e-9, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"},
        {"LONPOLE": 90.0},
        {"CRVAL2": 90.0},
        {"A_ORDER": 2, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"},
        {"PV1_1": 1.0},
        {"CUNIT1": "arcsec", "CUNIT2": "arcsec"},
        {"WCSAXES": 3},
    ],
)
def test_others_are_left_to_wcslib(change):
    assert not is_gnomonic({**TAN, **MATRICES["CD"], **change})


def test_a_matrix_without_area_is_refused():
    for values in ((1e-4, 2e-4, 2e-4, 4e-4), (0.0, 0.0, 0.0, 0.0), (np.inf, 0.0, 0.0, 1e-4)):
        cd = dict(zip(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), values, strict=True))
        with pytest.raises(ImageError, match="no area"):
            projection_of({**TAN, **cd})
