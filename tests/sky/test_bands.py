"""Filters of headers against columns of common catalogues."""

from __future__ import annotations

import pytest

from skyextract.errors import StepError
from skyextract.sky.bands import (
    color_columns,
    column_bands,
    filter_band,
    frame_filter,
    resolve_band,
)

SDSS = ["u", "g", "r", "i", "z"]
PS1 = [f"{b}{kind}" for b in "grizy" for kind in ("MeanPSFMag", "MeanKronMag", "MeanApMag")]
PS1_VIZIER = ["gmag", "rmag", "imag", "zmag", "ymag"]
GAIA = ["phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag"]
GAIA_VIZIER = ["Gmag", "BPmag", "RPmag"]
TWOMASS = ["j_m", "h_m", "k_m"]
TWOMASS_VIZIER = ["Jmag", "Hmag", "Kmag"]
APASS = ["Bmag", "Vmag", "g'mag", "r'mag", "i'mag"]
TYCHO = ["BTmag", "VTmag"]


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("r", "r"), ("r'", "r"), ("rp", "r"), ("SDSS r", "r"), ("sdss_g", "g"), ("SDSS-R", "r"),
        ("HSC-I", "i"), ("ZTF_r", "r"),
        ("ZTF g", "g"), ("Pan-STARRS i", "i"), ("SkyMapper_z", "z"),
        ("r DECam SDSS c0002 6415.0 1480.0", "r"), ("g.00000", "g"), ("i2", "i"),
        ("R#642", "R"), ("i#705", "i"), ("R_SPECIAL", "R"), ("BB#Rc/162_ESO844", "R"),
        ("W-C-RC", "R"), ("W-J-V", "V"), ("W-S-I+", "i"), ("odi_g", "g"), ("John R", "R"),
        ("R_Bes 650_130", "R"), ("r'_SDSS 625_140", "r"),
        ("r.MP9601", "r"), ("r_G0326", "r"), ("J_G0202", "J"),
        ("Kprime_G0206", ""), ("K_G0204", "Ks"), ("zs", "z"),
        ("R", "R"), ("Rc", "R"), ("Bessell R", "R"),
        ("Johnson V", "V"), ("V", "V"), ("Ks", "Ks"), ("K", "Ks"), ("J", "J"), ("Gaia G", "G"),
        ("G_BP", "BP"), ("Grp", "RP"), ("Gaia RP", "RP"),
        ("G", ""), ("Halpha", ""), ("", ""), ("RGGB", ""), ("Y", ""),
    ],
)  # fmt: skip
def test_filters(name, band):
    assert filter_band(name) == band


@pytest.mark.parametrize(
    ("names", "bands"),
    [
        (SDSS, SDSS),
        (["U", "G", "R", "I", "Z"], SDSS),
        (PS1_VIZIER, list("grizy")),
        (GAIA, ["G", "BP", "RP"]),
        (GAIA_VIZIER, ["G", "BP", "RP"]),
        (TWOMASS, ["J", "H", "Ks"]),
        (TWOMASS_VIZIER, ["J", "H", "Ks"]),
        (APASS, ["B", "V", "g", "r", "i"]),
        (TYCHO, ["BT", "VT"]),
        (["r_mag"], ["r"]),
        (["psfMag_r", "modelMag_r"], ["r", "r"]),
        (["U", "B", "V", "R", "I"], list("UBVRI")),
    ],
)
def test_columns(names, bands):
    assert list(column_bands(names).values()) == bands


def test_columns_that_tell_nothing_have_no_band():
    assert column_bands(["mag", "MAG_AUTO", "distance"]) == {}


@pytest.mark.parametrize(
    ("filter_name", "names", "key", "system"),
    [
        ("r", SDSS, "r", "AB"),
        ("i", PS1, "iMeanPSFMag", "AB"),
        ("g", [*PS1_VIZIER, *GAIA_VIZIER], "gmag", "AB"),
        ("V", APASS, "Vmag", "Vega"),
        ("Gaia G", GAIA, "phot_g_mean_mag", "Vega"),
        ("G", GAIA, "phot_g_mean_mag", "Vega"),
        ("G_RP", GAIA, "phot_rp_mean_mag", "Vega"),
        ("Ks", TWOMASS, "k_m", "Vega"),
        ("r", ["psfMag_r", "modelMag_r"], "psfMag_r", "AB"),
        ("F606W", ["F606W", "F814W"], "F606W", ""),
        ("Ha", ["r", "Ha_mag"], "Ha_mag", ""),
    ],
)
def test_the_band_of_a_frame(filter_name, names, key, system):
    band = resolve_band(filter_name, names)
    assert (band.key, band.system) == (key, system)


@pytest.mark.parametrize(
    ("filter_name", "names", "message"),
    [
        ("", SDSS, "without a band"),
        ("Halpha", SDSS, "not a known band"),
        ("r", GAIA, "phot_g_mean_mag"),
        ("R", SDSS, "band R"),
        ("r", ["rmag", "r_mag"], "rmag or r_mag"),
        ("r", ["mag"], "PHOTREF_MAG_KEY"),
        ("r", [], "no magnitudes"),
    ],
)
def test_missing_and_ambiguous_bands_list_the_choices(filter_name, names, message):
    with pytest.raises(StepError, match=message):
        resolve_band(filter_name, names)


def test_a_named_column_wins():
    assert resolve_band("", GAIA, "PHOT_G_MEAN_MAG").key == "phot_g_mean_mag"
    with pytest.raises(StepError, match="no magnitude column V"):
        resolve_band("V", SDSS, "V")


def test_colours():
    assert color_columns("r", SDSS) == ("g", "r")
    assert color_columns("G", GAIA) == ("phot_bp_mean_mag", "phot_rp_mean_mag")
    assert color_columns("r", ["r_mag"]) is None
    assert color_columns("", SDSS) is None


def test_the_filter_in_the_beam():
    assert frame_filter({"FILTER1": "open", "FILTER2": " R "}) == "R"
    assert frame_filter({"FILTER": "Clear"}) == ""
    assert frame_filter({"FILTER": 3}) == "3"
    assert frame_filter({"FILTER": 3, "FILTER2": "R"}) == "R"
    assert frame_filter({"FILTER": 3, "FILTER1": "open"}) == ""
    assert frame_filter({"FILTER": True}) == ""
    assert frame_filter(None) == ""


@pytest.mark.parametrize(("names", "band"), [
    (["g", "bp", "rp"], "G"), (["g_mag", "bp_mag", "rp_mag"], "G"), (["g", "r", "i"], "g"),
    (["G", "g", "bp", "rp"], "g"), (["Gaia", "BP", "RP", "g", "r", "i"], "g"), (["g"], "g"),
])  # fmt: skip
def test_a_lower_case_g_beside_bp_and_rp_is_gaias(names, band):
    assert column_bands(names)[next(name for name in names if name.startswith("g"))] == band


def test_a_bare_g_beside_johnson_is_not_sloans():
    """The green of a set of colours: APASS has V, which is nearer, and g."""
    with pytest.raises(StepError, match="'G' could be Vmag or gmag; set PHOTREF_MAG_KEY"):
        resolve_band("G", ["Bmag", "Vmag", "gmag", "rmag"])
    assert resolve_band("G", ["gmag", "rmag"]).key == "gmag"
    assert resolve_band("g", ["Bmag", "Vmag", "gmag", "rmag"]).key == "gmag"
