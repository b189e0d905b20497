"""Exposure files read back: every set of extensions becomes the exposure that it was written of.

The format is described in `exposures`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F4, U2, AnyArray
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header, remove
from skyextract.datamodel.photocal import PhotoCal, PhotSource
from skyextract.datamodel.wcs import read_wcs
from skyextract.errors import ImageError
from skyextract.io.fits.file import FitsFile, HeaderUnit
from skyextract.io.fits.pixels import Scaling, stored_numbers, to_float
from skyextract.io.fits.rows import read_table
from skyextract.io.images.exposures import DERIVED
from skyextract.run import Run

_OWN = ("SKYEXT", "SKYEXTN", "SKYEXTV", "SKYPROD")


def is_product(file: FitsFile, unit: HeaderUnit) -> bool:
    """Whether a header unit is the IMAGE of one of our exposure files."""
    return (
        unit.name == "IMAGE"
        and unit.kind == "IMAGE"
        and file.units[0].header.get("SKYPROD") == "EXPOSURE"
        and "MP_BAD" in unit.header
    )


def read_product(file: FitsFile, unit: HeaderUnit, detector: Detector, run: Run) -> Exposure:
    """Read the set of extensions that belongs to an IMAGE.

    Parameters
    ----------
    detector : Detector
        From header and configuration: for what the file says is unknown.

    Raises
    ------
    ImageError
        One of the extensions is missing, truncated or of the wrong size.
    """
    version = unit.header.get("EXTVER")
    units = {u.name: u for u in file.units if u.header.get("EXTVER") == version}
    image, bad = to_float(stored_numbers(file, unit), Scaling(), math.inf, run)
    if "MASK" not in units:
        raise ImageError("exposure file without MASK: it is incomplete")
    mask = _read_mask(file, units["MASK"], image.shape)
    mask |= bad  # somebody may have put NaN there
    tables = {n: read_table(file, units[n]) for n in ("PSF_STARS", "APCORR") if n in units}
    psf = None
    if "PSF_DATA" in units:
        from skyextract.io.psf.psfdata import psf_from_table

        psf = psf_from_table(read_table(file, units["PSF_DATA"]), units["PSF_DATA"].header)
    facts = _read_provenance(file, units)
    known = facts.get("exposure", {})
    try:
        detector = _known(known.get("detector", {}), detector)
        photocal = _photocal(known.get("photocal", {}))
    except (TypeError, ValueError, AttributeError) as error:
        raise ImageError(f"PROVENANCE is damaged ({error})") from None
    header, name = _original_header(unit.header)
    extension = unit.header.get("SKYEXT")
    wcs = read_wcs(header, run, f"{file.path}[{unit.index}]")
    derived = "VARIANCE" in units and units["VARIANCE"].header.get(DERIVED[0]) == DERIVED[1]
    return Exposure(
        image=image,
        mask=mask,
        variance=None if derived else _read_plane(file, units, "VARIANCE", image.shape),
        weight=_read_plane(file, units, "WEIGHT", image.shape),
        detector=detector,
        psf=psf,
        wcs=wcs,
        photocal=photocal,
        background=_read_background(file, units["BACKGROUND"]) if "BACKGROUND" in units else None,
        psf_stars=tables.get("PSF_STARS"),
        aperture_corrections=tables.get("APCORR"),
        header=header,
        path=file.path,
        extension=extension if isinstance(extension, int) else unit.index,
        extension_name=name,
        history=facts.get("history", {}),
    )


def _native(numbers: AnyArray) -> AnyArray:
    return np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("="))


def _read_mask(file: FitsFile, unit: HeaderUnit, shape: tuple[int, ...]) -> U2:
    """Read a mask, whatever bits its MP_ cards give to the planes."""
    stored = _native(stored_numbers(file, unit))
    if stored.shape != shape or stored.dtype != np.int16:
        raise ImageError("MASK does not fit the IMAGE")
    bits = stored.view(np.uint16)
    if Scaling.from_header(unit.header).zero:
        bits = bits ^ np.uint16(1 << 15)
    numbers = {plane: unit.header.get(f"MP_{plane.name}") for plane in Mask}
    if all(number == plane.value.bit_length() - 1 for plane, number in numbers.items()):
        return bits
    mask = np.zeros(shape, np.uint16)
    for plane, number in numbers.items():
        if isinstance(number, int):
            mask[(bits >> np.uint16(number)) & np.uint16(1) > 0] |= np.uint16(plane)
    return mask


def _read_plane(
    file: FitsFile, units: Mapping[str, HeaderUnit], name: str, shape: tuple[int, ...]
) -> F4 | None:
    if name not in units:
        return None
    plane = _native(stored_numbers(file, units[name]))
    if plane.shape != shape or plane.dtype != np.float32:
        raise ImageError(f"{name} does not fit the IMAGE")
    return plane


def _read_background(file: FitsFile, unit: HeaderUnit) -> BackgroundMap:
    header = unit.header
    if len(unit.shape) != 3 or unit.shape[2] != 2:
        raise ImageError("BACKGROUND is not a pair of planes")
    numbers = [header.get(k) for k in ("BKGMESHW", "BKGMESHH", "BKGNX", "BKGNY")]
    if not all(isinstance(n, int) for n in numbers):
        raise ImageError("BACKGROUND without its BKG cards")
    cube = _native(file.numbers(unit)).reshape(2, unit.shape[1], unit.shape[0])
    mean, sigma = (
        math.nan if (value := header.get(k)) is None else float(value)
        for k in ("BKGMEAN", "BKGSIGMA")
    )
    width, height, nx, ny = (int(str(n)) for n in numbers)
    return BackgroundMap(cube[0].copy(), cube[1].copy(), width, height, (ny, nx), mean, sigma)


def _read_provenance(file: FitsFile, units: Mapping[str, HeaderUnit]) -> dict[str, Any]:
    if "PROVENANCE" not in units:
        return {}
    lines = read_table(file, units["PROVENANCE"]).columns.get("JSON")
    if lines is None:
        raise ImageError("PROVENANCE without its column JSON")
    try:
        facts = json.loads("\n".join(str(line) for line in lines))
    except ValueError as error:
        raise ImageError(f"PROVENANCE is damaged ({error})") from None
    return facts if isinstance(facts, dict) else {}


def _original_header(header: Header) -> tuple[Header, str]:
    """Return the header as the image had it before it became IMAGE, and its EXTNAME."""
    original = header.copy()
    name = str(header.get("SKYEXTN") or "")
    version = header.get("SKYEXTV")
    remove(original, [*(f"MP_{plane.name}" for plane in Mask), *_OWN, "EXTNAME", "EXTVER"])
    if name:
        original["EXTNAME"] = name
    if version is not None:
        original["EXTVER"] = version
    return original, name


def _known(stored: Mapping[str, Any], fallback: Detector) -> Detector:
    """Return the detector of the file, with the fallback for what is unknown there."""
    changes = {
        key: float(value)
        for key in ("gain", "read_noise", "saturation", "exposure_time")
        if (value := stored.get(key)) is not None and (key == "exposure_time" or float(value) > 0)
    }
    return replace(fallback, **changes)


def _photocal(stored: Mapping[str, Any]) -> PhotoCal:
    if not stored:
        return PhotoCal()

    def number(key: str) -> float:
        value = stored.get(key)
        return math.nan if value is None else float(value)

    return PhotoCal(
        zero_point=number("zero_point"),
        zero_point_error=number("zero_point_error"),
        source=PhotSource(stored.get("source", "NONE")),
        polynomial=tuple(float(c) for c in stored.get("polynomial", ())),
        band=str(stored.get("band", "")),
        catalog=str(stored.get("catalog", "")),
        system=str(stored.get("system", "")),
        scatter=number("scatter"),
        origin=str(stored.get("origin", "")),
    )
