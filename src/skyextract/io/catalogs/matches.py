"""The match table: which source was paired with which reference star."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import Cards, common_cards, set_cards
from skyextract.io.atomic import OpenOutput, atomic_output
from skyextract.io.fits.table import table_unit
from skyextract.io.fits.writer import primary_unit, write_units


def write_matches(
    path: str | Path,
    pairs: Sequence[tuple[Catalog, Catalog]],
    cards: Sequence[Cards] = (),
    open_output: OpenOutput = atomic_output,
) -> None:
    """Write the pairs with the reference catalogues as FITS tables.

    Parameters
    ----------
    path : str or Path
    pairs : sequence of (astrometric, photometric) matches
        One per image extension, counted by EXTVER; a step that did not match has no table.
    cards : sequence of mapping, optional
        Status cards of the same extensions.
    open_output : callable
        What opens the file; default: by itself, see `atomic_output`.
    """
    primary = primary_unit()
    set_cards(primary.header, common_cards(cards))
    units = [primary]
    for number, tables in enumerate(pairs):
        for name, table in zip(("ASTROMETRY", "PHOTOMETRY"), tables, strict=True):
            if table.columns:
                unit = table_unit(dict(table), name=name, version=number + 1)
                set_cards(unit.header, cards[number] if cards else {})
                units.append(unit)
    with open_output(path) as stream:
        write_units(stream, units)
