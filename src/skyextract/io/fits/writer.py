"""Writing FITS files unit by unit, so that of many extensions only one is in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.header import BLOCK, Cards, Header, extend_missing, is_structural
from skyextract.io.fits.blocks import DTYPES

_BITPIX = {dtype[1:]: bits for bits, dtype in DTYPES.items()}
_UNSIGNED = {"u2": "i2", "u4": "i4", "u8": "i8", "i1": "u1"}
"""Types that are stored as another one, with BZERO (FITS Standard 4.0, table 11)."""
_WIDER = {"b1": "u1", "f2": "f4"}
_BLOCK_BYTES = 1 << 20
_EXTENSION: tuple[Cards, Cards] = (
    {"XTENSION": ("IMAGE", "Image extension")},
    {"PCOUNT": (0, "number of parameters"), "GCOUNT": (1, "number of groups")},
)
"""Cards of an image extension before and after those of its size."""


@dataclass
class Unit:
    """A header unit to be written: its header, and its numbers or rows as they are stored."""

    header: Header
    data: AnyArray | None = None

    def write(self, stream: BinaryIO) -> None:
        """Write header and data, each filled up to blocks."""
        stream.write(self.header.tostring().encode("ascii"))
        if self.data is None or not self.data.size:
            return
        data = np.ascontiguousarray(self.data).ravel()
        if data.dtype.byteorder in ">|":  # rows, too, are as they are stored
            stream.write(data.view(np.uint8).data)
        else:
            step = _BLOCK_BYTES // data.itemsize
            for first in range(0, data.size, step):
                piece = data[first : first + step]
                stream.write(piece.astype(piece.dtype.newbyteorder(">")).view(np.uint8).data)
        stream.write(b"\0" * (-data.nbytes % BLOCK))


def primary_unit(header: Header | None = None) -> Unit:
    """Return a primary header unit without data, with the cards of `header`."""
    unit = Unit(
        Header(
            {
                "SIMPLE": (True, "conforms to FITS standard"),
                "BITPIX": (8, "array data type"),
                "NAXIS": (0, "number of array dimensions"),
                "EXTEND": True,
            }
        )
    )
    return _with(unit, header)


def _with(unit: Unit, header: Header | None) -> Unit:
    if header is not None:
        extend_missing(unit.header, header, is_structural)
    return unit


def write_units(stream: BinaryIO, units: Iterable[Unit]) -> None:
    """Write header units, the first one primary, into an empty file."""
    for unit in units:
        unit.write(stream)


def image_unit(
    array: AnyArray,
    header: Header | None = None,
    *,
    primary: bool = False,
    name: str = "",
    version: int = 0,
) -> Unit:
    """Return an image header unit.

    Parameters
    ----------
    array : (ny, nx) or (n, ny, nx)
        Any integer or real type; unsigned integers are stored with BZERO.
    header : Header, optional
        Cards to carry over; those that describe its own storage are left out.
    primary : bool
        As the primary unit, else as an IMAGE extension.
    name, version : str, int
        EXTNAME and EXTVER, if given.
    """
    kind = array.dtype.str[1:]
    scaling: Cards = {}
    if kind in _WIDER:
        array = array.astype(_WIDER[kind])
    elif kind in _UNSIGNED:
        zero = 1 << 8 * array.itemsize - 1
        scaling = {"BSCALE": 1, "BZERO": -zero if kind == "i1" else zero}
        unsigned = np.dtype(f"u{array.itemsize}")
        # flipping the highest bit subtracts BZERO
        array = (array.view(unsigned) ^ unsigned.type(zero)).view(_UNSIGNED[kind])
    first: Cards = {"SIMPLE": (True, "conforms to FITS standard")}
    last: Cards = {"EXTEND": True}
    if not primary:
        first, last = _EXTENSION
    axes = {f"NAXIS{k}": n for k, n in enumerate(reversed(array.shape), start=1)}
    cards = Header(
        {
            **first,
            "BITPIX": (_BITPIX[array.dtype.str[1:]], "array data type"),
            "NAXIS": (array.ndim, "number of array dimensions"),
            **axes,
            **last,
            **scaling,
            **named(name, version),
        }
    )
    return _with(Unit(cards, array), header)


def empty_unit(header: Header, name: str = "") -> Unit:
    """Return an IMAGE extension without pixels, which keeps the place of one; see `image_unit`."""
    first, last = _EXTENSION
    axes: Cards = {"BITPIX": (8, "array data type"), "NAXIS": (0, "number of array dimensions")}
    return _with(Unit(Header({**first, **axes, **last, **named(name, 0)})), header)


def named(name: str, version: int) -> Cards:
    """Return EXTNAME and EXTVER, those that are given."""
    cards: dict[str, tuple[str | int, str]] = {}
    if name:
        cards["EXTNAME"] = (name, "extension name")
    if version:
        cards["EXTVER"] = (version, "extension value")
    return cards
