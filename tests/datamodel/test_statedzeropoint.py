"""Zero points that headers state, against the formulas of the observatories' handbooks."""

from __future__ import annotations

import math

import pytest
from astropy import units as u
from astropy.io.fits import Header

from skyextract.datamodel.statedzeropoint import stated_zero_point

TIME = 100.0
SCALE = 0.5
SECOND = 2.5 * math.log10(TIME)


def stated(time=TIME, scale=SCALE, **cards):
    header = Header()
    for keyword, value in cards.items():
        header[keyword.replace("_DOT_", ".")] = value
    return stated_zero_point(header, time, lambda: scale)


def ab(flux, **equivalent):
    """Return the AB magnitude of a flux, as astropy has it."""
    return flux.to(u.ABmag, **equivalent).value


@pytest.mark.parametrize(
    ("unit", "zero_point"),
    [
        ("nanomaggy", 22.5), ("nanomaggies", 22.5), ("nmgy", 22.5), ("nMgy", 22.5),
        ("maggy", 0.0), ("Jy", ab(1.0 * u.Jy)), ("mJy", ab(1.0 * u.mJy)), ("uJy", ab(1.0 * u.uJy)),
        ("nJy", ab(1.0 * u.nJy)), ("microJy", ab(1.0 * u.uJy)), ("10*nanoJansky", ab(10.0 * u.nJy)),
        ("1E-9 Maggy", 22.5), ("3.631e-6 Jy", ab(3.631e-6 * u.Jy)),
        ("erg/s/cm2/Hz", ab(1.0 * u.erg / u.s / u.cm**2 / u.Hz)),
        ("erg s-1 cm-2 Hz-1", ab(1.0 * u.erg / u.s / u.cm**2 / u.Hz)),
        ("Jy/pixel", ab(1.0 * u.Jy)), ("MJY", None), ("Jy/beam", None),
        ("adu", None), ("", None), ("erg/s/cm2/A", None), ("mJy/sr", None),
    ],
)  # fmt: skip
def test_units(unit, zero_point):
    found = stated(BUNIT=unit)
    if zero_point is None:
        assert found is None
    else:
        assert found.value == pytest.approx(zero_point, abs=1e-3)
        assert found.system == "AB"
        assert unit in found.origin


@pytest.mark.parametrize("unit", ["MJy/sr", "MJy / sr", "MJy.sr-1", "MJY/SR"])
def test_surface_brightness(unit):
    area = 2.3e-14
    found = stated(BUNIT=unit, PIXAR_SR=area)
    assert found.value == pytest.approx(ab(area * u.MJy), abs=1e-3)
    assert "PIXAR_SR" in found.origin
    of_scale = stated(BUNIT=unit)
    pixel = (SCALE * u.arcsec) ** 2
    assert of_scale.value == pytest.approx(ab((1.0 * u.MJy / u.sr) * pixel), abs=1e-3)
    assert stated(BUNIT=unit, scale=math.nan) is None


@pytest.mark.parametrize(
    "unit", ["ELECTRONS/S", "COUNTS/S", "electron s-1", "ELECTRONS", "COUNTS", "DN"]
)
def test_flux_density_of_a_count(unit):
    cards = {"BUNIT": unit, "PHOTFLAM": 7.0e-20, "PHOTPLAM": 5921.9}
    density = cards["PHOTFLAM"] * u.erg / u.s / u.cm**2 / u.AA
    rate = ab(density, equivalencies=u.spectral_density(cards["PHOTPLAM"] * u.AA))
    total = "S" not in unit.upper().removeprefix("ELECTRONS").removeprefix("COUNTS")
    found = stated(**cards)
    assert found.value == pytest.approx(rate + SECOND * total, abs=1e-3)
    assert (stated(**cards, time=math.nan) is None) == total
    del cards["PHOTPLAM"]
    st = stated(**cards)
    assert st.value == pytest.approx(density.to(u.STmag).value + SECOND * total, abs=1e-3)
    assert st.system == "ST"


def test_no_flux_density_of_other_units_or_of_zero():
    assert stated(BUNIT="erg/s/cm2/A", PHOTFLAM=1e-19, PHOTPLAM=6000.0) is None
    assert stated(BUNIT="COUNTS", PHOTFLAM=0.0, PHOTPLAM=6000.0) is None


@pytest.mark.parametrize(
    ("cards", "zero_point"),
    [
        ({"MAGZERO": 30.0}, 30.0),
        ({"MAGZP": 19.9355}, 19.9355),
        ({"MAGZERO": "29.5 mag"}, 29.5),
        ({"PHOTZP": 25.5, "MAGZPT": 24.4}, 25.5),
        ({"MAGZERO": 29.915, "MAGZPT": 24.842}, 29.915),
        ({"MAGZPT": 24.842}, 24.842 + SECOND),
        ({"MAGZPT": 24.8, "EXTINCT": 0.1, "AIRMASS": 1.5}, 24.75 + SECOND),
        ({"FPA_DOT_ZP": 25.0}, 25.0 + SECOND),
        ({"FLUXMAG0": 1e12}, 30.0),
        ({"MAGZERO": (25.0, "[mag] zero point for 1 sec")}, 25.0 + SECOND),
        ({"MAGZP": (25.0, "mag of 1 ADU/s")}, 25.0 + SECOND),
        ({"MAGZERO": (30.0, "[mag] Mag Zero-point in magnitudes/s")}, 30.0),
        ({"MAGZERO": 0.0}, None),
        ({"MAGZERO": -999.0}, None),
        ({"MAGZERO": 99.0}, None),
        ({"MAGZERO": "unknown"}, None),
        ({"MAGZERO": True}, None),
    ],
)
def test_cards(cards, zero_point):
    found = stated(**cards)
    if zero_point is None:
        assert found is None
    else:
        assert found.value == pytest.approx(zero_point, abs=1e-6)


def test_the_unit_of_the_pixels_comes_first():
    """As in Legacy Survey's coadds, and in calibrated frames of SDSS without a unit."""
    assert stated(BUNIT="nanomaggy", MAGZERO=25.0).origin == "BUNIT nanomaggy"
    assert stated(NMGY=0.0048, PCALIB="somewhere", MAGZERO=25.0).value == 22.5
    assert stated(NMGY=0.0048) is None
