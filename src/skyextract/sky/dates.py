"""When a frame was taken: the date cards of headers in the forms that people write."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping
from datetime import date
from typing import Any

from skyextract.record import record
from skyextract.sky.angles import parse_angle

DATE_KEYS = (
    "MJD-OBS", "DATE-OBS", "MJD-BEG", "DATE-BEG", "MJD-AVG", "DATE-AVG", "MJD-MID", "MJD",
    "JD", "JD-OBS", "JD_UTC", "DATE_OBS", "DATEOBS", "UTDATE", "UT-DATE", "MJD-END", "DATE-END",
    "DATE-LOC",
)  # fmt: skip
"""Cards in order of preference; the first with a date that can be is taken."""

AT_START = ("MJD-OBS", "DATE-OBS", "MJD-BEG", "DATE-BEG", "MJD", "JD", "JD-OBS", "JD_UTC")
"""Those of the beginning of an exposure, or of some time in it."""

INTO_EXPOSURE = {
    "MJD-AVG": 0.5, "DATE-AVG": 0.5, "MJD-MID": 0.5, "MJD-END": 1.0, "DATE-END": 1.0,
}  # fmt: skip
"""Of others: the part of the exposure that has passed."""

MAX_APART = 10.0
"""Days that these may differ by: local dates, frames of a few nights."""

UNSET_CLOCKS = frozenset(
    date(*ymd)
    for ymd in (
        (1858, 11, 17), (1899, 12, 30), (1899, 12, 31), (1900, 1, 1), (1904, 1, 1),
        (1970, 1, 1), (1980, 1, 6),
    )
)  # fmt: skip
"""Where the clocks of computers and cameras start to count."""

FIRST_YEAR, LAST_YEAR = 1880, 2100
"""Between them a frame can have been taken: photographic plates are the first."""

CENTURY = 30
"""A year of two digits below this is of this century, any other of the last."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = re.compile(
    r"[T ](?:(\d{1,2})[:h](\d{1,2})(?:[:m](\d{1,2}(?:\.\d*)?))?|(\d\d)(\d\d)(\d\d(?:\.\d*)?))"
    r"s?(?:\s*([+-])(\d\d):?(\d\d)?$)?"
)
"""Hours, minutes and seconds, with colons or letters between them or with nothing, and how far the
clock is ahead of UTC, as ISO 8601 has it."""
_MJD_2000 = 51544
_MJD_J2000 = 51544.5


@record
class FrameDate:
    """When a frame was taken, as its header tells.

    Attributes
    ----------
    mjd : float
        Modified Julian date; NaN if the header does not tell.  Time scales are ignored.
    card : str
        The keyword that it is from; empty if none.
    refused : tuple of str
        Cards with a value that is no date of an observation, as ``DATE-OBS = '1858-11-17'``.
    """

    mjd: float
    card: str
    refused: tuple[str, ...]

    @property
    def year(self) -> float:
        """The Julian year; NaN if unknown."""
        return 2000.0 + (self.mjd - _MJD_J2000) / 365.25


def frame_date(header: Mapping[str, Any]) -> FrameDate:
    """Find the date of a frame in its header."""
    refused: list[str] = []
    for key in DATE_KEYS:
        value = header.get(key)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        mjd = parse_mjd(value)
        if math.isfinite(mjd):
            return FrameDate(mjd, key, tuple(refused))
        refused.append(f"{key} = {value!r}")
    return FrameDate(math.nan, "", tuple(refused))


def doubtful_dates(header: Mapping[str, Any]) -> str:
    """Tell of a card with another date than that taken, or that none is one; empty if neither."""
    first, message = frame_date(header), ""
    if not first.card and first.refused:
        cards = ", ".join(first.refused)
        message = f"no date of an observation in {cards}: the frame is taken to have none"
    for key in AT_START:
        mjd = math.nan if header.get(key) is None else parse_mjd(header[key])
        days = abs(mjd - first.mjd)
        if days > MAX_APART:
            apart = f"{days:.0f} days" if days < 500.0 else f"{days / 365.25:.1f} years"
            message = (
                f"{first.card} = {header[first.card]!r} and {key} = {header[key]!r} are {apart} "
                f"apart: {first.card} is taken for the date"
            )
            break
    if not message and first.card and _time_scale(header) == "LOCAL":
        message = f"TIMESYS = 'LOCAL': {first.card} is taken for UTC"
    return message


_AHEAD_OF_TAI = {
    "TAI": 0.0, "IAT": 0.0, "TT": 32.184, "TDT": 32.184, "ET": 32.184, "TDB": 32.184, "GPS": -19.0,
}  # fmt: skip
"""Seconds; TDB is TT to 2 ms."""
_LEAPS = (
    41317, 41499, 41683, 42048, 42413, 42778, 43144, 43509, 43874, 44239,
    44786, 45151, 45516, 46247, 47161, 47892, 48257, 48804, 49169, 49534,
    50083, 50630, 51179, 53736, 54832, 56109, 57204, 57754,
)  # fmt: skip
"""MJD of the leap seconds since 1972, when UTC was 10 s behind TAI."""


