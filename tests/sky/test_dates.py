"""Dates of headers in the forms that people write, against numpy's."""

import math

import numpy as np
import pytest
from astropy.io import fits

from skyextract.sky.dates import doubtful_dates, frame_date, parse_mjd


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2016-09-09T08:12:26", None), ("2003-10-19", None), ("2023-07-02T03:04:05.678Z", None),
        ("2023-07-02 23:59:60", "2023-07-03"), ("2023/07/02", "2023-07-02"),
        ("2023.07.02", "2023-07-02"), ("2023:07:02T12:00", "2023-07-02T12:00:00"),
        ("20230702", "2023-07-02"), ("20230702T120000", "2023-07-02T12:00:00"),
        ("20230702 120000.5", "2023-07-02T12:00:00.5"), ("2023-07-01T20:30-0530", "2023-07-02T02"),
        ("2023-07-02T05:00:00+02:00", "2023-07-02T03"),
        ("2023-07-02T05:00:00.25+02", "2023-07-02T03:00:00.25"),
        ("02/07/2023", "2023-07-02"), ("07/22/2023", "2023-07-22"), ("02/07/23", "2023-07-02"),
        ("19/10/97", "1997-10-19"), ("12/04/53", "1953-04-12"), ("2.7.2023", "2023-07-02"),
        ("2-Jul-2023", "2023-07-02"), ("July 2, 2023", "2023-07-02"),
        ("Sun Jul  2 03:04:05 2023", "2023-07-02T03:04:05"), ("02 JUL 23", "2023-07-02"),
        ("'2023-07-02'", "2023-07-02"),
    ],
)  # fmt: skip
def test_text(text, iso):
    moment = np.datetime64(iso or text.rstrip("Z"), "ms")
    days = (moment - np.datetime64("1858-11-17")) / np.timedelta64(1, "D")
    assert parse_mjd(text) == pytest.approx(float(days), abs=1e-8)


@pytest.mark.parametrize(
    ("number", "mjd"), [(58070.25, 58070.25), (2451545.0, 51544.5), ("2451545.0", 51544.5)]
)
def test_numbers(number, mjd):
    assert parse_mjd(number) == mjd


@pytest.mark.parametrize(
    "value",
    ["yesterday", "1858-11-17", "1858-11-17T00:00:00", 0, 0.0, "1970-01-01T00:00:12", "31/02/2023",
     "2023", 2023, True, "0000-00-00", "3023-01-01", "99/99/99", -1.0, math.inf, math.nan, "June",
     "12:34:56", 1e300],
)  # fmt: skip
def test_no_date_of_a_frame(value):
    assert math.isnan(parse_mjd(value))


def test_the_first_card_that_can_be_is_taken():
    header = fits.Header({"MJD-OBS": 0.0, "DATE-OBS": "1858-11-17", "JD": 2451545.0})
    found = frame_date(header)
    assert (found.year, found.card) == (2000.0, "JD")
    assert found.refused == ("MJD-OBS = 0.0", "DATE-OBS = '1858-11-17'")
    nothing = frame_date({"DATE-OBS": " "})
    assert math.isnan(nothing.year)
    assert (nothing.card, nothing.refused) == ("", ())


@pytest.mark.parametrize(("cards", "told"), [
    ({"DATE-OBS": "2023-03-01T05:00:00", "MJD-OBS": 60004.2083}, ""),
    ({"DATE-OBS": "2023-03-01", "MJD-OBS": 60005.1, "JD": 2460004.7}, ""),
    ({"DATE-OBS": "2023-03-01", "MJD-AVG": 60300.0}, ""),  # the middle of a stack of a year
    ({"DATE-OBS": "2023-03-01", "MJD-OBS": "unknown", "JD": 0.0}, ""),
    ({"MJD-OBS": 55555.3}, ""),
    ({}, ""),
    ({"DATE-OBS": "2023-03-01T05:00:00", "TIMESYS": "LOCAL"}, "DATE-OBS is taken for UTC"),
    ({"DATE-OBS": "2023-03-01T05:00:00", "MJD-OBS": 55555.3}, "12.2 years apart: MJD-OBS is taken"),
    ({"DATE-OBS": "2023-03-01T05:00:00", "JD": 2460104.5}, "100 days apart: DATE-OBS is taken"),
    ({"DATE-OBS": "2026-02-30T03:00:00"}, "in DATE-OBS = '2026-02-30T03:00:00'"),
])  # fmt: skip
def test_cards_that_contradict_each_other(cards, told):
    found = doubtful_dates(cards)
    assert told in found
    assert bool(found) == bool(told)
