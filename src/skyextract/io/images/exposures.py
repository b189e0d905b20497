"""Exposure files: everything known about an exposure, written and read back without loss.

A multi-extension FITS file with one set of extensions per image, told apart by EXTVER:

IMAGE       float32, background not subtracted; the header of the original image
MASK        uint16, bits named by the MP_ cards
VARIANCE    float32, total variance; with the card VARTYPE = 'DERIVED' it follows from
            BACKGROUND and WEIGHT, and is not read back
WEIGHT      float32, the background variance of a weight map, if there was one
BACKGROUND  float32 cube of two planes, level and rms of the mesh
PSF_DATA    binary table as PSFEx writes it; never a default PSF
PSF_STARS   table of the stars of the PSF
APCORR      table of the aperture corrections
PROVENANCE  table of the lines of a JSON text: versions, settings, inputs, and the numbers
            of the exposure that have no other place
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from skyextract.datamodel.arrays import F4, U2, AnyArray
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import BLOCK, CARD, Cards, extend_missing, remove, set_cards
from skyextract.datamodel.mosaic import STEP, MosaicPlane
from skyextract.datamodel.photocal import PhotoCal, PhotSource
from skyextract.datamodel.plain import plain
from skyextract.datamodel.psf import PsfSource
from skyextract.datamodel.wcs import read_wcs
from skyextract.datamodel.wcscards import is_wcs_keyword, wcs_cards
from skyextract.errors import ImageError
from skyextract.io.atomic import OpenOutput, atomic_output
from skyextract.io.fits.file import FitsFile, HeaderUnit
from skyextract.io.fits.pixels import Scaling, stored_numbers, to_float
from skyextract.io.fits.table import read_table, table_unit
from skyextract.io.fits.writer import append_unit, image_unit, primary_unit
from skyextract.messages import quiet
from skyextract.run import Run

if TYPE_CHECKING:
    from astropy.io.fits import Header

_PRIMARY_BLOCKS = 2
_OWN = ("SKYEXT", "SKYEXTN", "SKYEXTV", "SKYPROD")


DERIVED = ("VARTYPE", "DERIVED", "from BACKGROUND, WEIGHT and gain")
"""Card of a variance plane that says nothing that the other extensions do not."""


class ExposureWriter:
    """Writes an exposure file image by image; a context manager.

    The file appears under its name when the block ends without an error.

    Parameters
    ----------
    path : str or Path
        The file; an existing one is replaced.
    open_output : callable
        What opens the file; default: by itself, see `atomic_output`.
    """

    def __init__(self, path: str | Path, open_output: OpenOutput = atomic_output) -> None:
        self._stack = ExitStack()
        self._output = open_output(path)
        self._stream: BinaryIO | None = None
        self._n = 0
        self._common: dict[str, Any] = {}

    def __enter__(self) -> ExposureWriter:
        self._stream = self._stack.enter_context(self._output)
        self._stream.write(b" " * (_PRIMARY_BLOCKS * BLOCK))
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None or self._stream is None:
            self._stack.__exit__(*error)
            return
        with self._stack:
            self._stream.seek(0)
            self._stream.write(self._primary())

    def _primary(self) -> bytes:
        """Return the primary header: the cards that all images share, in the space reserved."""
        header = primary_unit().header
        header["SKYPROD"] = ("EXPOSURE", "kind of this file")
        set_cards(header, self._common)
        text = str(header.tostring(padding=False, endcard=False))
        room = _PRIMARY_BLOCKS * BLOCK - CARD
        if len(text) > room:
            raise ValueError("more status cards than the primary header has room for")
        return (text.ljust(room) + "END".ljust(CARD)).encode("latin-1")

    def add(
        self,
        exposure: Exposure,
        cards: Cards,
        provenance: Mapping[str, Any] | None = None,
        derived_variance: F4 | None = None,
    ) -> None:
        """Append the extensions of one image.

        Parameters
        ----------
        exposure : Exposure
            What to write; a PSF that is a default is left out.
        cards : mapping
            Status cards (SKYVERS, SKYISR ...) for the headers.
        provenance : mapping, optional
            JSON-ready facts for PROVENANCE; default: `exposure.history`.
        derived_variance : (ny, nx) float32, optional
            Total variance of an exposure that has no variance plane of its own.
        """
        assert self._stream is not None, "use as a context manager"
        stream = self._stream
        self._n += 1
        self._common = (
            dict(cards)
            if self._n == 1
            else {k: v for k, v in self._common.items() if k in cards and cards[k] == v}
        )
        version = self._n
        planes = mask_cards()
        with quiet():
            header = extend_missing(set_cards(_image_header(exposure), cards), planes)

        def image(array: AnyArray, name: str, header: Header | None = None) -> None:
            append_unit(stream, image_unit(array, header, name=name, version=version))

        def table(columns: Mapping[str, Any], name: str, header: Header | None = None) -> None:
            append_unit(stream, table_unit(columns, header, name=name, version=version))

        image(exposure.image, "IMAGE", header)
        image(exposure.mask, "MASK", planes)
        if exposure.variance is not None:
            image(exposure.variance, "VARIANCE")
        elif derived_variance is not None:
            image(derived_variance, "VARIANCE", _own_cards({DERIVED[0]: DERIVED[1:]}))
        if exposure.weight is not None:
            image(exposure.weight, "WEIGHT")
        if exposure.background is not None:
            background = exposure.background
            cube = np.stack([background.level, background.rms])
            image(cube, "BACKGROUND", _background_header(background))
        if exposure.psf is not None and exposure.psf.source in (
            PsfSource.MEASURED,
            PsfSource.FILE,
        ):
            from skyextract.io.psf.psfdata import psf_table

            columns, described = psf_table(exposure.psf)
            table(columns, "PSF_DATA", described)
        if exposure.psf_stars is not None and exposure.psf_stars.columns:
            table(exposure.psf_stars.columns, "PSF_STARS")
        if exposure.aperture_corrections is not None and exposure.aperture_corrections.columns:
            table(exposure.aperture_corrections.columns, "APCORR")
        facts = {
            "exposure": {
                "detector": asdict(exposure.detector),
                "photocal": asdict(exposure.photocal),
                "path": exposure.path,
            },
            "history": dict(exposure.history if provenance is None else provenance),
        }
        lines = json.dumps(plain(facts, infinite=True), indent=1).splitlines()
        table({"JSON": np.array(lines)}, "PROVENANCE")


def mask_cards() -> Header:
    """Return the MP_ cards: the bit number of each mask plane."""
    return _own_cards({f"MP_{p.name}": (p.value.bit_length() - 1, p.text) for p in Mask})


def _own_cards(cards: Cards) -> Header:
    from astropy.io import fits

    with quiet():
        return set_cards(fits.Header(), cards)


def current_header(exposure: Exposure) -> Header:
    """Return a copy of the header of an exposure with its present WCS."""
    from astropy.io import fits

    with quiet():
        header = fits.Header() if exposure.header is None else exposure.header.copy()
        if exposure.wcs is not None:
            cards = exposure.wcs.to_header()
            if wcs_cards(header) != cards:
                remove(header, [k for k in header if is_wcs_keyword(k)])
                set_cards(header, cards)
    return header


def catalog_header(exposure: Exposure) -> Header:
    """Return a copy of the header of the frame that the positions of a catalogue refer to.

    That of the exposure; of the colour plane of a mosaic, that of the full frame.
    """
    header = current_header(exposure)
    mosaic = MosaicPlane.from_header(header)
    if mosaic is not None:
        with quiet():
            full: Cards = mosaic.full_wcs(wcs_cards(header))
            set_cards(header, full)
            header["NAXIS1"], header["NAXIS2"] = (n * STEP for n in exposure.shape[::-1])
    return header


def _image_header(exposure: Exposure) -> Header:
    """Return the header of IMAGE, which remembers the original extension."""
    header = current_header(exposure)
    header["SKYEXT"] = (exposure.extension, "header unit of the original file")
    if exposure.extension_name:
        header["SKYEXTN"] = (exposure.extension_name, "EXTNAME there")
    version = header.get("EXTVER")
    if isinstance(version, int):
        header["SKYEXTV"] = (version, "EXTVER there")
    return header


def _background_header(background: BackgroundMap) -> Header:
    from astropy.io import fits

    header = fits.Header()
    header["BKGMESHW"] = (background.mesh_width, "width of a mesh in pixels")
    header["BKGMESHH"] = (background.mesh_height, "height of a mesh in pixels")
    header["BKGNX"] = (background.shape[1], "width of the image in pixels")
    header["BKGNY"] = (background.shape[0], "height of the image in pixels")
    for keyword, value, comment in (
        ("BKGMEAN", background.mean, "representative level"),
        ("BKGSIGMA", background.sigma, "representative noise"),
    ):
        set_cards(header, {keyword: (float(value), comment)})
    header["PLANE1"], header["PLANE2"] = "LEVEL", "RMS"
    return header


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
    with quiet():
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
    )
