"""Writing source catalogues in all their formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skyextract.datamodel.arrays import AnyArray
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.header import Cards, Header, common_cards, set_cards
from skyextract.errors import ConfigError
from skyextract.io.atomic import OpenOutput, atomic_output
from skyextract.io.catalogs.tables import csv, ecsv
from skyextract.io.catalogs.text import ascii_head, ascii_rows, plain_cards, skycat
from skyextract.io.catalogs.votable import votable, xml_summary
from skyextract.io.fits.table import catalog_unit, column_of, ldac_header_unit, stored
from skyextract.io.fits.writer import primary_unit, write_units
from skyextract.io.streams import STDOUT
from skyextract.messages import encoded
from skyextract.settings.extras import require

if TYPE_CHECKING:
    from typing import BinaryIO


FITS_KINDS = ("FITS_1.0", "FITS_LDAC")


class Extension(NamedTuple):
    """The sources of one image extension.

    Attributes
    ----------
    catalog : Catalog
        Finished columns, in order.
    header : Header
        Header of the image, for LDAC_IMHEAD.
    cards : mapping
        Cards of the run (SKYVERS, SKYMEAS, FWHMPIX ...), values or (value, comment).
    """

    catalog: Catalog
    header: Header
    cards: Cards


def check_catalog(name: str, kind: str) -> None:
    """Check that a catalogue can be written at all, before any work is done.

    Raises
    ------
    ConfigError
        A binary format to STDOUT, or PARQUET without pyarrow.
    """
    if name.upper() == STDOUT and kind in (*FITS_KINDS, "PARQUET"):
        raise ConfigError(f"CATALOG_NAME STDOUT: CATALOG_TYPE {kind} is binary and needs a file")
    if kind == "PARQUET":
        require("CATALOG_TYPE PARQUET", "parquet", "pyarrow")


def write_catalog(
    path: str,
    kind: str,
    extensions: Sequence[tuple[Catalog, Header, Cards]],
    open_output: OpenOutput = atomic_output,
) -> None:
    """Write one catalogue file.

    Parameters
    ----------
    path : str
        File, or STDOUT for the text formats; nothing is written if `kind` is NONE.
    kind : str
        CATALOG_TYPE.
    extensions : sequence of (catalog, image header, cards)
        One per image extension.  FITS and VOTable catalogues have a table for each, the
        others their rows one after the other (EXT_NUMBER tells them apart).
    open_output : callable
        What opens the file; default: by itself, see `atomic_output`.

    Raises
    ------
    ConfigError
        See `check_catalog`.
    SkyextractError
        The file cannot be written.
    """
    if kind == "NONE":
        return
    check_catalog(path, kind)
    tables = [Extension(*extension) for extension in extensions]
    with open_output(path) as stream:
        if kind in FITS_KINDS:
            _write_fits(stream, tables, ldac=kind == "FITS_LDAC")
        elif kind == "PARQUET":
            _write_parquet(stream, tables)
        else:
            stream.writelines(text.encode("utf-8", "replace") for text in _text(kind, tables))


def _write_fits(stream: BinaryIO, tables: Sequence[Extension], *, ldac: bool) -> None:
    primary = primary_unit()
    set_cards(primary.header, common_cards([table.cards for table in tables]))
    units = [primary]
    for catalog, header, cards in tables:
        if ldac:
            units.append(ldac_header_unit(header, cards))
        units.append(catalog_unit(catalog, "LDAC_OBJECTS" if ldac else "OBJECTS", cards))
    write_units(stream, units)


def joined(tables: Sequence[Extension]) -> Catalog:
    """Return the rows of all extensions in one catalogue.

    A column that an extension does not have (it has no PSF, for example) is NaN there, or 0
    if it is an integer.
    """
    if len(tables) == 1:
        return tables[0].catalog
    examples: dict[str, AnyArray] = {}
    for table in tables:
        examples.update({n: v for n, v in table.catalog.items() if n not in examples})
    columns: dict[str, list[AnyArray]] = {name: [] for name in examples}
    for table in tables:
        for name, example in examples.items():
            missing = np.nan if example.dtype.kind == "f" else np.zeros((), example.dtype)
            shape = (table.catalog.n_rows, *example.shape[1:])
            columns[name].append(table.catalog.get(name, np.full(shape, missing)))
    return Catalog({name: np.concatenate(parts) for name, parts in columns.items()})


def _text(kind: str, tables: Sequence[Extension]) -> Iterator[str]:
    if kind == "ASCII_VOTABLE":
        yield votable([(table.catalog, table.cards) for table in tables])
        return
    catalog = joined(tables)
    if kind == "ASCII_HEAD":
        yield from ascii_head(catalog)
    if kind in ("ASCII", "ASCII_HEAD"):
        yield from ascii_rows(catalog)
    elif kind == "ASCII_SKYCAT":
        yield from skycat(catalog)
    elif kind == "CSV":
        yield csv(catalog)
    else:
        yield ecsv(catalog, [table.cards for table in tables])


def _write_parquet(stream: BinaryIO, tables: Sequence[Extension]) -> None:
    import json

    import pyarrow as pa
    from pyarrow import parquet

    arrays, fields = [], []
    for name, given in joined(tables).items():
        column = column_of(name, np.asarray(given))
        values = stored(column, given)
        array = pa.array(values.reshape(-1))
        for length in reversed(values.shape[1:]):
            array = pa.FixedSizeListArray.from_arrays(array, length)
        arrays.append(array)
        description = {"unit": column.unit, "description": column.description}
        fields.append(pa.field(name, array.type, metadata=description))
    cards = [plain_cards(table.cards) for table in tables]
    schema = pa.schema(fields, metadata={"skyextract": json.dumps(cards)})
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), stream)


def write_xml_summary(
    path: str | Path,
    software: Mapping[str, Any],
    extensions: Sequence[Cards],
    warnings: Sequence[str],
    config: Mapping[str, Any],
    open_output: OpenOutput = atomic_output,
) -> None:
    """Write the XML summary of a run (WRITE_XML); see `votable.xml_summary`."""
    with open_output(path) as stream:
        stream.write(encoded(xml_summary(software, extensions, warnings, config)))


def sextractor_cards(
    *,
    background: float,
    background_rms: float,
    threshold: float,
    analysis_threshold: float,
    n_sources: int,
    gain: float,
    pixel_scale: float,
    saturation: float,
    zero_point: float,
) -> dict[str, tuple[Any, str]]:
    """Return the cards of SExtractor's LDAC header that its clients read.

    PSFEx takes the noise from SEXBKDEV and the gain from SEXGAIN.  Levels in image units.
    """
    return {
        "SEXBKGND": (background, "median background level"),
        "SEXBKDEV": (background_rms, "median background RMS"),
        "SEXTHLD": (threshold, "extraction threshold"),
        "SEXATHLD": (analysis_threshold, "analysis threshold"),
        "SEXNFIN": (n_sources, "number of sources"),
        "SEXPXSCL": (pixel_scale, "pixel scale (arcsec)"),
        "SEXGAIN": (gain, "gain (e-/ADU), 0 if unknown"),
        "SEXSATLV": (saturation, "saturation level"),
        "SEXMGZPT": (zero_point, "magnitude zero point"),
    }
