"""Catalogues as text: SExtractor's ASCII kinds.

Rows are formatted with one printf format per row, which is as fast as plain Python gets.
"""

from __future__ import annotations

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


def plain_cards(cards: Cards) -> Mapping[str, Any]:
    """Return the values of header cards as JSON can hold them; an unknown number is None."""
    values = {name: item[0] if isinstance(item, tuple) else item for name, item in cards.items()}
    return {name: plain(value) for name, value in values.items()}
