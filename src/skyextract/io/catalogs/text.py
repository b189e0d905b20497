"""Catalogues as text: SExtractor's ASCII kinds, CSV and ECSV.

Rows are formatted with one printf format per row, which is as fast as plain Python gets.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from skyextract.columns.request import Column
from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import Cards
from skyextract.datamodel.plain import plain
from skyextract.io.fits.table import column_of, stored

NO_MAGNITUDE = 99.0
"""What SExtractor's ASCII catalogues show where there is no magnitude."""

_CHUNK = 1000
"""Rows that are formatted at a time."""

_ECSV_TYPES = {
    "f4": "float32", "f8": "float64", "i2": "int16", "i4": "int32", "i8": "int64", "b1": "bool",
}  # fmt: skip
_UNITS = {
    "count": "ct", "pixel": "pix", "pixel**2": "pix2", "pixel**(-2)": "1 / pix2",
    "deg**2": "deg2", "deg**(-2)": "1 / deg2", "mag * arcsec**(-2)": "mag / arcsec2",
}  # fmt: skip


def described(catalog: Catalog) -> Iterator[tuple[Column, AnyArray]]:
    """Yield the columns' entries in the column table and their values as stored."""
    for name, given in catalog.items():
        values = np.asarray(given)
        column = column_of(name, values)
        yield column, stored(column, values)


def _scalars(values: AnyArray) -> list[list[Any]]:
    """Return the elements of a column, each as a list over the rows."""
    if values.ndim == 1:
        return [values.tolist()]
    n = int(np.prod(values.shape[1:]))
    elements: list[list[Any]] = np.moveaxis(values.reshape(len(values), n), 0, 1).tolist()
    return elements


def row_chunks(catalog: Catalog) -> Iterator[Catalog]:
    """Yield the catalogue in pieces, so that few rows at a time are Python objects."""
    for first in range(0, catalog.n_rows, _CHUNK):
        yield Catalog({n: values[first : first + _CHUNK] for n, values in catalog.items()})


def ascii_rows(catalog: Catalog, separator: str = " ") -> Iterator[str]:
    """Yield rows in SExtractor's print formats, with 99 for a magnitude that is missing."""
    for chunk in row_chunks(catalog):
        yield from _ascii_chunk(chunk, separator)


def _ascii_chunk(catalog: Catalog, separator: str) -> Iterator[str]:
    formats: list[str] = []
    elements: list[list[Any]] = []
    for column, given in described(catalog):
        values = given
        if column.unit.startswith("mag"):
            values = np.where(np.isnan(values), np.asarray(NO_MAGNITUDE, values.dtype), values)
        columns = _scalars(values)
        formats += [column.format] * len(columns)
        elements += columns
    row = separator.join(formats) + "\n"
    return (row % values for values in zip(*elements, strict=True))


def ascii_head(catalog: Catalog) -> Iterator[str]:
    """Yield the header lines of ASCII_HEAD: number, name, description and unit."""
    number = 1
    for column, values in described(catalog):
        unit = f" [{column.unit}]" if column.unit else ""
        yield f"# {number:3d} {column.name:<22} {column.description:<58}{unit}\n"
        number += int(np.prod(values.shape[1:]))


def element_names(name: str, shape: Sequence[int]) -> list[str]:
    """Return one name per element: the name itself if there is one, else NAME_1, NAME_2 ..."""
    n = int(np.prod(shape))
    return [name] if n == 1 else [f"{name}_{k}" for k in range(1, n + 1)]


def _skycat_order(names: Sequence[str]) -> dict[str, str]:
    """Return new names of the columns that Skycat knows as id, ra, dec and mag."""
    found: dict[str, str] = {}
    for label, start in (("id", "NUMBER"), ("ra", "ALPHA"), ("dec", "DELTA"), ("mag", "MAG_")):
        match = next((name for name in names if name.startswith(start)), None)
        if match is not None:
            found[match] = label
    return found


def skycat(catalog: Catalog) -> Iterator[str]:
    """Yield the lines of ASCII_SKYCAT, tab-separated; id, ra, dec, mag come first."""
    known = _skycat_order(list(catalog))
    ordered = catalog.select([*known, *(name for name in catalog if name not in known)])
    names: list[str] = []
    for name, values in ordered.items():
        labels = element_names(name, values.shape[1:])
        names += [known[name], *labels[1:]] if name in known else labels
    yield (
        "QueryResult\n\n# Config entry for original catalog server:\nserv_type: catalog\n"
        "long_name: skyextract catalog\nshort_name: skyextract\nsymbol: id diamond  8.0\n"
        "# End config entry\n\n"
    )
    yield "\t".join(names) + "\n" + "\t".join("-" * len(name) for name in names) + "\n"
    yield from ascii_rows(ordered, "\t")
    yield "EOD\n"


def _exact_rows(catalog: Catalog, separator: str, missing: str) -> Iterator[str]:
    """Yield rows with all digits of the stored values."""
    for chunk in row_chunks(catalog):
        yield from _exact_chunk(chunk, separator, missing)


def _exact_chunk(catalog: Catalog, separator: str, missing: str) -> Iterator[str]:
    elements: list[list[str]] = []
    for _, values in described(catalog):
        if values.dtype.kind == "f":
            form = "%.9g" if values.dtype.itemsize == 4 else "%.17g"
            elements += [
                [missing if math.isnan(v) else form % v for v in element]
                for element in _scalars(values)
            ]
        elif values.dtype.kind in "US":
            quoted = ['"' + str(v).replace('"', '""') + '"' for v in values.tolist()]
            elements.append(quoted)
        else:
            elements += [list(map(str, element)) for element in _scalars(values)]
    return (separator.join(row) + "\n" for row in zip(*elements, strict=True))


def csv(catalog: Catalog) -> Iterator[str]:
    """Yield a comma-separated table with names in its first line; a missing value is empty."""
    names: list[str] = []
    for name, values in catalog.items():
        names += element_names(name, values.shape[1:])
    yield ",".join(names) + "\n"
    yield from _exact_rows(catalog, ",", "")


def ecsv(catalog: Catalog, cards: Sequence[Cards]) -> Iterator[str]:
    """Yield an ECSV 1.0 table (astropy APE 6): names, types, units, descriptions, cards.

    Vector columns become one column per element, so that any reader of text tables copes.
    """
    yield "# %ECSV 1.0\n# ---\n# datatype:\n"
    names: list[str] = []
    for column, values in described(catalog):
        kind = _ECSV_TYPES.get(values.dtype.str[1:], "string")
        for name in element_names(column.name, values.shape[1:]):
            names.append(name)
            entry = {"name": name, "datatype": kind}
            if column.unit:
                entry["unit"] = _UNITS.get(column.unit, column.unit)
            if column.description:
                entry["description"] = column.description
            yield f"# - {json.dumps(entry)}\n"
    meta = [plain_cards(extension) for extension in cards]
    if any(meta):
        yield f"# meta: {json.dumps({'extensions': meta})}\n"
    yield "# schema: astropy-2.0\n" + " ".join(names) + "\n"
    yield from _exact_rows(catalog, " ", "nan")


def plain_cards(cards: Cards) -> Mapping[str, Any]:
    """Return the values of header cards as JSON can hold them; an unknown number is None."""
    values = {name: item[0] if isinstance(item, tuple) else item for name, item in cards.items()}
    return {name: plain(value) for name, value in values.items()}
