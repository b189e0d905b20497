"""Tables of reference stars as files: FITS, FITS-LDAC, VOTable, CSV, ECSV, IPAC and Parquet.

The format is recognised by the first bytes, not by the name.  FITS tables are read without
astropy's table module, which takes longer to import than they take to read.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError, ParserCreate

import numpy as np

from skyextract.datamodel.arrays import F8, AnyArray
from skyextract.datamodel.header import repaired
from skyextract.errors import ImageError, ReferenceCatalogError
from skyextract.io.fits.file import side_file
from skyextract.io.fits.rows import Field, read_columns
from skyextract.io.references.lists import check_no_regions, with_names
from skyextract.messages import quiet
from skyextract.record import record
from skyextract.sky.bands import column_bands, split_unit
from skyextract.sky.dates import frame_date


@record
class Table:
    """Columns of a table with their units, as far as the file tells them.

    Attributes
    ----------
    by_position : tuple of str
        Of columns without names those that can be RA, Dec and a magnitude.
    year : float
        Julian year of the image that the sources were found on; NaN if the file tells none.
    """

    columns: Mapping[str, AnyArray]
    units: Mapping[str, str]
    by_position: tuple[str, ...] = ()
    year: float = math.nan

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()))) if self.columns else 0


def read_tables(path: str) -> list[Table]:
    """Read the tables of a file, one for most formats.

    Raises
    ------
    ReferenceCatalogError
        The file cannot be read as a table.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ReferenceCatalogError(f"{path}: {error.strerror or error}") from None
    if start[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as packed:
                start = packed.read(512)
        except (OSError, EOFError, zlib.error):
            raise ReferenceCatalogError(f"{path}: broken compressed file") from None
    if start.startswith((b"SIMPLE", b"BZh")):
        tables = _read_fits(path)
    elif start.startswith(b"PAR1"):
        tables = [_read_parquet(path)]
    elif b"<VOTABLE" in start or start.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"<?xml"):
        tables = [_read_votable(path)]
    else:
        tables = [_read_text(path)]
    return [_units_apart(table) for table in tables]


def _units_apart(table: Table) -> Table:
    """Take the units out of the names, ``g'mag (mag)``, unless two columns differ by them."""
    parted = {name: split_unit(name) for name in table.columns}
    plain = [name for name, _ in parted.values()]
    columns, units = {}, {}
    for name, (short, unit) in parted.items():
        new = short if plain.count(short) == 1 else name
        columns[new] = table.columns[name]
        # Johnson_V (V) repeats the band.
        units[new] = table.units.get(name) or ("" if column_bands([unit]) else unit)
    return replace(table, columns=columns, units=units)


def _read_fits(path: str) -> list[Table]:
    try:
        with side_file(path) as file:
            tables = []
            year = math.nan
            for unit in file.units:
                if unit.kind != "BINTABLE":
                    continue
                table = _with_units(read_columns(file, unit))
                if unit.name == "LDAC_IMHEAD":
                    year = _year_of_image(table)
                else:
                    tables.append(replace(table, year=year))
    except ImageError as error:
        raise ReferenceCatalogError(str(error)) from None
    if not tables:
        raise ReferenceCatalogError(f"{path}: FITS file without a binary table")
    return tables


def _year_of_image(table: Table) -> float:
    """Return the date of the image header of an LDAC catalogue; NaN if it has none."""
    cards = [str(card).ljust(80) for column in table.columns.values() for card in column.flat]
    return frame_date(repaired("".join(cards))).year


def _with_units(fields: list[tuple[Field, AnyArray]]) -> Table:
    """Collect the columns of a FITS table with their units, and make NaN of what is TNULL."""
    columns, units = {}, {}
    for field, stored in fields:
        values = field.values(stored)
        if field.null is not None and values.dtype.kind in "iuf":
            values = np.where(stored == field.null, np.nan, values.astype(np.float64))
        columns[field.name], units[field.name] = values, field.unit
    return Table(columns, units)


def _read_parquet(path: str) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ReferenceCatalogError(
            f"{path}: Parquet needs the extra skyextract[parquet]"
        ) from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ReferenceCatalogError(f"{path}: {error}") from None
    columns, units = {}, {}
    for field, values in zip(table.schema, table.columns, strict=True):
        if pyarrow.types.is_nested(field.type):
            continue
        columns[field.name] = values.to_numpy()
        units[field.name] = (field.metadata or {}).get(b"unit", b"").decode()
    return Table(columns, units)


def _read_votable(path: str) -> Table:
    raw = Path(path).read_bytes()
    return parse_votable(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw, path)


def parse_votable(raw: bytes, path: str) -> Table:
    """Read a VOTable that holds its data; none is fetched from where a STREAM points to.

    astropy would open the URL or the file of `href`, which a table from elsewhere must not
    decide.

    Parameters
    ----------
    raw : bytes
        The document.
    path : str
        Where it comes from, for messages.

    Raises
    ------
    ReferenceCatalogError
        It is damaged, or its data stand elsewhere.
    """
    from astropy.io.votable import parse_single_table

    try:
        where = _stream_reference(raw)
        if where:
            raise ReferenceCatalogError(
                f"{path}: the data stand elsewhere (STREAM href {where[:60]}), which is not "
                "followed; save the table with its data"
            )
        with quiet():
            table = parse_single_table(io.BytesIO(raw)).to_table(use_names_over_ids=True)
    except (ExpatError, ValueError, IndexError, OSError, TypeError) as error:
        raise ReferenceCatalogError(f"{path}: not a readable VOTable ({_brief(error)})") from None
    return _plain(table)


