"""Catalogues as astropy tables, and as text by them: CSV and ECSV."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import Cards
from skyextract.io.catalogs.text import element_names, plain_cards
from skyextract.io.fits.table import column_of, stored

if TYPE_CHECKING:
    from astropy.table import Table


def as_table(catalog: Catalog, cards: Mapping[str, Any]) -> Table:
    """Return a catalogue as a table, its columns with units and descriptions.

    Parameters
    ----------
    catalog : Catalog
    cards : mapping
        Header cards of the run, for `meta`: values or (value, comment).
    """
    from astropy import units
    from astropy.table import Column, Table

    table = Table(meta=dict(plain_cards(cards)))
    for name, values in catalog.items():
        column = column_of(name, values)
        unit = units.Unit(column.unit, parse_strict="silent") if column.unit else None
        data = stored(column, values).copy()
        data = data[:, 0] if data.shape[1:] == (1,) else data  # one aperture: as in a file
        meta = {"ucd": column.ucd} if column.ucd else {}
        table[name] = Column(data, unit=unit, description=column.description, meta=meta)
    return table


def _elements_apart(table: Table) -> Table:
    """Return a table with a column for each element of a vector, which any reader copes with."""
    from astropy.table import Column, Table

    apart = Table()
    for column in table.itercols():
        labels = element_names(column.name, column.shape[1:])
        rows = column.data.reshape(len(column), len(labels))
        for label, values in zip(labels, rows.T, strict=True):
            apart[label] = Column(values, unit=column.unit, description=column.description)
    return apart


def csv(catalog: Catalog) -> str:
    """Return a comma-separated table with names in its first line; a missing value is empty."""
    return _text(_elements_apart(as_table(catalog, {})), "csv", fill_values=[("nan", "")])


def ecsv(catalog: Catalog, cards: Sequence[Cards]) -> str:
    """Return an ECSV table (astropy APE 6): names, types, units, descriptions, cards."""
    table = _elements_apart(as_table(catalog, {}))
    meta = [dict(plain_cards(extension)) for extension in cards]
    if any(meta):
        table.meta["extensions"] = meta
    return _text(table, "ecsv")


def _text(table: Table, kind: str, **options: Any) -> str:
    from astropy.io import ascii as text_tables

    stream = io.StringIO()
    text_tables.write(table, stream, format=kind, **options)
    return stream.getvalue()
