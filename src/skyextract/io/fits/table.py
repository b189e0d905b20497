"""Catalogues as FITS binary tables, and reading tables.

The LDAC form is that of SExtractor, SCAMP and PSFEx: a table LDAC_IMHEAD with the header of
the image before the table LDAC_OBJECTS with the sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.columns.request import COLUMNS, Column
from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import (
    CARD,
    Cards,
    card_lines,
    extend_missing,
    is_structural,
    set_cards,
)
from skyextract.io.fits.file import FitsFile, HeaderUnit, guarded
from skyextract.messages import quiet

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU, Header

_FORMATS = {"f4": "%15.8g", "f8": "%24.16g"}
_TFORM = {"b1": "L", "u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}
_WIDER = {"i1": "i2", "u2": "i4", "u4": "i8", "f2": "f4"}


def column_of(name: str, values: AnyArray) -> Column:
    """Return the column table's entry of a name, or one made up from the array."""
    if name in COLUMNS:
        return COLUMNS[name]
    kind = values.dtype.str[1:]
    form = "%s" if values.dtype.kind in "US" else _FORMATS.get(kind, "%12d")
    return Column(name, "", dtype=kind, format=form)


def stored(column: Column, values: AnyArray) -> AnyArray:
    """Return the values in the type that the column is stored in."""
    values = np.asarray(values)
    if values.dtype.kind in "USb":
        return values
    if column.dtype.startswith("i") and values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=column.dtype)


def table_unit(
    columns: Mapping[str, AnyArray],
    header: Header | None = None,
    *,
    name: str = "",
    version: int = 0,
    described: Mapping[str, Column] | None = None,
) -> BinTableHDU:
    """Return a binary table as a header unit.

    Parameters
    ----------
    columns : mapping of str to array
        Rows along the first axis; booleans, integers up to int64, float32, float64 and text.
        Vector columns have further axes.
    header : Header, optional
        Further cards.
    name, version : str, int
        EXTNAME and EXTVER, if given.
    described : mapping of str to Column, optional
        Unit, print format and description of columns.

    Raises
    ------
    TypeError
        A column of a type that a binary table cannot hold.
    """
    from astropy.io import fits

    described = described or {}
    with quiet():
        fields = [
            _field(key, np.asarray(values), described.get(key)) for key, values in columns.items()
        ]
        # given to the constructor, the rows would make astropy import its table module
        unit = fits.BinTableHDU(name=name or None, ver=version or None)
        if fields:
            unit.data = fits.FITS_rec.from_columns(fits.ColDefs(fields))
        for number, key in enumerate(columns, start=1):
            if key in described:
                set_cards(unit.header, {f"TCOMM{number}": described[key].description})
        if header is not None:
            extend_missing(unit.header, header, is_structural)
    return unit


def _field(name: str, values: AnyArray, described: Column | None) -> Any:
    from astropy.io import fits

    if values.dtype.kind == "U":
        values = np.char.encode(values, "ascii", "replace")
    if values.dtype.kind == "S":
        form, width = "A", values.dtype.itemsize
    else:
        kind = values.dtype.str[1:]
        kind = _WIDER.get(kind, kind)
        if kind not in _TFORM:
            raise TypeError(f"column {name}: a FITS table cannot hold {values.dtype}")
        values, form, width = values.astype(kind), _TFORM[kind], 1
    shape = values.shape[1:]
    count = int(np.prod(shape, dtype=int)) * width
    axes = [*([width] if form == "A" else []), *reversed(shape)]
    return fits.Column(
        name=name,
        format=f"{'' if count == 1 and form != 'A' else count}{form}",
        dim="(" + ", ".join(map(str, axes)) + ")" if len(axes) > 1 else None,
        unit=(described.unit or None) if described else None,
        disp=(described.tdisp or None) if described else None,
        array=values,
    )


def catalog_unit(catalog: Catalog, name: str, cards: Cards) -> BinTableHDU:
    """Return sources as a binary table in the types, units and formats of the column table."""
    from astropy.io import fits

    columns, described = {}, {}
    for label, values in catalog.items():
        column = column_of(label, np.asarray(values))
        columns[label] = stored(column, values)
        if label in COLUMNS:
            described[label] = column
    header = set_cards(fits.Header(), cards)
    return table_unit(columns, header, name=name, described=described)


def ldac_header_unit(header: Header, cards: Cards) -> BinTableHDU:
    """Return LDAC_IMHEAD: the header of the image as one row of 80-character records."""
    from astropy.io import fits

    with quiet():
        lines = card_lines(set_cards(header.copy(), cards))
    # astropy replaces the blanks at the end of text by zeros, and SCAMP and PSFEx do not
    # survive a header with zeros in it: bytes that are called text keep their blanks
    text = np.frombuffer("".join(lines).encode("ascii", "replace"), np.uint8)
    unit = table_unit({"Field Header Card": text[np.newaxis]}, name="LDAC_IMHEAD")
    unit.columns[0].format = fits.Column("text", f"{text.size}A").format
    unit.header.set("TDIM1", f"({CARD}, {len(lines)})", after="TFORM1")
    return unit


def read_table(file: FitsFile, unit: HeaderUnit) -> Catalog:
    """Read a binary table; columns in native byte order, variable-length ones left out.

    Raises
    ------
    ImageError
        Truncated, or a header that does not describe its rows.
    """
    rows = file.rows(unit)
    columns: dict[str, AnyArray] = {}
    with guarded("table cannot be read"):
        for column in rows.columns:
            if any(code in str(column.format) for code in "PQXCM"):
                continue
            values = np.asarray(rows[column.name])
            if values.dtype.kind in "US":
                columns[column.name] = np.char.rstrip(values.astype(str))
            else:
                columns[column.name] = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    return Catalog(columns)
