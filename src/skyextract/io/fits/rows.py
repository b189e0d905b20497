"""Reading FITS binary tables (FITS Standard 4.0, section 7.3)."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import Header, header_number
from skyextract.errors import ImageError
from skyextract.io.fits.file import FitsFile, HeaderUnit, card_integer
from skyextract.record import record

_TYPES = {
    "L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "C": ">c8",
    "M": ">c16", "P": ">i8", "Q": ">c16",
}  # fmt: skip
_LEFT_OUT = "XCMPQ"
"""Bits, complex numbers, and rows of different lengths."""
_FORM = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])(\d*)")


@record
class Field:
    """A column of a binary table.

    Attributes
    ----------
    name, unit : str
        TTYPE and TUNIT.
    code : str
        The letter of TFORM.
    dtype : numpy.dtype
        Of its bytes in a row, with the shape that TFORM and TDIM say.
    scale, zero : float
        TSCAL and TZERO.
    null : int or None
        TNULL.
    """

    name: str
    unit: str
    code: str
    dtype: np.dtype[Any]
    scale: float
    zero: float
    null: int | None

    def values(self, stored: AnyArray) -> AnyArray:
        """Return the values of what is stored, in native byte order."""
        if self.code == "A":
            # of no rows, numpy 1 makes numbers
            text = np.char.decode(stored, "latin-1") if stored.size else stored.astype(str)
            return np.char.rstrip(text)
        if self.code == "L":
            return np.asarray(stored == b"T")
        native = np.ascontiguousarray(stored, stored.dtype.newbyteorder("="))
        if self.scale == 1.0 and self.zero == 0.0:
            return native
        bits = 8 * native.itemsize
        if self.scale == 1.0 and native.dtype.kind == "i" and self.zero == 2.0 ** (bits - 1):
            unsigned = np.dtype(f"u{native.itemsize}")
            return np.asarray(native.view(unsigned) ^ unsigned.type(1 << (bits - 1)))
        return native.astype(np.float64) * self.scale + self.zero


def fields_of(header: Header) -> list[Field]:
    """Return the columns that the header of a binary table describes.

    Raises
    ------
    ImageError
        TFIELDS or a TFORM is missing or makes no sense.
    """
    n = card_integer(header, "TFIELDS")
    if not 0 <= n <= 999:
        raise ImageError(f"TFIELDS = {n}: must be 0 to 999")
    return [_field(header, k) for k in range(1, n + 1)]


def _field(header: Header, k: int) -> Field:
    form = str(header.get(f"TFORM{k}") or "")
    match = _FORM.match(form)
    if match is None:
        raise ImageError(f"TFORM{k} = {form} is no format of a column")
    code, repeat, part = match[2], int(match[1] or 1), int(match[3] or 0)
    if repeat > 8 * card_integer(header, "NAXIS1"):
        raise ImageError(f"TFORM{k} = {form} is more than a row of the table has")
    axes = [int(n) for n in re.findall(r"\d+", str(header.get(f"TDIM{k}") or ""))]
    axes = axes if math.prod(axes) == repeat else []
    scale, zero = header_number(header.get(f"TSCAL{k}")), header_number(header.get(f"TZERO{k}"))
    null = header.get(f"TNULL{k}")
    return Field(
        str(header.get(f"TTYPE{k}") or "").strip() or f"col{k}",
        str(header.get(f"TUNIT{k}") or "").strip(),
        code,
        _stored(code, repeat, part, axes),
        1.0 if scale is None else scale,
        zero or 0.0,
        null if isinstance(null, int) and not isinstance(null, bool) else None,
    )


def _stored(code: str, repeat: int, part: int, axes: list[int]) -> np.dtype[Any]:
    """Return the type of a column's bytes in a row.

    Parameters
    ----------
    part : int
        Characters of each text where TFORM says so (20A5: four of 5); 0: it does not.
    axes : list of int
        TDIM, if it fits.
    """
    if code == "X" or math.prod(axes) * repeat == 0:
        return np.dtype(("u1", (-(-repeat // 8),)))
    if code == "A":
        if axes:
            part, shape = axes[0], tuple(reversed(axes[1:]))
        elif part and repeat % part == 0:
            shape = (repeat // part,)
        else:
            part, shape = repeat, ()
        return np.dtype((f"S{part}", shape))
    shape = tuple(reversed(axes)) if axes else (repeat,)
    return np.dtype((_TYPES[code], () if repeat == 1 and not axes else shape))


def read_columns(file: FitsFile, unit: HeaderUnit) -> list[tuple[Field, AnyArray]]:
    """Return the columns of a binary table as they are stored, and what they are.

    Those of rows of different lengths, bits, complex numbers and nothing at all are left out.

    Raises
    ------
    ImageError
        Truncated, or a header that does not describe its rows.
    """
    fields = fields_of(unit.header)
    if len(unit.shape) != 2:
        raise ImageError(f"a table with {len(unit.shape)} axes")
    width = unit.shape[0]
    ends = np.cumsum([field.dtype.itemsize for field in fields])
    if fields and ends[-1] > width:
        raise ImageError(f"the columns of the table take {ends[-1]} bytes, its rows have {width}")
    row = np.dtype(
        {
            "names": [f"{k}" for k in range(len(fields))],
            "formats": [field.dtype for field in fields],
            "offsets": [end - f.dtype.itemsize for end, f in zip(ends, fields, strict=True)],
            "itemsize": width,
        }
    )
    rows = file.rows(unit, row)
    return [
        (field, rows[f"{k}"])
        for k, field in enumerate(fields)
        if field.code not in _LEFT_OUT and field.dtype.itemsize
    ]


def read_table(file: FitsFile, unit: HeaderUnit) -> Catalog:
    """Read a binary table.

    Raises
    ------
    ImageError
        As `read_columns`.
    """
    return Catalog({f.name: f.values(stored) for f, stored in read_columns(file, unit)})