def ahead_of_utc(header: Mapping[str, Any], date: FrameDate) -> float:
    """Return by how many seconds the clock of a header, TIMESYS, is ahead of UTC.

    A date that ends with Z or with an offset from UTC, or a card JD_UTC, is UTC whatever TIMESYS
    says; scales that are not known, and dates before 1972, are taken as UTC.
    """
    ahead = _AHEAD_OF_TAI.get(_time_scale(header))
    text = str(header.get(date.card)).strip().upper()
    time = _TIME.search(text)
    told = date.card == "JD_UTC" or text.endswith("Z") or (time and time[7])
    if ahead is None or told or not date.mjd >= _LEAPS[0]:
        return 0.0
    return ahead + 9.0 + bisect_right(_LEAPS, date.mjd)


def _time_scale(header: Mapping[str, Any]) -> str:
    return str(header.get("TIMESYS") or "").strip().upper()


def parse_mjd(value: Any) -> float:
    """Return the modified Julian date of a card's value; NaN if it is no date of a frame.

    Numbers are MJD or JD.  Text is ISO 8601, with any of - / . : and blank between its parts (an
    offset from UTC is taken away), or a date that ends with the year: 02/07/2023, the 2 July
    unless a number above 12 tells the month; 02/07/23, FITS' old form; 2-Jul-2023; July 2, 2023.
    """
    number = math.nan if isinstance(value, bool) else _number(value)
    if 2_300_000.0 < number < 2_600_000.0:
        number -= 2_400_000.5
    if math.isfinite(number):
        day = _day(number)
    else:
        text = str(value).strip().strip("'\"")
        day = _day_of(text)
        if day is not None:
            number = _MJD_2000 + (day - date(2000, 1, 1)).days + _fraction(text)
    if day is None or day in UNSET_CLOCKS or not FIRST_YEAR <= day.year <= LAST_YEAR:
        return math.nan
    return number


def _number(value: Any) -> float:
    """Return a number that can be an MJD or JD; 20230702 and 2023 can be none."""
    text = str(value).strip()
    number = parse_angle(text, hours=False) if re.fullmatch(r"[+-]?[\d.]+", text) else math.nan
    return number if 0.0 <= number < 200_000.0 or 2.3e6 < number < 2.6e6 else math.nan


def _day(mjd: float) -> date | None:
    try:
        return date.fromordinal(date(2000, 1, 1).toordinal() + math.floor(mjd) - _MJD_2000)
    except (ValueError, OverflowError):
        return None


def _day_of(text: str) -> date | None:
    """Return the day that a text names; None if it names none."""
    lower = text.lower()
    if match := re.match(r"(\d{4})(\d\d)(\d\d)(?!\d)", lower):
        return _valid(*match.groups())
    if match := re.match(r"(\d{4})[-/.: ](\d{1,2})[-/.: ](\d{1,2})(?!\d)", lower):
        return _valid(*match.groups())
    if match := re.match(r"(\d{1,2})[-/. ](\d{1,2})[-/. ](\d{4}|\d\d)(?!\d)", lower):
        day, month, year = match.groups()
        if int(month) > 12:
            day, month = month, day
        return _valid(_full_year(year), month, day)
    found = next((m for m in re.findall(r"[a-z]+", lower) if m[:3] in _MONTHS), "")
    if not found:
        return None
    month = str(_MONTHS.index(found[:3]) + 1)
    rest = re.sub(r"\d+:[\d:.]+", " ", lower)
    numbers = re.findall(r"\d+", rest)
    years = [number for number in numbers if len(number) == 4]
    others = [number for number in numbers if len(number) <= 2]
    if not years and len(others) == 2:
        years = [_full_year(others.pop())]
    return _valid(years[0], month, others[0]) if years and others else None


def _full_year(year: str) -> str:
    if len(year) == 4:
        return year
    return f"20{year}" if int(year) < CENTURY else f"19{year}"


def _valid(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _fraction(text: str) -> float:
    """Return the time of a date's text as part of a day; 0 without one."""
    match = _TIME.search(text)
    if match is None:
        return 0.0
    first = 1 if match[1] else 4
    hours, minutes, seconds = (float(match[k] or 0.0) for k in range(first, first + 3))
    ahead = float(match[8] or 0.0) + float(match[9] or 0.0) / 60.0
    hours += ahead if match[7] == "-" else -ahead
    return (hours + minutes / 60.0 + seconds / 3600.0) / 24.0
