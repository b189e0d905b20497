"""The header of a corrected frame: new unit, sections and WCS, and nothing lost."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from skyextract.datamodel.header import Header
from skyextract.datamodel.rawframe import Amplifier, RawFrame, move_wcs
from skyextract.datamodel.wcscards import is_wcs_keyword, wcs_cards

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Detector

_REMOVED = ("BIASSEC", "TRIMSEC", "CCDSEC", "AMPSEC", "BSCALE", "BZERO", "BLANK")
_STORAGE = ("BSCALE", "BZERO", "BLANK")


def corrected_header(
    raw: RawFrame, detector: Detector, unit: str, amplifiers: tuple[Amplifier, ...]
) -> Header:
    """Return the header of the corrected frame.

    Cards that do not hold any more are changed or taken out, and their old values are kept
    as HISTORY; the numbers of several amplifiers get cards GAINn, RDNOISEn and AMPSECn.

    Parameters
    ----------
    detector : Detector
        In the new unit.
    unit : str
        ADU or ELECTRON.
    amplifiers : tuple of Amplifier
        With the read noises used.
    """
    header = raw.header.copy()
    ny, nx = raw.shape
    new: dict[str, Any] = {
        "BUNIT": ("electron" if unit == "ELECTRON" else "adu", "unit of the pixels"),
        "DATASEC": (f"[1:{nx},1:{ny}]", "pixels with data"),
    }
    if detector.gain > 0.0:
        new["GAIN"] = (detector.gain, f"[{'' if unit == 'ELECTRON' else 'e-/ADU'}] gain")
    if detector.read_noise > 0.0:
        new["RDNOISE"] = (detector.read_noise, "[e-] read noise")
    if math.isfinite(detector.saturation):
        new["SATURATE"] = (detector.saturation, "saturation level in the unit of the pixels")
    _move_wcs(header, raw)
    if len(amplifiers) > 1:
        _turn_detector_section(header)
    for keyword in _REMOVED:
        if keyword in header:
            if keyword not in _STORAGE:
                header.add_history(f"isr: {keyword} was {header[keyword]}")
            del header[keyword]
    for keyword, (value, comment) in new.items():
        old = header.get(keyword)
        if old is not None and old != value:
            header.add_history(f"isr: {keyword} was {old}")
        header[keyword] = (value, comment)
    if len(amplifiers) > 1:
        for k, amplifier in enumerate(amplifiers, start=1):
            header[f"AMPSEC{k}"] = (str(amplifier.place), f"place of amplifier {amplifier.name}")
            header[f"GAIN{k}"] = (amplifier.gain, "[e-/ADU] its gain")
            header[f"RDNOISE{k}"] = (amplifier.read_noise, "[e-] its read noise")
    return header


def _turn_detector_section(header: Header) -> None:
    """Take out the detector section of the first amplifier, which is not that of the frame."""
    if "DETSEC" in header:
        header.add_history(f"isr: DETSEC of the first amplifier was {header['DETSEC']}")
        del header["DETSEC"]


def _move_wcs(header: Header, raw: RawFrame) -> None:
    if raw.wcs_amplifier is None:
        return
    amplifier = raw.amplifiers[raw.wcs_amplifier]
    cards = wcs_cards(header)
    if all(
        isinstance(cards.get(key, 0.0), int | float) or re.match(r"CTYPE|CUNIT|RADE", key)
        for key in cards
        if is_wcs_keyword(key)
    ):
        for keyword, value in move_wcs(cards, amplifier).items():
            if cards.get(keyword) != value:
                header[keyword] = value
    for axis, step, place, first in (
        (1, amplifier.step[1], amplifier.place.x0, amplifier.first[1]),
        (2, amplifier.step[0], amplifier.place.y0, amplifier.first[0]),
    ):
        old = header.get(f"LTV{axis}")
        if isinstance(old, int | float):
            header[f"LTV{axis}"] = float(step * old + place - step * first + 1 - step)
            matrix = header.get(f"LTM{axis}_{axis}")
            if step < 0 and isinstance(matrix, int | float):
                header[f"LTM{axis}_{axis}"] = float(-matrix)
