"""Sky coordinates against wcslib (through astropy), and headers that are not simple."""

import logging
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skyextract.datamodel.wcs import SkyWcs
from skyextract.datamodel.wcscards import wcs_cards
from skyextract.errors import ImageError
from skyextract.io.fits.file import FitsFile
from skyextract.sky.frames import SkyFrame

logging.getLogger("astropy").setLevel(logging.ERROR)

TAN = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 500.0, "CRPIX2": 450.0,
    "CRVAL1": 0.01, "CRVAL2": 85.0, "CD1_1": -7e-5, "CD1_2": 1e-5, "CD2_1": 1.1e-5, "CD2_2": 7e-5,
}  # fmt: skip
SIP = {
    **TAN, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 3, "B_ORDER": 2,
    "A_2_0": 3e-6, "A_1_1": -2e-6, "A_0_3": 1e-9, "B_0_2": 4e-6, "B_2_0": 1e-6, "B_1_1": 2e-6,
}  # fmt: skip
TPV = {
    **TAN, "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV",
    **{f"PV1_{k}": 0.01 * (-1) ** k / (1 + k) for k in range(40)}, "PV1_1": 1.01,
    **{f"PV2_{k}": 0.01 / (2 + k) for k in range(40)}, "PV2_1": 0.99,
}  # fmt: skip


def without(cards, *keys):
    return {k: v for k, v in cards.items() if k not in keys}


