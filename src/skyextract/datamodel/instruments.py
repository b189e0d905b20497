"""Instruments that are recognised from their headers, and what their cards mean.

A translation only adds standard cards (GAIN in e-/ADU, RDNOISE, EXPTIME in s, DATE-OBS) or puts
right those that mean something else there; it starts no step.  Sources: SBFITSEXT 1.0 (SBIG,
MaxIm DL: EGAIN, PEDESTAL); headers of ZWO's and QHY's ASCOM drivers, ASIAIR, Seestar, N.I.N.A. and
Siril, where GAIN is a setting of the camera; data handbooks of HST, JWST, TESS, ZTF, Pan-STARRS,
SDSS, DES, DECam, LCO, 2MASS and the Digitized Sky Survey; descriptors of Gemini's DRAGONS.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from skyextract.record import record

Header = Mapping[str, Any]
Cards = dict[str, Any]
"""New values; None takes a card out."""


@record
class Instrument:
    """An instrument or the program that writes its headers.

    Attributes
    ----------
    name : str
        As in CAMERA messages and products.
    cards : tuple of (str, str)
        Header keyword and regular expression of its value; any of them recognises it.
    translate : function
        Returns the cards to be added or changed, from a header.
    without : str
        A keyword that others have who write the same cards.
    """

    name: str
    cards: tuple[tuple[str, str], ...]
    translate: Callable[[Header], Cards]
    without: str = ""


def _number(header: Header, *keys: str) -> float | None:
    """Return the first of some cards that holds a positive number."""
    for key in keys:
        value = header.get(key)
        try:
            number = math.nan if isinstance(value, bool) or value is None else float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number) and number > 0.0:
            return number
    return None


def _text(header: Header, key: str) -> str:
    return str(header.get(key) or "").strip()


def _nothing(_: Header) -> Cards:
    return {}


def _setting(header: Header) -> Cards:
    """GAIN is a setting of the camera; EGAIN, where it is, the gain in e-/ADU."""
    return {"GAIN": _number(header, "EGAIN")}


def _named(**names: str) -> Callable[[Header], Cards]:
    """Return a translation of cards by name: several names are separated by blanks."""

    def translate(header: Header) -> Cards:
        found = {key: _number(header, *keys.split()) for key, keys in names.items()}
        return {key: value for key, value in found.items() if value is not None}

    return translate


def _unless_given(**names: str) -> Callable[[Header], Cards]:
    """Return a translation of cards of which the header has no number: one name each."""

    def translate(header: Header) -> Cards:
        found = {key: _number(header, name) for key, name in names.items()}
        return {
            key: value
            for key, value in found.items()
            if value is not None and _number(header, key) is None
        }

    return translate


def _maxim(header: Header) -> Cards:
    gain = _number(header, "EGAIN")
    return {} if gain is None else {"GAIN": gain}


_BETWEEN = re.compile(r"[\s^*.]+")
_COUNTED = re.compile(
    r"((?P<electron>E-?|EPS|ELEC|ELECTRONS?|PHOTO-?ELECTRONS?|PHOTONS?|PH)"
    r"|COUNTS?|CTS?|CPS|DN|DU|ADUS?)(?![A-Z0-9])"
)
_PER_SECOND = re.compile(r"(/|PER) ?\(?S(EC|ECONDS?)?(?![A-Z])|(?<![A-Z])S(EC)? ?-1")
_PHYSICAL = re.compile(
    r"(?<![A-Z])((NANO|MICRO|MILLI|MEGA|[NUMK])?-?(JY|JANSKY)|(NANO|N)?-?MAG+(Y|IES)|N?MGY|ERGS?"
    r"|W ?/ ?M2|FLAM|FNU)(?![A-Z])"
)
_FLUX_DENSITY = re.compile(r"CM|HZ|ANG|ARCSEC|/ ?A(?![A-Z])|(?<![A-Z])(A|SR|M) ?-[12]|/ ?SR|/ ?M2")


def is_flux_density(header: Header) -> bool:
    """Tell whether BUNIT is a flux or a surface brightness: no bias and no counts are in it."""
    unit = _BETWEEN.sub(" ", _text(header, "BUNIT").upper()).strip()
    return bool(_PHYSICAL.search(unit))


class PixelUnit(NamedTuple):
    """What BUNIT says of pixels that count electrons, or what a converter makes of them.

    FITS 4.0, section 4.3, and what people write.
    """

    is_electron: bool
    per_second: bool

    @classmethod
    def of(cls, header: Header) -> PixelUnit | None:
        """Return the unit; None if it is another one, or not known."""
        unit = _BETWEEN.sub(" ", _text(header, "BUNIT").upper()).strip()
        if re.fullmatch(r"S(EC)? ?-1|1 ?/ ?S(EC)?", unit):
            return cls(False, True)
        name = _COUNTED.match(unit)
        if name is None or _FLUX_DENSITY.search(unit):
            return None
        per_second = name[0] in {"CPS", "EPS"} or bool(_PER_SECOND.search(unit))
        return cls(name["electron"] is not None, per_second)


def _rate_gain(header: Header, time: float | None, adc_gain: float | None) -> Cards:
    """Return the gain of pixels in electrons or counts, in total or per second."""
    unit = PixelUnit.of(header)
    if unit is None:
        return {}
    gain = 1.0 if unit.is_electron else adc_gain
    if gain is not None and unit.per_second:
        gain = None if time is None else gain * time
    return {"GAIN": gain}


def _hst(header: Header) -> Cards:
    cards = _rate_gain(
        header, _number(header, "EXPTIME"), _number(header, "ADCGAIN", "CCDGAIN", "ATODGAIN")
    )
    names = [_text(header, key) for key in ("FILTER1", "FILTER2")]
    used = [name for name in names if name and not name.upper().startswith("CLEAR")]
    if not _text(header, "FILTER") and used:
        cards["FILTER"] = used[0]
    return cards


def _jwst(header: Header) -> Cards:
    cards = _named(EXPTIME="EFFEXPTM XPOSURE")(header)
    return cards | {"GAIN": None}  # MJy/sr: the ERR plane is the noise


def _tess(header: Header) -> Cards:
    days = _number(header, "EXPOSURE", "LIVETIME")
    time = _number(header, "EXPTIME") if days is None else days * 86400.0
    cards: Cards = {} if time is None else {"EXPTIME": time}
    return cards | _rate_gain(header, time, _number(header, "GAINA"))


def _two_mass(header: Header) -> Cards:
    cards: Cards = {"EXPTIME": 7.8}  # six exposures of 1.3 s
    day = re.fullmatch(r"(\d\d)(\d\d)(\d\d)", _text(header, "UT_DATE"))
    if day and "DATE-OBS" not in header:
        year = int(day[1]) + (1900 if int(day[1]) > 50 else 2000)
        time = _text(header, "UT") or "00:00:00"
        cards["DATE-OBS"] = f"{year}-{day[2]}-{day[3]}T{time}"
    return cards


def _panstarrs(header: Header) -> Cards:
    cards = _named(GAIN="CELL.GAIN", RDNOISE="CELL.READNOISE", SATURATE="CELL.SATURATION")(header)
    band = re.match(r"[grizyw]\b", _text(header, "FPA.FILTERID"))
    if band and "FILTER" not in header:
        cards["FILTER"] = band[0]
    return cards


def _plate(header: Header) -> Cards:
    minutes = _number(header, "EXPOSURE")
    return {"GAIN": None} | ({} if minutes is None else {"EXPTIME": minutes * 60.0})


def _decam(header: Header) -> Cards:
    """Take the mean of the amplifiers' gains, which calibration has made nearly the same.

    ARAWGAIN is that of the raw frame: level and variance of the sky have GAINA, GAINB.
    """
    cards = _named(GAIN="GAIN ARAWGAIN", RDNOISE="RDNOISE", SATURATE="SATURATE SATURATA")(header)
    for key in ("GAIN", "RDNOISE"):
        both = [_number(header, f"{key}{amplifier}") for amplifier in "AB"]
        known = [value for value in both if value is not None]
        if known and _number(header, key) is None:
            cards[key] = sum(known) / len(known)
    return cards


def _gemini(header: Header) -> Cards:
    """EXPTIME is that of one coadd and pixels are their sum, until the observatory's pipeline."""
    time, coadds = _number(header, "EXPTIME"), _number(header, "COADDS")
    if time is None or coadds is None or _text(header, "PREPARE"):
        return {}
    return {"EXPTIME": time * coadds, "COADDS": 1}  # a product is read as it is written


