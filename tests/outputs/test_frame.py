"""What a header says of a frame, for the summary and the night."""

from __future__ import annotations

import math

import pytest
from astropy.coordinates import EarthLocation
from astropy.io import fits
from astropy.time import Time

from skyextract.outputs.frame import FRAME_FIELDS, frame_facts


def facts(camera: str = "", seconds: float = math.nan, **cards: object) -> dict[str, object]:
    return frame_facts(fits.Header(cards), seconds, camera)


def test_an_empty_header_tells_nothing():
    assert frame_facts(None, math.nan) == dict.fromkeys(FRAME_FIELDS)
    assert facts() == dict.fromkeys(FRAME_FIELDS)


def test_values_of_the_header():
    found = facts(
        "sinistro", 30.0, OBJECT=" M31 ", FILTER="rp", AIRMASS="1.25", TELESCOP="1m0-05",
        INSTRUME="fa15",
    )  # fmt: skip
    assert list(found) == list(FRAME_FIELDS)
    assert found["object"] == "M31"
    assert found["filter"] == "rp"
    assert found["exposure_time"] == 30.0
    assert found["airmass"] == 1.25
    assert (found["telescope"], found["instrument"]) == ("1m0-05", "fa15")
    assert found["camera"] == "sinistro"


@pytest.mark.parametrize("value", [0.0, -1.2, 99.0, "unknown", math.inf])
def test_an_airmass_that_cannot_be_is_unknown(value):
    header = {"AIRMASS": value} if value != math.inf else {"AIRMASS": "inf"}
    assert facts(**header)["airmass"] is None


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"DATE-OBS": "2021-03-04T05:06:07.25"}, "2021-03-04T05:06:07.250"),
        ({"DATE-OBS": "04/03/21", "TIME-OBS": "05:06:07.25"}, "2021-03-04T05:06:07.250"),
        ({"DATE-OBS": "2021-03-04", "UT": "05:06:07.25"}, "2021-03-04T05:06:07.250"),
        ({"DATE-OBS": "2021-03-04T00:00:00"}, "2021-03-04T00:00:00.000"),
        ({"MJD-OBS": 59277.5}, "2021-03-04T12:00:00.000"),
    ],
)
def test_dates_as_astropy_has_them(cards, expected):
    found = frame_facts(fits.Header(cards), math.nan)
    assert found["date_obs"] == expected
    assert found["mjd"] == pytest.approx(Time(expected, scale="utc").mjd, abs=1e-8)


@pytest.mark.parametrize(
    "cards",
    [
        {"DATE-OBS": "2026-03-03T06:01:09.184", "TIMESYS": "TDB"},
        {"DATE-OBS": "2026-03-03T06:00:37", "TIMESYS": "tai"},
        {"MJD-OBS": 61102.25 + 18.0 / 86400.0, "TIMESYS": "GPS"},
        {"DATE-OBS": "2026-03-03", "UT": "06:00:37", "TIMESYS": "TAI"},
        {"DATE-OBS": "2026-03-03T06:00:00Z", "TIMESYS": "TDB"},
        {"DATE-OBS": "2026-03-03T06:00:00", "TIMESYS": "UTC"},
        {"DATE-AVG": "2026-03-03T06:00:30"},
        {"DATE-AVG": "2026-03-03T06:00:30", "DATE-BEG": "2026-03-03T06:00:00"},
        {"MJD-END": 61102.25 + 60.0 / 86400.0},
        {"DATE-OBS": "2026-03-03", "UT": 6.0},
        {"DATE-OBS": "2026-03-03", "UTC": 21600.0},
    ],
)
def test_the_start_of_an_exposure_is_utc(cards):
    assert frame_facts(fits.Header(cards), 60.0)["mjd"] == pytest.approx(61102.25, abs=1e-8)


@pytest.mark.parametrize("scale", ["TAI", "TT", "TDB"])
def test_leap_seconds_of_old_dates(scale):
    time = Time("1999-01-01T06:00:00", scale="utc")
    header = fits.Header({"DATE-OBS": getattr(time, scale.lower()).isot, "TIMESYS": scale})
    assert frame_facts(header, math.nan)["mjd"] == pytest.approx(time.mjd, abs=0.003 / 86400.0)


def test_a_day_alone_is_no_instant():
    found = frame_facts(fits.Header({"DATE-OBS": "1955-11-17"}), math.nan)
    assert (found["date_obs"], found["mjd"]) == ("1955-11-17", None)


def test_an_unset_clock_is_no_date():
    found = frame_facts(fits.Header({"DATE-OBS": "1970-01-01T00:00:00"}), math.nan)
    assert (found["date_obs"], found["mjd"]) == (None, None)


@pytest.mark.parametrize(
    ("camera", "name"),
    [("AUTO", None), ("NONE", None), ("Sinistro", "sinistro"), ("night/my.conf", "my")],
)
def test_names_of_cameras(camera, name):
    assert facts(camera)["camera"] == name


CTIO = {
    "DATE-OBS": "2017-11-12T03:10:00",
    "RA": "02:05:00",
    "DEC": "-05:00:00",
    "OBS-LAT": -30.16606,
}


@pytest.mark.parametrize("longitude", [-70.81489, 70.81489, 289.18511])
def test_a_site_whose_longitude_counts_to_the_west(longitude):
    found = facts(**CTIO, **{"OBS-LONG": longitude, "OBS-ELEV": 2215.0, "AIRMASS": 1.14})
    assert found["site"]["longitude"] == pytest.approx(-70.81489)
    assert found["site"]["height"] == 2215.0
    assert found["ra"] == pytest.approx(31.25)
    assert found["dec"] == -5.0


def test_places_in_other_forms():
    place = EarthLocation.from_geodetic(-111.6, 31.96, 2096.0)
    keys = ("OBSGEO-X", "OBSGEO-Y", "OBSGEO-Z")
    geocentric = dict(zip(keys, (axis.value for axis in place.geocentric), strict=True))
    for cards in (geocentric, {"SITELAT": "31d57m36s N", "SITELONG": "111d36m00s W",
                               "SITEELEV": 2096.0}):  # fmt: skip
        site = facts(**cards)["site"]
        assert site == pytest.approx(
            {"longitude": -111.6, "latitude": 31.96, "height": 2096.0}, abs=1e-4
        )
    orbit = {key: 1.1 * value for key, value in geocentric.items()}
    assert facts(**orbit)["site"] is None


def test_a_site_that_contradicts_the_airmass_is_none():
    assert facts(**CTIO, **{"OBS-LONG": 20.0, "AIRMASS": 1.14})["site"] is None
    assert facts(**CTIO)["site"] is None