CASES = {
    "TAN": TAN,
    "TAN at longitude 0 near the pole": {**TAN, "CRVAL2": 89.99},
    "galactic": {**TAN, "CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
    "CROTA": {**without(TAN, "CD1_1", "CD1_2", "CD2_1", "CD2_2"),
              "CDELT1": -7e-5, "CDELT2": 8e-5, "CROTA2": 33.0},
    "PC": {**without(TAN, "CD1_1", "CD1_2", "CD2_1", "CD2_2"), "CDELT1": -7e-5, "CDELT2": 8e-5,
           "PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8},
    "PC without CDELT": {**without(TAN, "CD1_1", "CD1_2", "CD2_1", "CD2_2"),
                         "PC1_1": 1e-4, "PC2_2": 1e-4},
    "CD with CDELT": {**TAN, "CDELT1": 1.0, "CDELT2": 1.0},
    "partial CD": without(TAN, "CD1_2", "CD2_1"),
    "SIP": SIP,
    "SIP without suffix": {**SIP, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"},
    "SIP and the PV that it was made from": {**SIP, **{f"PV{i}_{k}": 0.01 * (k - 1)
                                                      for i in (1, 2) for k in (0, 1, 2, 4, 5)}},
    "SIP suffix only": {**TAN, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"},
    "TPV": TPV,
    "TPV with some PV": {**TAN, "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.0,
                         "PV1_5": 0.1, "PV2_0": 0.001, "PV2_1": 1.001},
    "ZPN": {**TAN, "CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_3": 40.0},
    "SIN": {**TAN, "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"},
    "GLS of AIPS": {**TAN, "CTYPE1": "RA---GLS", "CTYPE2": "DEC--GLS", "CRVAL2": 20.0},
    "NCP of AIPS": {**TAN, "CTYPE1": "RA---NCP", "CTYPE2": "DEC--NCP", "CRVAL2": 60.0},
    "CAR": {**TAN, "CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRVAL2": 0.0},
    "latitude first": {**TAN, "CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 5.0},
    "LONPOLE": {**TAN, "LONPOLE": 170.0},
    "pole": {**TAN, "CRVAL2": 90.0},
    "arcsec": {**TAN, "CUNIT1": "arcsec", "CUNIT2": "arcsec", "CD1_1": -0.2, "CD1_2": 0.0,
               "CD2_1": 0.0, "CD2_2": 0.2, "CRVAL1": 36000.0, "CRVAL2": 36000.0},
    "three axes": {**TAN, "WCSAXES": 3, "CTYPE3": "FREQ", "CRVAL3": 1.0, "CRPIX3": 1.0,
                   "CD3_3": 1.0},
}  # fmt: skip


def astropy_wcs(cards):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(fits.Header(cards))
        return wcs.celestial if wcs.naxis > 2 else wcs


def arcsec(lon1, lat1, lon2, lat2):
    """Distance on the sky; in the small-angle form that keeps its digits."""
    dlon = (np.asarray(lon1) - lon2 + 180.0) % 360.0 - 180.0
    return 3600.0 * np.hypot(dlon * np.cos(np.radians(lat1)), np.asarray(lat1) - lat2)


def positions(width=1000.0, height=900.0, n=300):
    rng = np.random.default_rng(2)
    return rng.uniform(-10.0, width + 10.0, n), rng.uniform(-10.0, height + 10.0, n)


def assert_as_astropy(cards, width=1000.0, height=900.0):
    ours, theirs = SkyWcs.from_header(cards), astropy_wcs(cards)
    x, y = positions(width, height)
    lon, lat = ours.to_sky(x, y)
    world = theirs.all_pix2world(x, y, 0)
    expected = world if theirs.wcs.lng == 0 else world[::-1]
    assert np.max(arcsec(lon, lat, *expected)) < 1e-8  # 3e-12 deg
    assert ((lon >= 0) & (lon < 360)).all()
    back = ours.to_pixel(lon, lat)
    np.testing.assert_allclose(back, (x, y), atol=1e-6)
    return ours


@pytest.mark.parametrize("name", CASES)
def test_as_wcslib(name):
    assert_as_astropy(CASES[name])


def test_scamp_tan_with_pv_is_tpv():
    old = {**TPV, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    ours, theirs = SkyWcs.from_header(old), SkyWcs.from_header(TPV)
    np.testing.assert_array_equal(ours.to_sky(*positions()), theirs.to_sky(*positions()))
    assert ours.to_header()["CTYPE1"] == "RA---TPV"


def test_tpv_without_coefficients_is_tan():
    """As in SCAMP; wcslib would map all pixels to CRVAL."""
    tpv = SkyWcs.from_header({**TAN, "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"})
    assert tpv.to_header() == TAN


@pytest.mark.parametrize(
    "given", [{"PV1_1": 1.0}, {"PV2_1": 1.0, "PV2_5": 0.1}, {"PV1_0": 0.01, "PV1_4": 0.1}]
)
def test_tpv_without_a_linear_term(given, sextractor_position, capfd):
    """PVi_1 is 0 where other coefficients are given, for wcslib and in SExtractor and SCAMP."""
    cards = {**TAN, "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CRVAL2": 35.0, **given}
    wcs = SkyWcs.from_header(cards)
    x, y, lon, lat = sextractor_position(cards)
    assert arcsec(*wcs.to_sky(x, y), lon, lat) < 0.01
    assert arcsec(*wcs.to_sky(x, y), *astropy_wcs(cards).all_pix2world(x, y, 0)) < 1e-8
    with pytest.raises(ImageError, match="singular"):
        wcs.check()
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def sextractor_position(tmp_path, source_extractor):
    """Return a function from cards to the 0-based pixel of a star and its place on the sky."""

    def measure(cards):
        y, x = np.mgrid[:100, :100]
        image = 5000.0 * np.exp(-((x - 20.0) ** 2 + (y - 30.0) ** 2) / 4.0)
        image += np.random.default_rng(1).normal(100.0, 1.0, image.shape)
        fits.PrimaryHDU(image, fits.Header(cards)).writeto(tmp_path / "image.fits")
        names = ["X_IMAGE", "Y_IMAGE", "X_WORLD", "Y_WORLD"]
        (tmp_path / "list.param").write_text("\n".join(names))
        subprocess.run(
            [source_extractor, "image.fits", "-PARAMETERS_NAME", "list.param", "-FILTER", "N",
             "-CATALOG_TYPE", "ASCII", "-DETECT_THRESH", "50"],
            cwd=tmp_path, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        x, y, lon, lat = np.loadtxt(tmp_path / "test.cat")
        return x - 1.0, y - 1.0, lon, lat

    return measure


def test_numbers_written_as_text():
    wcs = SkyWcs.from_header({**TAN, "CRVAL1": "0.01", "CD1_1": " -7e-5"})
    assert wcs.to_header() == TAN


def test_astropy_is_imported_when_it_is_needed():
    code = (
        "import sys\nfrom skyextract.datamodel.wcs import SkyWcs\n"
        f"w = SkyWcs.from_header({SIP!r})\nprint('astropy' in sys.modules)\n"
        "w.to_pixel(*w.to_sky(3.0, 4.0))\nprint('astropy.wcs' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_shared_frames(shared_data):
    n = 0
    for path in sorted(shared_data.rglob("*.f*")) + sorted(shared_data.rglob("*.mt")):
        if ".fit" not in path.name and path.suffix != ".mt":
            continue
        if path.parent.name in ("wcs", "tnx"):  # dialects, see tests/sky/test_iraf.py
            continue
        with FitsFile(str(path)) as file:
            units = list(file.units)
        for unit in units:
            if unit.kind in ("IMAGE", "COMPRESSED") and len(unit.shape) == 2:
                if SkyWcs.from_header(unit.header) is None:
                    continue
                assert_as_astropy(wcs_cards(unit.header), *unit.shape)
                n += 1
    assert n > 15


def test_scamp_head(shared_data):
    """A .head of SCAMP has the WCS of its own frame in it."""
    from skyextract.io.images.images import read_head_file
    from skyextract.run import Run

    folder = shared_data / "sdss_stripe82" / "reference_outputs"
    (head,) = read_head_file(str(folder / "scamp_004192-r4-0300.fits"), ".head", Run())
    wcs = SkyWcs.from_header(head)
    assert wcs.to_header()["CTYPE1"] in ("RA---TPV", "RA---TAN")
    lon, lat = wcs.to_sky(*positions(2000.0, 1400.0))
    np.testing.assert_allclose(wcs.to_pixel(lon, lat), positions(2000.0, 1400.0), atol=1e-6)


@pytest.mark.parametrize("cards", [TAN, SIP, TPV, CASES["SIN"]])
def test_failures_are_nan(cards):
    wcs = SkyWcs.from_header(cards)
    lon = np.array([0.01, 180.0, np.nan, 0.01])
    lat = np.array([85.0, -80.0, 3.0, np.inf])
    x, y = wcs.to_pixel(lon, lat)
    assert np.isfinite(x).tolist() == np.isfinite(y).tolist() == [True, False, False, False]
    lon, lat = wcs.to_sky(np.array([np.nan, 3.0, 1e300]), np.array([1.0, np.inf, 1.0]))
    assert np.isnan(lon[:2]).all()
    assert np.isnan(lat[:2]).all()


def test_shapes():
    wcs = SkyWcs.from_header(TAN)
    lon, lat = wcs.to_sky(3.0, 4.0)
    assert lon.shape == lat.shape == ()
    lon, lat = wcs.to_sky(np.zeros((2, 3)), np.zeros((2, 3)))
    assert lon.shape == (2, 3)
    lon, _ = wcs.to_sky(np.zeros(0), np.zeros(0))
    assert lon.shape == (0,)
    assert wcs.jacobian(np.zeros((2, 3)), np.zeros((2, 3))).shape == (2, 3, 2, 2)


@pytest.mark.parametrize("name", ["TAN", "TAN at longitude 0 near the pole", "SIP", "TPV"])
def test_jacobian_against_finite_differences(name):
    """At the pole too: distances on the sphere between neighbouring pixels."""
    wcs = SkyWcs.from_header(CASES[name])
    x, y = positions(n=50)
    j = wcs.jacobian(x, y)
    for dx, dy in ((0.3, 0.0), (0.0, 0.3), (0.2, -0.2)):
        lon1, lat1 = (np.radians(c) for c in wcs.to_sky(x - dx, y - dy))
        lon2, lat2 = (np.radians(c) for c in wcs.to_sky(x + dx, y + dy))
        hav = np.sin((lat2 - lat1) / 2) ** 2
        hav += np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
        distance = np.degrees(2 * np.arcsin(np.sqrt(hav)))
        step = 2 * np.hypot(*(j @ np.array([dx, dy])).T)
        np.testing.assert_allclose(step, distance, rtol=1e-7)


def test_scale_rotation_parity():
    angle = math.radians(30.0)
    cards = {
        **TAN, "NAXIS1": 1000, "NAXIS2": 900, "CRPIX1": 500.5, "CRPIX2": 450.5,
        "CD1_1": -1e-4 * math.cos(angle), "CD1_2": 1e-4 * math.sin(angle),
        "CD2_1": 1e-4 * math.sin(angle), "CD2_2": 1e-4 * math.cos(angle),
    }  # fmt: skip
    wcs = SkyWcs.from_header(cards)
    assert wcs.shape == (900, 1000)
    assert wcs.centre == (499.5, 449.5)
    assert wcs.pixel_scale() == pytest.approx(0.36, rel=1e-7)
    assert wcs.rotation == pytest.approx(30.0, abs=1e-4)
    assert wcs.parity == -1
    assert wcs.pixel_ratio == pytest.approx(1.0, abs=1e-6)
    binned = SkyWcs.from_header(
        {**cards, "CD1_2": 2.0 * cards["CD1_2"], "CD2_2": 2.0 * cards["CD2_2"]}
    )
    assert binned.pixel_ratio == pytest.approx(0.5, abs=1e-6)
    mirrored = SkyWcs.from_header({**cards, "CD1_1": -cards["CD1_1"], "CD2_1": -cards["CD2_1"]})
    assert mirrored.parity == 1
    assert mirrored.rotation == pytest.approx(30.0, abs=1e-4)


@pytest.mark.parametrize(
    ("cards", "frame"),
    [
        ({}, SkyFrame("ICRS", 2000.0)),
        ({"RADESYS": "FK5"}, SkyFrame("FK5", 2000.0)),
        ({"RADECSYS": "FK5 ", "EQUINOX": 2000}, SkyFrame("FK5", 2000.0)),
        ({"RADESYS": "ICRS", "EQUINOX": 2000.0}, SkyFrame("ICRS", 2000.0)),
        ({"EQUINOX": 2000.0}, SkyFrame("FK5", 2000.0)),
        ({"EQUINOX": "J2000"}, SkyFrame("FK5", 2000.0)),
        ({"EPOCH": 1950.0}, SkyFrame("FK4", 1950.0)),
        ({"RADESYS": "FK4"}, SkyFrame("FK4", 1950.0)),
        ({"EQUINOX": 1975.0}, SkyFrame("FK4", 1975.0)),
        ({"RADESYS": "FK5", "EQUINOX": 1975.0}, SkyFrame("FK5", 1975.0)),
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, SkyFrame("GALACTIC")),
        ({"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"}, SkyFrame("ECLIPTIC")),
        (
            {"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN", "EQUINOX": 1950.0},
            SkyFrame("ECLIPTIC", 1950.0),
        ),
    ],
)
def test_frames(cards, frame):
    assert SkyWcs.from_header({**TAN, **cards}).frame == frame


@pytest.mark.parametrize(
    "cards",
    [
        {}, {"CTYPE1": "x-unit", "CTYPE2": "y-unit"}, {"CTYPE1": "", "CTYPE2": ""},
        {"CTYPE1": "RA", "CTYPE2": "DEC"}, {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {"CTYPE1": 3, "CTYPE2": None},
    ],
)  # fmt: skip
def test_no_sky(cards):
    assert SkyWcs.from_header({**without(TAN, "CTYPE1", "CTYPE2"), **cards}) is None


@pytest.mark.parametrize(
    "cards",
    [
        without(TAN, "CRVAL1"),
        without(TAN, "CRPIX2"),
        without(TAN, "CD1_1", "CD1_2", "CD2_1", "CD2_2"),
        {**TAN, "CD1_1": 0.0, "CD2_1": 0.0},
        {**TAN, "CRVAL1": "nan"},
        {**TAN, "CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"},
        {**TAN, "CTYPE1": "GLON-TAN"},
        {**TAN, "CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"},
        {**TAN, "CTYPE1": "HLON-CAR", "CTYPE2": "HLAT-CAR"},
        {**TAN, "CPDIS1": "LOOKUP"},
        {**without(TAN, "CD1_1", "CD1_2", "CD2_1", "CD2_2"), "CDELT1": 0.0, "CDELT2": 1.0},
    ],
)
def test_broken(cards, capfd):
    with pytest.raises(ImageError) as caught:
        SkyWcs.from_header(cards)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_header_round_trip():
    for cards in (TAN, SIP, TPV, CASES["ZPN"]):
        wcs = SkyWcs.from_header({**cards, "NAXIS1": 10, "OBJECT": "x"})
        assert wcs.to_header() == cards
        again = SkyWcs.from_header(wcs.to_header())
        np.testing.assert_array_equal(again.to_sky(*positions()), wcs.to_sky(*positions()))


def test_what_only_wcslib_can_refuse():
    wcs = SkyWcs.from_header({**TAN, "CUNIT1": "furlong", "CUNIT2": "furlong"})
    with pytest.raises(ImageError, match="WCS is not usable"):
        wcs.check()


DIALECTS = {
    "lower case": ({"CTYPE1": "ra---tan", "CTYPE2": "dec--tan"}, {}, 0),
    "dashes": ({"CTYPE1": "RA--TAN", "CTYPE2": "DEC-TAN"}, {}, 0),
    "blanks": ({"CTYPE1": " RA---TAN ", "CTYPE2": "DEC--TAN"}, {}, 0),
    "CD beside PC": ({"PC1_1": 0.5, "PC1_2": -0.8, "PC2_1": 0.8, "PC2_2": 0.5, "CDELT1": -3e-4,
                      "CDELT2": 3e-4}, {}, 1),
    "CD beside CROTA": ({"CDELT1": -3e-4, "CDELT2": 3e-4, "CROTA2": 40.0}, {}, 0),
    "PV that are no distortion": ({"PV2_1": 0.0, "PV2_2": 0.0}, {}, 1),
    "EPOCH as a date": ({"EPOCH": 2023.45}, {"RADESYS": "ICRS"}, 1),
    "EPOCH as a date in text": ({"EPOCH": "2021.3"}, {"RADESYS": "ICRS"}, 1),
    "EPOCH as an equinox": ({"EPOCH": 2000.0}, {"EQUINOX": 2000.0}, 0),
    "EPOCH beside RADESYS": ({"EPOCH": 2023.45, "RADESYS": "ICRS"}, {"RADESYS": "ICRS"}, 0),
    "old EPOCH": ({"EPOCH": 1950.0}, {"EQUINOX": 1950.0}, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects(name):
    """What contradicts itself is read as what was meant, and told."""
    cards, meant, notes = DIALECTS[name]
    wcs = SkyWcs.from_header({**TAN, **cards, "NAXIS1": 1000, "NAXIS2": 900})
    right = SkyWcs.from_header({**TAN, **meant, "NAXIS1": 1000, "NAXIS2": 900})
    x, y = positions(900, 1000)
    np.testing.assert_allclose(wcs.to_j2000(x, y), right.to_j2000(x, y), atol=1e-11)
    assert len(wcs.notes) == notes


def test_plate_solution(shared_data):
    """A scan of the Digitized Sky Survey whose only WCS is that of the plate: RCW 49."""
    header = fits.getheader(shared_data / "world/real/rcw49.fits.gz")
    expected = astropy_wcs(header)
    for keyword in wcs_cards(header):
        if keyword not in ("EQUINOX", "EPOCH"):
            header.remove(keyword, remove_all=True)
    wcs = SkyWcs.from_header(header)
    wcs.check()
    x, y = positions(1190.0, 1188.0)
    assert np.max(arcsec(*wcs.to_sky(x, y), *expected.all_pix2world(x, y, 0))) < 1e-6
    np.testing.assert_allclose(wcs.to_pixel(*wcs.to_sky(x, y)), (x, y), atol=1e-4)
    assert wcs.frame == SkyFrame("FK5", 2000.0)
    header.remove("AMDX1")
    assert SkyWcs.from_header(header) is None
