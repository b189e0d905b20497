"""Catalogues as astropy tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from skyextract.datamodel.catalog import Catalog
from skyextract.io.catalogs.text import plain_cards
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
        table[name] = Column(data, unit=unit, description=column.description)
    return table
