"""Angles as people and programs write them."""

from __future__ import annotations

import math
import re
from typing import Any

ARCSEC = 3600.0
"""Of a degree."""

_SEXAGESIMAL = re.compile(
    r"\s*([+-]?)\s*(\d+(?:\.\d*)?)\s*[:hHdD°\s]\s*(\d+(?:\.\d*)?)"
    r"(?:\s*[:mM'\s]\s*(\d+(?:[.,]\d*)?)?\s*[sS\"]?)?\s*$"
)


def is_sexagesimal(value: Any) -> bool:
    """Whether a value is text with degrees or hours, minutes and perhaps seconds."""
    return isinstance(value, str) and _SEXAGESIMAL.match(value) is not None


def parse_angle(value: Any, *, hours: bool) -> float:
    """Return an angle in degrees of a number or text; NaN if it cannot be read.

    Numbers are degrees; sexagesimal text is hours if `hours`, else degrees.  Separators may
    be colons, blanks or letters; seconds may have a decimal comma.
    """
    if isinstance(value, bool) or value is None:
        return math.nan
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip()
    try:
        return float(text)
    except ValueError:
        pass
    match = _SEXAGESIMAL.match(text)
    if match is None:
        return math.nan
    sign, first, minutes, seconds = match.groups()
    seconds = (seconds or "0").replace(",", ".")
    if float(minutes) >= 60.0 or float(seconds) > 60.0:
        return math.nan
    number = float(first) + float(minutes) / 60.0 + float(seconds) / 3600.0
    return (-number if sign == "-" else number) * (15.0 if hours else 1.0)
