"""The zero point that a header states, by the unit of its pixels or by a card.

Sources: A. Bohlin et al., HST data handbooks (PHOTFLAM, PHOTPLAM: flux density of one count or
electron per second, pivot wavelength); JWST user documentation (MJy/sr, PIXAR_SR); SDSS and
Legacy Survey data models (nanomaggies); LSST (nJy, FLUXMAG0); ESO Science Data Products Standard
(PHOTZP); DECam Community Pipeline (MAGZERO, and MAGZPT for one second); CASU's pipelines of INT,
UKIRT and VISTA (MAGZPT for one second at airmass 1, EXTINCT); ZTF, 2MASS (MAGZP); SCAMP and SWarp
(MAGZEROP); ASTAP (MZEROR); Pan-STARRS (FPA.ZP for one second).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

from skyextract.datamodel.header import Header, header_number
from skyextract.datamodel.instruments import PixelUnit, is_flux_density
from skyextract.datamodel.photocal import AB_NANOJANSKY
from skyextract.record import record
from skyextract.sky.angles import ARCSEC

_LIGHT = 2.99792458e18
"""Speed of light, Angstrom/s."""
_AB_CGS, _ST_CGS = 48.60, 21.10
"""AB and ST magnitude 0 in erg/s/cm2/Hz and erg/s/cm2/A, -2.5 log10."""
_AB_JANSKY = AB_NANOJANSKY - 22.5
_SQUARE_DEGREE = math.radians(1.0) ** 2
_UNITS = (
    (r"(?i:(nano|n)-?mag+(y|ies)|nmgy)", 22.5),
    (r"(?i:mag+(y|ies)|mgy)", 0.0),
    (r"(nJy|NJY|(?i:nano-?(jansky|jy)))(/pix(el)?)?", AB_NANOJANSKY),
    (r"([uµμ]Jy|UJY|(?i:micro-?(jansky|jy)))(/pix(el)?)?", _AB_JANSKY + 15.0),
    (r"(mJy|(?i:milli-?(jansky|jy)))(/pix(el)?)?", _AB_JANSKY + 7.5),
    (r"(Jy|JY|(?i:jansky))(/pix(el)?)?", _AB_JANSKY),
    (r"(?i:ergs?[/.*]?s(ec)?[/^*-]*1?[/.*]?cm[*^]*(-?2)[/.*]?Hz([*^]*-1)?)", -_AB_CGS),
    (r"(?i:ergs?/\(?s(ec)?[/.*]cm[*^]*2[/.*]Hz\)?)", -_AB_CGS),
)
"""Pattern of BUNIT without blanks, and AB magnitude of one unit."""
_TIMES = re.compile(r"(\d+\.?\d*(?:[eE][-+]?\d+)?)[*.]?(?=[A-Za-zµμ])")
"""A number before the unit."""
_SURFACE = r"M(Jy|JY)(/|\.?)(sr|SR|steradian)(-1|\^-1|\*\*-1)?"
_TOTAL_CARDS = ("PHOTZP", "MAGZERO", "MAGZEROP", "MAGZP", "MZEROR")
_SECOND_CARDS = ("MAGZPT", "FPA.ZP")
_PER_SECOND = re.compile(
    r"(?i)\b(1|one)[ -]?s(ec\w*)?\b|\b(adu|dn|counts?|e-?|electrons?) ?(/|per) ?s(ec\w*)?\b"
)
"""Not `magnitudes/s`: so DES calls what is for the pixels as they are."""
MIN_ZERO_POINT, MAX_ZERO_POINT = 1.0, 50.0
"""Magnitudes outside are no zero points but stand for an unknown one."""


@record
class StatedZeroPoint:
    """A zero point of image units.

    Attributes
    ----------
    value : float
        Magnitude of one image unit.
    system : str
        AB, ST, or empty where the header does not say.
    origin : str
        The cards it is made of.
    """

    value: float
    system: str
    origin: str


def stated_zero_point(
    header: Header, exposure_time: float, pixel_scale: Callable[[], float]
) -> StatedZeroPoint | None:
    """Return the zero point that a header states; None if it states none.

    The unit of the pixels comes before cards, and those of the instrument before others.

    Parameters
    ----------
    header : Header
    exposure_time : float
        Seconds, NaN if unknown: of pixels that are totals, where the card is for one second.
    pixel_scale : callable
        Returns it in arcsec, NaN if unknown: of pixels that are surface brightness, without a card
        of their area.
    """
    for found in (
        _of_unit(header, pixel_scale),
        _of_flux_density(header, exposure_time),
        *_of_cards(header, exposure_time),
    ):
        if found is not None and math.isfinite(found.value):
            return found
    return None


def _positive(header: Header, keyword: str) -> float:
    number = header_number(header.get(keyword))
    return number if number is not None and number > 0.0 else math.nan


def _unit(header: Header) -> str:
    return re.sub(r"\s+", "", str(header.get("BUNIT") or ""))


def is_flux(header: Header) -> bool:
    """Tell whether BUNIT is a flux or a surface brightness on the sky, whatever the exposure."""
    return is_flux_density(header) or _of_unit(header, lambda: math.nan) is not None


def _of_unit(header: Header, pixel_scale: Callable[[], float]) -> StatedZeroPoint | None:
    """Read BUNIT; SDSS' calibrated frames of early releases have the unit in NMGY alone."""
    unit = _unit(header)
    if not unit and "NMGY" in header and "PCALIB" in header:
        return StatedZeroPoint(22.5, "AB", "NMGY")
    if not unit:
        return None
    times = _TIMES.match(unit)
    factor, name = (float(times[1]), unit[times.end() :]) if times else (1.0, unit)
    for pattern, value in _UNITS:
        if re.fullmatch(pattern, name) and factor > 0.0:
            value_of_one = value - 2.5 * math.log10(factor)
            return StatedZeroPoint(value_of_one, "AB", f"BUNIT {header['BUNIT']}")
    if not re.fullmatch(_SURFACE, unit):
        return None
    area, origin = _positive(header, "PIXAR_SR"), "PIXAR_SR"
    if not math.isfinite(area):
        area, origin = (pixel_scale() / ARCSEC) ** 2 * _SQUARE_DEGREE, "the pixel scale"
    value = _AB_JANSKY - 15.0 - 2.5 * math.log10(area) if area > 0.0 else math.nan
    return StatedZeroPoint(value, "AB", f"BUNIT {header['BUNIT']}, {origin}")


