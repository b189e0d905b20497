"""Catalogues as FITS binary tables.

The LDAC form is that of SExtractor, SCAMP and PSFEx: a table LDAC_IMHEAD with the header of
the image before the table LDAC_OBJECTS with the sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyextract.columns.request import COLUMNS, Column
from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import (
    Cards,
    Header,
    card_lines,
    extend_missing,
    is_structural,
    set_cards,
)
from skyextract.io.fits.writer import Unit, named
from skyextract.record import record

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
) -> Unit:
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
    described = described or {}
    fields = [_field(key, np.asarray(values)) for key, values in columns.items()]
    n_rows = len(fields[0].values) if fields else 0
    cards: dict[str, Any] = {}
    for number, (key, field) in enumerate(zip(columns, fields, strict=True), start=1):
        column = described.get(key)
        words = {
            "TTYPE": key,
            "TFORM": field.form,
            "TUNIT": column.unit if column else "",
            "TDISP": column.tdisp if column else "",
            "TDIM": field.dim,
        }
        cards |= {f"{word}{number}": value for word, value in words.items() if value}
    dtype = np.dtype([(f"{k}", f.values.dtype, f.values.shape[1:]) for k, f in enumerate(fields)])
    rows = np.zeros(n_rows, dtype)
    for k, field in enumerate(fields):
        rows[f"{k}"] = field.values
    unit = Unit(
        Header(
            {
                "XTENSION": ("BINTABLE", "binary table extension"),
                "BITPIX": (8, "array data type"),
                "NAXIS": (2, "number of array dimensions"),
                "NAXIS1": (dtype.itemsize, "length of dimension 1"),
                "NAXIS2": (n_rows, "length of dimension 2"),
                "PCOUNT": (0, "number of group parameters"),
                "GCOUNT": (1, "number of groups"),
                "TFIELDS": (len(fields), "number of table fields"),
                **cards,
                **named(name, version),
            }
        ),
        rows,
    )
    comments = {
        f"TCOMM{number}": described[key].description
        for number, key in enumerate(columns, start=1)
        if key in described
    }
    set_cards(unit.header, comments)
    if header is not None:
        extend_missing(unit.header, header, is_structural)
    return unit


@record
class _Field:
    """A column as it is stored: values in big-endian order, TFORM and TDIM."""

    values: AnyArray
    form: str
    dim: str


def _field(name: str, values: AnyArray) -> _Field:
    if values.dtype.kind == "U":
        values = np.char.encode(values, "ascii", "replace") if values.size else values.astype("S")
    shape = values.shape[1:]
    count = int(np.prod(shape, dtype=int))
    if values.dtype.kind == "S":
        width = values.dtype.itemsize
        axes = [width, *reversed(shape)]
        form = f"{count * width}A"
    else:
        kind = values.dtype.str[1:]
        kind = _WIDER.get(kind, kind)
        if kind not in _TFORM:
            raise TypeError(f"column {name}: a FITS table cannot hold {values.dtype}")
        values = values.astype(np.dtype(kind).newbyteorder(">"))
        if kind == "b1":
            values = np.where(values, b"T", b"F")
        axes = [*reversed(shape)]
        form = f"{'' if count == 1 else count}{_TFORM[kind]}"
    dim = "(" + ", ".join(map(str, axes)) + ")" if len(axes) > 1 else ""
    return _Field(values, form, dim)


def catalog_unit(catalog: Catalog, name: str, cards: Cards) -> Unit:
    """Return sources as a binary table in the types, units and formats of the column table."""
    columns, described = {}, {}
    for label, values in catalog.items():
        column = column_of(label, np.asarray(values))
        columns[label] = stored(column, values)
        if label in COLUMNS:
            described[label] = column
    header = set_cards(Header(), cards)
    return table_unit(columns, header, name=name, described=described)


def ldac_header_unit(header: Header, cards: Cards) -> Unit:
    """Return LDAC_IMHEAD: the header of the image as one row of 80-character records."""
    lines = card_lines(set_cards(header.copy(), cards))
    return table_unit({"Field Header Card": np.array([lines])}, name="LDAC_IMHEAD")
