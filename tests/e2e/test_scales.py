"""Pixel scales that contradict each other, and headers whose WCS cannot be."""

from __future__ import annotations

import pytest
from astropy.io import fits

from tests.faults.fuzz import WORLD
from tests.faults.harness import write_frame

SCALE = 0.72
"""Of WORLD, arcsec."""


@pytest.fixture
def frame(tmp_path):
    path = write_frame(tmp_path / "f.fits", 1, 96)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header.update(WORLD)
    return path


@pytest.mark.parametrize(
    ("given", "told"), [(1e9, True), (SCALE / 1.1, True), (SCALE * 1.01, False), (0.0, False)]
)
def test_pixel_scale_and_wcs(skyextract, frame, given, told):
    done = skyextract("f.fits", "-PIXEL_SCALE", given, "-NTHREADS", "1")
    text = f"PIXEL_SCALE {given:g} contradicts the WCS, which has {SCALE:.4g} arcsec/pixel"
    assert (text in done.stderr) == told
    assert ("contradicts" in done.stderr) == told


def test_without_a_wcs_nothing_contradicts(skyextract, tmp_path):
    write_frame(tmp_path / "f.fits", 1, 96)
    assert "contradicts" not in skyextract("f.fits", "-PIXEL_SCALE", "3.0").stderr


def test_axes_that_are_swapped(skyextract, frame):
    with fits.open(frame, mode="update") as hdus:
        hdus[0].header.update(CTYPE1="DEC--TAN", CTYPE2="RA---TAN", CRVAL1=150.1, CRVAL2=2.2)
    done = skyextract("f.fits", "-NTHREADS", "1")
    assert "WCS is not usable (Ill-conditioned coordinate transformation" in done.stderr
    for word in ("ERROR", "wcsset", "line"):
        assert word not in done.stderr


def test_columns_of_a_list_that_is_not_named(skyextract, frame):
    (frame.parent / "a.param").write_text("NUMBER\nVECTOR_ASSOC(1)\n")
    done = skyextract("f.fits", "-PARAMETERS_NAME", "a.param")
    assert done.status == 2
    assert done.stderr == (
        "skyextract: error: VECTOR_ASSOC, NUMBER_ASSOC: ASSOC_NAME names no list\n"
    )
