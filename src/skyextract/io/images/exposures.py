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
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from skyextract.datamodel.arrays import F4, AnyArray
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.card import CARD
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import (
    BLOCK,
    Cards,
    Header,
    common_cards,
    extend_missing,
    remove,
    set_cards,
)
from skyextract.datamodel.mosaic import MosaicPlane
from skyextract.datamodel.plain import plain
from skyextract.datamodel.psf import PsfSource
from skyextract.datamodel.wcscards import is_wcs_keyword, wcs_cards
from skyextract.io.atomic import OpenOutput, atomic_output
from skyextract.io.fits.table import table_unit
from skyextract.io.fits.writer import image_unit, primary_unit

_PRIMARY_BLOCKS = 2


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
        self._common: Cards = {}

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
        stream, exposure = self._stream, exposure.as_rates()
        self._n += 1
        self._common = cards if self._n == 1 else common_cards([self._common, cards])
        version = self._n
        planes = mask_cards()
        header = extend_missing(set_cards(_image_header(exposure), cards), planes)

        def image(array: AnyArray, name: str, header: Header | None = None) -> None:
            image_unit(array, header, name=name, version=version).write(stream)

        def table(columns: Mapping[str, Any], name: str, header: Header | None = None) -> None:
            table_unit(columns, header, name=name, version=version).write(stream)

        image(exposure.image, "IMAGE", header)
        image(exposure.mask, "MASK", planes)
        if exposure.variance is not None:
            image(exposure.variance, "VARIANCE")
        elif derived_variance is not None:
            image(derived_variance, "VARIANCE", set_cards(Header(), {DERIVED[0]: DERIVED[1:]}))
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
    return set_cards(Header(), {f"MP_{p.name}": (p.value.bit_length() - 1, p.text) for p in Mask})


def current_header(exposure: Exposure) -> Header:
    """Return a copy of the header of an exposure with its present WCS."""
    header = Header() if exposure.header is None else exposure.header.copy()
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
        full: Cards = mosaic.full_wcs(wcs_cards(header))
        set_cards(header, full)
        header["NAXIS1"], header["NAXIS2"] = mosaic.full_shape(exposure.shape)[::-1]
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
    header = Header()
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
