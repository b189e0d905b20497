"""What the header says of a frame: the `frame` object of the JSON summary."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from skyextract.datamodel.header import OBJECT_KEYS, header_number, header_text
from skyextract.sky.angles import parse_angle
from skyextract.sky.bands import frame_filter
from skyextract.sky.dates import INTO_EXPOSURE, ahead_of_utc, frame_date
from skyextract.sky.moon import Site, airmass_at
from skyextract.stages.astrometry.pointing import comment_of, pointing

FRAME_FIELDS = (
    "object", "filter", "date_obs", "mjd", "exposure_time", "airmass", "ra", "dec", "site",
    "telescope", "instrument", "camera",
)  # fmt: skip

AIRMASS_KEYS = ("AIRMASS", "SECZ", "AIRMASS0", "ESO TEL AIRM START", "AMSTART", "AIRMSTRT")
TIME_KEYS = (
    "TIME-OBS", "TIME_OBS", "UTSTART", "UT-START", "UTC-OBS", "UT-OBS", "UTC", "UT", "UTTIME",
)  # fmt: skip
"""Time of day where the card of the date has none; a number is hours, or seconds from 24 on."""
SITE_KEYS = (
    ("OBSGEO-L", "OBSGEO-B", "OBSGEO-H"),
    ("LONG-OBS", "LAT-OBS", "ALT-OBS"),
    ("OBS-LONG", "OBS-LAT", "OBS-ELEV"),
    ("SITELONG", "SITELAT", "SITEELEV"),
    ("LONGITUD", "LATITUDE", "HEIGHT"),
    ("GEOLON", "GEOLAT", "GEOELEV"),
    ("ESO TEL GEOLON", "ESO TEL GEOLAT", "ESO TEL GEOELEV"),
    ("ESO TEL LON", "ESO TEL LAT", "ESO TEL ELEV"),
)
"""Longitude, latitude and height of the telescope."""

_SECONDS = re.compile(r"(?i)\bsec|[\[(]\s*s\s*[\])]")
_DIRECTION = re.compile(r"(?i)(.*\d.*?)\s*([NSEW])\s*")
_GEOCENTRIC = ("OBSGEO-X", "OBSGEO-Y", "OBSGEO-Z")
_CLOCK = re.compile(r"\s*(\d{1,2}):(\d{1,2})(?::(\d{1,2}(?:\.\d*)?))?")
_MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
_MAX_AIRMASS = 40.0  # at the horizon
_MAX_DIFFERENCE = 0.15
"""Of two airmasses of one frame, as a share: the exposure takes its time."""
_HIGHEST = 9000.0  # m


def frame_facts(
    header: Mapping[str, Any] | None, exposure_time: float, camera: str = ""
) -> dict[str, Any]:
    """Return what is known of a frame; None is unknown.

    Parameters
    ----------
    header : Header or None
    exposure_time : float
        Seconds, as the configuration reads it; NaN if unknown.
    camera : str
        CAMERA: a preset or its file.

    Returns
    -------
    dict
        FRAME_FIELDS.  `date_obs` is ISO 8601, a day alone where the time of day is not known;
        `mjd` then is None.  `ra` and `dec` (deg, J2000) are the pointing; `site` is longitude
        (deg, east), latitude and height (m), and None if it contradicts airmass or horizon.
    """
    facts: dict[str, Any] = dict.fromkeys(FRAME_FIELDS) | {"camera": camera_name(camera)}
    if math.isfinite(exposure_time):
        facts["exposure_time"] = float(exposure_time)
    if header is None:
        return facts
    facts["object"] = header_text(header, *OBJECT_KEYS)
    facts["filter"] = frame_filter(header) or None
    facts["telescope"] = header_text(header, "TELESCOP", "TELESCOPE", "TELID", "OBSERVAT")
    facts["instrument"] = header_text(header, "INSTRUME", "INSTRUMENT", "DETECTOR", "CAMERA")
    facts["airmass"] = _airmass(header)
    facts |= _when(header, exposure_time)
    found = pointing(header)
    if found is not None:
        facts["ra"], facts["dec"], _ = found
    facts["site"] = _site(header, facts)
    return facts


def camera_name(camera: str) -> str | None:
    """Return the name of a preset, or of the file that CAMERA names."""
    if camera.upper() in ("", "AUTO", "NONE"):
        return None
    return Path(camera).stem if "/" in camera or camera.endswith(".conf") else camera.lower()


def _airmass(header: Mapping[str, Any]) -> float | None:
    """Return the airmass; None for a value that no frame can have."""
    for keyword in AIRMASS_KEYS:
        value = header_number(header.get(keyword))
        if value is not None and 0.99 <= value <= _MAX_AIRMASS:
            return value
    return None


def _site(header: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, float] | None:
    """Return the place of the telescope; None if no card tells it, or it cannot be.

    Some observatories count longitudes to the west: the sign is the one with which the frame has
    the airmass of its header, or is above the horizon.
    """
    x, y, z = (header_number(header.get(key)) or 0.0 for key in _GEOCENTRIC)
    place = Site.from_geocentric(x, y, z)
    if (x or y) and abs(place.height) < _HIGHEST and _can_be(place, facts):
        return asdict(place)
    for keys in SITE_KEYS:
        longitude, latitude = (_coordinate(header.get(key)) for key in keys[:2])
        if abs(longitude) <= 360.0 and abs(latitude) <= 90.0 and (longitude or latitude):
            height = header_number(header.get(keys[2])) or 0.0
            height = height if abs(height) < _HIGHEST else 0.0
            sites = (
                Site((sign * longitude + 180.0) % 360.0 - 180.0, latitude, height)
                for sign in (1, -1)
            )
            return next((asdict(site) for site in sites if _can_be(site, facts)), None)
    return None


def _coordinate(value: Any) -> float:
    """Return a longitude or latitude, deg; one that ends with W or S is negative."""
    match = _DIRECTION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return parse_angle(value, hours=False)
    return parse_angle(match[1], hours=False) * (-1.0 if match[2].upper() in "SW" else 1.0)


def _can_be(site: Site, facts: Mapping[str, Any]) -> bool:
    """Tell whether a frame can have been taken at a site."""
    if facts["mjd"] is None or facts["ra"] is None:
        return True
    airmass = airmass_at(facts["mjd"], facts["ra"], facts["dec"], site)
    if facts["airmass"] is None:
        return airmass < _MAX_AIRMASS
    return bool(abs(airmass / facts["airmass"] - 1.0) < _MAX_DIFFERENCE)


def _when(header: Mapping[str, Any], exposure_time: float) -> dict[str, Any]:
    """Return `date_obs` and `mjd`, UTC, of the start of an exposure."""
    found = frame_date(header)
    mjd = found.mjd
    if not math.isfinite(mjd):
        return {}
    if mjd == math.floor(mjd) and not _has_clock(header.get(found.card)):
        clock = _clock(header)
        if clock is None:
            return {"date_obs": f"{_MJD_ZERO + timedelta(days=mjd):%Y-%m-%d}"}
        mjd += clock
    seconds = ahead_of_utc(header, found)
    if math.isfinite(exposure_time):
        seconds += INTO_EXPOSURE.get(found.card, 0.0) * exposure_time
    mjd -= seconds / 86400.0
    instant = _MJD_ZERO + timedelta(days=mjd)
    thousandths = round(instant.timestamp() * 1000.0)
    rounded = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=thousandths)
    text = rounded.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return {"date_obs": text, "mjd": mjd}


def _has_clock(value: Any) -> bool:
    """Whether a card of midnight tells the time, as 2020-01-01T00:00:00 does."""
    return isinstance(value, str) and ":" in value


def _clock(header: Mapping[str, Any]) -> float | None:
    """Return the time of day as part of a day; None if no card tells it."""
    for keyword in TIME_KEYS:
        value = header.get(keyword, "")
        number = math.nan if isinstance(value, bool | str) else header_number(value)
        if number is not None and 0.0 <= number < 86400.0:
            in_seconds = number >= 24.0 or _SECONDS.search(comment_of(header, keyword))
            return number / (86400.0 if in_seconds else 24.0)
        match = _CLOCK.match(str(value))
        if match:
            hours, minutes, seconds = (float(group or 0.0) for group in match.groups())
            if hours < 24.0 and minutes < 60.0 and seconds < 61.0:
                return (hours + minutes / 60.0 + seconds / 3600.0) / 24.0
    return None