def _stream_reference(raw: bytes) -> str:
    """Return where the first STREAM with a reference points to; empty if there is none."""
    found: list[str] = []

    def look(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2].upper() == "STREAM":
            named = {key.rpartition(":")[2].lower(): value for key, value in attributes.items()}
            found.extend(named[key] for key in ("href",) if key in named)

    parser = ParserCreate()
    parser.StartElementHandler = look
    parser.Parse(raw, True)
    return found[0] or "''" if found else ""


def _read_text(path: str) -> Table:
    """Read ECSV, ASCII_HEAD, or CSV, VizieR's and other tables with one line of column names."""
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error):
            raise ReferenceCatalogError(f"{path}: broken compressed file") from None
    if b"\0" in raw[:4096]:
        raise ReferenceCatalogError(f"{path}: no table format that is known here")
    lines = raw.decode("utf-8-sig", "replace").splitlines()
    by_position: tuple[str, ...] = ()
    check_no_regions(path, lines)
    if lines and not lines[0].startswith("# %ECSV") and not _OF_SEXTRACTOR.match(lines[0]):
        lines, by_position = with_names(lines)
    head = list(islice((s for s in lines if s.strip() and not s.startswith("#")), 3))
    if not head:
        raise ReferenceCatalogError(f"{path}: empty table")
    if lines[0].startswith("# %ECSV"):
        return _parsed(path, lines, format="ecsv")
    if _OF_SEXTRACTOR.match(lines[0]):
        return _parsed(path, lines, format="sextractor")
    if head[0].startswith("\\") or all(line.startswith("|") for line in head[:2]):
        return _parsed(path, lines, format="ipac")
    delimiter = max(",;\t|", key=head[0].count)
    delimiter = delimiter if delimiter in head[0] else " "
    rulers = [i for i, line in enumerate(head) if i and set("-") <= set(line) <= {*"- ", delimiter}]
    ruler = rulers[0] if rulers else 0
    # In the form "tab" a value may be missing at the end of a line.
    form = "tab" if delimiter == "\t" else "basic"
    table = _parsed(path, lines, format=form, delimiter=delimiter, data_start=ruler + 1)
    if ruler < 2:
        return replace(table, by_position=by_position)
    # VizieR: a line of units, and a line of dashes.
    units = head[1].split(None if delimiter == " " else delimiter)
    named = zip(table.columns, (unit.strip() for unit in units), strict=False)
    return Table(table.columns, dict(named))


_OF_SEXTRACTOR = re.compile(r"#\s*1\s+[A-Za-z]\w*(\s|$)")
"""First line of a catalogue in the form ASCII_HEAD."""


def _parsed(path: str, lines: list[str], **options: Any) -> Table:
    from astropy.io import ascii as text_tables

    try:
        with quiet():
            # The fast reader ends at an open quote without a word.
            return _plain(text_tables.read(lines, guess=False, fast_reader=False, **options))
    except (ValueError, IndexError, KeyError, TypeError, csv.Error) as error:
        raise ReferenceCatalogError(f"{path}: not a readable table ({_brief(error)})") from None


def _brief(error: Exception) -> str:
    """Return what an error says in one short line."""
    return " ".join(str(error).split())[:120]


_MISSING = {"f": np.nan, "U": "", "S": b"", "O": ""}


def _plain(table: Any) -> Table:
    """Return an astropy table as arrays: missing numbers are NaN, missing text is empty."""
    from astropy.table.serialize import represent_mixins_as_columns

    columns, units = {}, {}
    for column in represent_mixins_as_columns(table).itercols():
        values = column
        if isinstance(values, np.ma.MaskedArray):
            if values.dtype.kind in "iu" and np.any(values.mask):
                values = values.astype(np.float64)
            values = values.filled(_MISSING.get(values.dtype.kind))
        columns[column.name] = np.asarray(values)
        units[column.name] = str(column.unit or "")
    return Table(columns, units)


def numbers(values: AnyArray) -> F8:
    """Return a column as float64; text that is no number, and missing values, are NaN.

    Of a vector column the first element counts.
    """
    values = np.asarray(values)
    if values.ndim > 1:
        values = values.reshape(len(values), -1)[:, 0]
    if values.dtype.kind in "fiub":
        return values.astype(np.float64)
    try:
        return np.array([v if v not in {"", None} else "nan" for v in values]).astype(np.float64)
    except (ValueError, TypeError):
        return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: Any) -> float:
    try:
        # AAVSO writes a magnitude with its error: 12.034 (0.021).
        return float(value.partition("(")[0] if isinstance(value, str) else value)
    except (ValueError, TypeError):
        return float("nan")
