"""Catalogues as FITS binary tables, and reading tables.

The LDAC form is that of SExtractor, SCAMP and PSFEx: a table LDAC_IMHEAD with the header of
the image before the table LDAC_OBJECTS with the sources.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from skyextract.catalog import Array, Catalog
from skyextract.columns import COLUMNS, Column
from skyextract.errors import ImageError
from skyextract.header import CARD, Header
from skyextract.io.fitsfile import FitsFile, HeaderUnit, card_integer
from skyextract.io.fitswriter import write_table

Cards = Mapping[str, Any]
"""Header cards: values, or (value, comment); None and NaN are cards without a value."""

_FORMATS = {"f4": "%15.8g", "f8": "%24.16g"}
_DTYPES = {
    "L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "A": "S",
}  # fmt: skip


def column_of(name: str, values: Array) -> Column:
    """Return the column table's entry of a name, or one made up from the array."""
    if name in COLUMNS:
        return COLUMNS[name]
    kind = values.dtype.str[1:]
    form = "%s" if values.dtype.kind in "US" else _FORMATS.get(kind, "%12d")
    return Column(name, "", dtype=kind, format=form)


def stored(column: Column, values: Array) -> Array:
    """Return the values in the type that the column is stored in."""
    values = np.asarray(values)
    if values.dtype.kind in "USb":
        return values
    if column.dtype.startswith("i") and values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=column.dtype)


def add_cards(header: Header, cards: Cards) -> Header:
    """Add or replace cards in `header`; returns it."""
    for keyword, item in cards.items():
        value, comment = item if isinstance(item, tuple) else (item, None)
        if isinstance(value, float | np.floating) and not math.isfinite(value):
            value = None
        header.set(keyword, value, comment)
    return header


def write_catalog_table(stream: BinaryIO, catalog: Catalog, name: str, cards: Cards) -> None:
    """Write a binary table; columns of the column table in its types, units and formats."""
    columns, units, described = {}, {}, {}
    for number, (label, values) in enumerate(catalog.items(), start=1):
        column = column_of(label, np.asarray(values))
        columns[label] = stored(column, values)
        units[label] = column.unit
        if label in COLUMNS:
            described[f"TDISP{number}"] = column.tdisp
            described[f"TCOMM{number}"] = column.description
    header = add_cards(Header(described), cards)
    write_table(stream, columns, header, name=name, units=units)


def write_ldac_header(stream: BinaryIO, header: Header, cards: Cards) -> None:
    """Write LDAC_IMHEAD: the header of the image as one row of 80-character records."""
    text = add_cards(header.copy(), cards).tostring(padding=False)
    records = np.array([text[k : k + CARD] for k in range(0, len(text), CARD)], dtype=f"U{CARD}")
    shape = Header({"TDIM1": f"({CARD}, {records.size})"})
    write_table(stream, {"Field Header Card": records[None, :]}, shape, name="LDAC_IMHEAD")


def read_ldac_header(file: FitsFile, unit: HeaderUnit) -> Header:
    """Return the image header that an LDAC_IMHEAD unit holds."""
    return Header.fromstring(file.table_bytes(unit))


def read_table(file: FitsFile, unit: HeaderUnit) -> Catalog:
    """Read a binary table; columns in native byte order, variable-length ones left out.

    Raises
    ------
    ImageError
        Truncated, or a header that does not describe its rows.
    """
    header = unit.header
    names, formats, offsets = [], [], []
    shapes: dict[str, tuple[int, ...]] = {}
    logical = set()
    offset = 0
    for number in range(1, card_integer(header, "TFIELDS", 0) + 1):
        match = re.match(r"\s*(\d*)([A-Z])", str(header.get(f"TFORM{number}") or ""))
        if match is None:
            raise ImageError(f"TFORM{number} is missing or no FITS format")
        count, code = int(match[1] or 1), match[2]
        if code not in _DTYPES:
            sizes = {"X": -(-count // 8), "P": 8 * count, "Q": 16 * count, "C": 8 * count}
            offset += sizes.get(code, 16 * count)
            continue
        name = str(header.get(f"TTYPE{number}") or f"col{number}").strip()
        base = np.dtype(f"S{count}" if code == "A" else _DTYPES[code])
        dims = re.findall(r"\d+", str(header.get(f"TDIM{number}") or ""))
        if code != "A" and dims and math.prod(map(int, dims)) == count:
            shapes[name] = tuple(map(int, reversed(dims)))
        elif code != "A" and count != 1:
            shapes[name] = (count,)
        whole = base if code == "A" else np.dtype((base, (count,)))
        if code == "L":
            logical.add(name)
        if count and name not in names:
            names.append(name)
            formats.append(whole)
            offsets.append(offset)
        offset += whole.itemsize
    row, n_rows = unit.shape
    if offset > row:
        raise ImageError(f"table rows of {row} bytes are described as {offset} bytes")
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": row})
    rows = np.frombuffer(file.table_bytes(unit), dtype=dtype, count=n_rows)
    columns: dict[str, Array] = {}
    for name in names:
        values = rows[name]
        if values.dtype.kind == "S":
            text = np.char.decode(values, "latin-1")
            columns[name] = text[:, 0] == "T" if name in logical else np.char.rstrip(text)
        else:
            native = values.astype(values.dtype.newbyteorder("="))
            columns[name] = native.reshape((n_rows, *shapes.get(name, ())))
    return Catalog(columns)