def _of_flux_density(header: Header, exposure_time: float) -> StatedZeroPoint | None:
    """Read PHOTFLAM, in erg/s/cm2/A for one count per second, and PHOTPLAM in Angstrom."""
    unit = PixelUnit.of(header)
    flux, wavelength = _positive(header, "PHOTFLAM"), _positive(header, "PHOTPLAM")
    if not math.isfinite(flux) or unit is None:
        return None
    value, system, origin = -2.5 * math.log10(flux) - _ST_CGS, "ST", "PHOTFLAM"
    if math.isfinite(wavelength):
        density = flux * wavelength**2 / _LIGHT
        value, system, origin = -2.5 * math.log10(density) - _AB_CGS, "AB", "PHOTFLAM, PHOTPLAM"
    if not unit.per_second:
        value, origin = value + _of_time(exposure_time), f"{origin}, exposure time"
    return StatedZeroPoint(value, system, origin)


def _of_cards(header: Header, exposure_time: float) -> Iterator[StatedZeroPoint]:
    flux = _positive(header, "FLUXMAG0")
    if math.isfinite(flux):
        yield StatedZeroPoint(2.5 * math.log10(flux), "AB", "FLUXMAG0")
    for keyword in (*_TOTAL_CARDS, *_SECOND_CARDS):
        value = _positive(header, keyword)
        if not MIN_ZERO_POINT < value < MAX_ZERO_POINT:
            continue
        origin = keyword
        if keyword in _SECOND_CARDS or _PER_SECOND.search(str(header.comments[keyword])):
            value, origin = value + _of_time(exposure_time), f"{keyword}, exposure time"
            extinction, airmass = _positive(header, "EXTINCT"), _positive(header, "AIRMASS")
            if keyword == "MAGZPT" and math.isfinite(extinction * airmass):
                value -= (airmass - 1.0) * extinction
                origin += ", EXTINCT, AIRMASS"
        yield StatedZeroPoint(value, "", origin)


def _of_time(seconds: float) -> float:
    return 2.5 * math.log10(seconds) if seconds > 0.0 else math.nan