INSTRUMENTS = (
    Instrument("JWST", (("TELESCOP", "JWST"),), _jwst),
    Instrument("HST", (("TELESCOP", "HST"),), _hst),
    Instrument("TESS", (("TELESCOP", "TESS"),), _tess),
    Instrument("ZTF", (("INSTRUME", "ZTF"),), _named(RDNOISE="READNOI RDNOISE")),
    Instrument("Pan-STARRS", (("TELESCOP", "PS1|PS2"), ("INSTRUME", "GPC[12]")), _panstarrs),
    # The community pipeline (PLVER) writes DES_EXT, too.
    Instrument("DES", (("DES_EXT", "."), ("PIPELINE", "multiepoch|finalcut")), _nothing,
               without="PLVER"),
    Instrument("DECam", (("INSTRUME", "DECAM"),), _decam),
    Instrument("NOIRLab", (("OBSERVAT", "KPNO|CTIO|NOAO"), ("ORIGIN", "NOIRLAB")),
               _named(GAIN="GAIN ARAWGAIN", RDNOISE="RDNOISE")),
    Instrument("SDSS", (("ORIGIN", "SDSS"),), _nothing),
    Instrument("Gemini", (("INSTRUME", "NIRI|GNIRS|NIFS"),), _gemini),
    Instrument("LCO", (("ORIGIN", "LCOGT|LCO"), ("OBSTYPE", "LCO")),
               _named(SATURATE="SATURATE MAXLIN")),
    Instrument("2MASS", (("ORIGIN", "2MASS"),), _two_mass),
    Instrument("DSS", (("PLTLABEL", "."), ("SURVEY", ".*(SERC|POSS|AAO|DSS)")), _plate),
    Instrument("PANOPTES", (("ORIGIN", ".*PANOPTES"), ("CREATOR", "POCS")), _setting),
    Instrument("Seestar", (("INSTRUME", "SEESTAR"), ("CREATOR", ".*SEESTAR")), _setting),
    Instrument("ASIAIR", (("CREATOR", ".*ASIAIR"), ("SWCREATE", ".*ASIAIR")), _setting),
    Instrument("ZWO ASI", (("INSTRUME", "(ZWO )?ASI ?\\d"),), _setting),
    Instrument("QHY", (("INSTRUME", "QHY"),), _setting),
    Instrument("DSLR", (("INSTRUME", "CANON|NIKON|SONY|PENTAX|FUJI|OLYMPUS|EOS|ILCE|DSLR"),),
               _setting),
    Instrument("MaxIm",
               (("SWCREATE", "MAXIM|CCDSOFT|CCDOPS|SBIG|THESKY"), ("INSTRUME", "SBIG")), _maxim),
    # The dictionaries of ESO and Calar Alto; EGAIN as ASCOM's drivers write it.
    Instrument("ESO", (("ESO DET OUT1 CONAD", "."), ("ESO DET OUT1 RON", ".")),
               _unless_given(GAIN="ESO DET OUT1 CONAD", RDNOISE="ESO DET OUT1 RON")),
    Instrument("Calar Alto", (("CCDSENS", "."),),
               _unless_given(GAIN="CCDSENS", RDNOISE="CCDRON")),
    Instrument("ASCOM", (("EGAIN", "."),), _unless_given(GAIN="EGAIN")),
)  # fmt: skip
"""In the order in which they are tried: the camera before the program that drove it."""


def recognise(header: Header) -> Instrument | None:
    """Return the instrument that a header is from; None if it is of none that is known."""
    for instrument in INSTRUMENTS:
        if instrument.without and instrument.without in header:
            continue
        for key, pattern in instrument.cards:
            text = _text(header, key)  # no pattern fits nothing; to compile one takes a while
            if text and re.match(pattern, text, re.IGNORECASE):
                return instrument
    return None
