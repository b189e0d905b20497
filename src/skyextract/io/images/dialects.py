"""Headers and pixels in the dialect of their instrument, made into the standard one (CAMERA)."""

from __future__ import annotations

import math
import re

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.header import Header, header_number, number_and_unit, remove, set_cards
from skyextract.datamodel.instruments import recognise
from skyextract.run import Run

_UNITS = (
    (r"ms|msec\w*|millisec\w*", 1e-3), (r"us|microsec\w*", 1e-6), (r"s|sec|secs|seconds?", 1.0),
    (r"min|mins|minutes?", 60.0), (r"h|hr|hrs|hours?", 3600.0), (r"d|days?", 86400.0),
)  # fmt: skip
_ELECTRONS = re.compile(r"e-?\s*/|electron|photon")
_INVERSE = re.compile(r"\b(adu|dn|counts?)s?\s*(/|per)\s*(e\b|e-|electron|photo-?electron)")
_DECIBEL = re.compile(r"\bdb\b|decibel")
_UNIT_WORDS = re.compile(
    r"\[\s*([a-z]+)\s*\]|\(\s*(?:in )?([a-z]+)\s*\)"
    r"|\b(millisec\w*|msec\w*|microsec\w*|minutes?|hours?|days?)\b|\bin (ms|us|min|h)\b",
    re.IGNORECASE,
)
MIN_TIME, MAX_TIME = 1e-6, 1e8
"""Seconds; no exposure is shorter, or longer."""
MAX_SETTING = 20.0
"""A whole number from here on in the card GAIN of an image of raw integers is a camera setting;"""
MIN_SETTING = 3.0
"""one from here on is, too, where a card OFFSET, the other setting of such cameras, is beside."""


def translate(header: Header, camera: str, run: Run, path: str, *, told: bool = True) -> str:
    """Put standard cards into a header, in place, and return the name of its instrument.

    Parameters
    ----------
    camera : str
        CAMERA; anything but AUTO: nothing is done.
    told : bool
        Tell the user; of calibration frames, which are of the camera of their image, only with -v.
    """
    instrument = recognise(header) if camera.upper() == "AUTO" else None
    if instrument is None:
        return ""
    changed = []
    for keyword, value in instrument.translate(header).items():
        old = header.get(keyword)
        if old == value:
            continue
        if old is not None:
            header.add_history(f"CAMERA {instrument.name}: {keyword} was {old}")
        if value is None:
            remove(header, [keyword])
            changed.append(f"no {keyword}")
        else:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            set_cards(header, {keyword: (value, f"CAMERA {instrument.name}")})
            changed.append(f"{keyword} {text}")
    cards = f" ({', '.join(changed)})" if changed else ""
    tell = run.tell if told else run.info
    tell(f"{path}: the header is of {instrument.name}{cards}; -CAMERA NONE would take it as it is")
    return instrument.name


def exposure_seconds(header: Header, keyword: str) -> float | None:
    """Return the seconds that a card says; None if it is no number, or of an unknown unit.

    The unit is that of its text (``'100 ms'``), of its comment, or of TIMEUNIT.
    """
    number, unit = number_and_unit(header.get(keyword))
    if number is None:
        return None
    if unit:
        factor = _seconds(unit)
        return None if factor is None else number * factor
    return number * _time_unit(header, keyword)


def _time_unit(header: Header, keyword: str) -> float:
    """Return the seconds in the unit of an exposure time: of its comment, or of TIMEUNIT."""
    comment = str(header.comments[keyword]) if keyword in header else ""
    words = [next(filter(None, groups)) for groups in _UNIT_WORDS.findall(comment)]
    if not words and keyword not in ("EXPTIME",):
        words = [str(header.get("TIMEUNIT") or "")]
    return next((factor for word in words if (factor := _seconds(word)) is not None), 1.0)


def _seconds(word: str) -> float | None:
    """Return the seconds in a unit of time; None for any other word."""
    for pattern, seconds in _UNITS:
        if re.fullmatch(pattern, word.strip(), re.IGNORECASE):
            return seconds
    return None


def is_inverse(header: Header, keyword: str) -> bool:
    """Tell whether the comment of a gain card says that it is in ADU per electron."""
    comment = str(header.comments[keyword]).lower() if keyword in header else ""
    return _INVERSE.search(comment) is not None


def is_camera_setting(header: Header, keyword: str, number: float) -> bool:
    """Tell whether the number of a gain card cannot be e-/ADU but is a setting of the camera."""
    comment = str(header.comments[keyword]).lower() if keyword in header else ""
    if _DECIBEL.search(comment):
        return True
    if keyword != "GAIN" or header.get("BITPIX") not in (8, 16, 32) or "SOFTNAME" in header:
        return False
    if _ELECTRONS.search(comment):
        return False
    if not number.is_integer():
        return False
    electrons = header.get("EGAIN")
    if isinstance(electrons, int | float) and electrons > 0.0:
        return float(electrons) != number
    return number >= (MIN_SETTING if "OFFSET" in header else MAX_SETTING)


def linear_pixels(image: F4, header: Header, run: Run, path: str) -> bool:
    """Undo the asinh scaling of Pan-STARRS' stacks, in place; tell whether there was one.

    Its cards are taken out.  Pixels are a asinh((flux - BOFFSET) / (2 BSOFTEN)) with
    a = 2.5 / ln 10 (Waters et al. 2020, ApJS 251, 4).
    """
    soft, offset = (header_number(header.get(key)) for key in ("BSOFTEN", "BOFFSET"))
    if soft is None or offset is None or not soft > 0.0:
        return False
    a = 2.5 / math.log(10.0)
    with np.errstate(over="ignore", invalid="ignore"):
        for row in image:
            row[...] = offset + 2.0 * soft * np.sinh(row.astype(np.float64) / a)
    remove(header, ["BSOFTEN", "BOFFSET"])
    run.tell(f"{path}: the asinh scaling of the pixels (BSOFTEN, BOFFSET) is undone")
    return True


def pedestal(header: Header) -> float:
    """Return the constant that was added to the pixels: PEDESTAL (either sign), SOFTBIAS.

    Images in units of flux have none any more, whatever their header says.
    """
    if "NMGY" in header or "nano" in str(header.get("BUNIT") or "").lower():
        return 0.0
    for keyword in ("PEDESTAL", "SOFTBIAS"):
        number = header_number(header.get(keyword))
        if number:
            return abs(number)
    return 0.0
