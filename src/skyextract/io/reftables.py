"""Tables of reference stars as files: FITS, FITS-LDAC, VOTable, CSV, ECSV and Parquet.

The format is recognised by the first bytes, not by the name.  Text tables are read without
astropy, whose table module takes longer to import than they take to read.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyextract.errors import ImageError, ReferenceCatalogError
from skyextract.io.fitsfile import FitsFile
from skyextract.io.fitstable import read_table as read_fits_table

Array = NDArray[Any]


@dataclass(frozen=True)
class Table:
    """Columns of a table with their units, as far as the file tells them."""

    columns: Mapping[str, Array]
    units: Mapping[str, str]

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
        except (OSError, EOFError):
            raise ReferenceCatalogError(f"{path}: broken compressed file") from None
    if start.startswith((b"SIMPLE", b"BZh")):
        return _read_fits(path)
    if start.startswith(b"PAR1"):
        return [_read_parquet(path)]
    if b"<VOTABLE" in start or start.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"<?xml"):
        return [_read_votable(path)]
    return [_read_text(path)]


def _read_fits(path: str) -> list[Table]:
    try:
        with FitsFile(path) as file:
            tables = []
            for unit in file.units:
                if unit.kind == "BINTABLE" and unit.name != "LDAC_IMHEAD":
                    columns = dict(read_fits_table(file, unit))
                    tables.append(_with_units(columns, file.rows(unit)))
    except ImageError as error:
        raise ReferenceCatalogError(str(error)) from None
    if not tables:
        raise ReferenceCatalogError(f"{path}: FITS file without a binary table")
    return tables


def _with_units(columns: dict[str, Array], rows: Any) -> Table:
    """Collect the units of a FITS table, and make NaN of what is TNULL."""
    units = {}
    for column in rows.columns:
        if column.name not in columns:
            continue
        units[column.name] = str(column.unit or "").strip()
        if isinstance(column.null, int) and columns[column.name].dtype.kind in "iuf":
            numbers_stored = rows.view(np.ndarray)[column.name]
            values = columns[column.name].astype(np.float64)
            columns[column.name] = np.where(numbers_stored == column.null, np.nan, values)
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
    from astropy.io.votable import parse_single_table

    try:
        table = parse_single_table(path)
    except (ValueError, IndexError, OSError, TypeError) as error:
        raise ReferenceCatalogError(f"{path}: not a readable VOTable ({error})") from None
    columns, units = {}, {}
    for field in table.fields:
        values = table.array[field.ID]
        if values.dtype.kind == "f":
            values = values.filled(np.nan)
        elif values.dtype.kind in "iu" and np.any(np.ma.getmaskarray(values)):
            values = values.astype(np.float64).filled(np.nan)
        elif values.dtype.kind in "iub":
            values = values.data
        else:
            values = np.array([str(value) for value in values.filled("")], dtype=object)
        columns[field.name] = np.asarray(values)
        units[field.name] = "" if field.unit is None else str(field.unit)
    return Table(columns, units)


def _read_text(path: str) -> Table:
    """Read CSV, ECSV, or VizieR's and other text tables with one line of column names."""
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    if b"\0" in raw[:4096]:
        raise ReferenceCatalogError(f"{path}: no table format that is known here")
    lines = raw.decode("utf-8-sig", "replace").splitlines()
    comments = [line for line in lines if line.startswith("#")]
    body = [line for line in lines if line.strip() and not line.startswith("#")]
    if not body:
        raise ReferenceCatalogError(f"{path}: empty table")
    units: dict[str, str] = {}
    if comments and comments[0].startswith("# %ECSV"):
        units, delimiter = _ecsv_header("\n".join(line[1:].lstrip() for line in comments))
    else:
        delimiter = max(",;\t|", key=body[0].count)
        delimiter = delimiter if delimiter in body[0] else " "
    if delimiter == " ":
        # Columns aligned with several blanks.
        body = [" ".join(line.split()) for line in body]
    rows = list(csv.reader(io.StringIO("\n".join(body)), delimiter=delimiter))
    names = [name.strip().strip('"') for name in rows[0]]
    rows = rows[1:]
    ruler = next(
        (i for i, row in enumerate(rows[:2]) if re.fullmatch(r"[-\s]+", "".join(row))), None
    )
    if ruler is not None:
        # VizieR: a line of units, and a line of dashes.
        if ruler == 1:
            units = {n: u.strip() for n, u in zip(names, rows[0], strict=False)}
        rows = rows[ruler + 1 :]
    bad = next((i for i, row in enumerate(rows) if len(row) != len(names)), None)
    if bad is not None:
        raise ReferenceCatalogError(
            f"{path}: row {bad + 1} has {len(rows[bad])} columns, the header has {len(names)}"
        )
    table = [np.array(column, dtype=object) for column in zip(*rows, strict=True)]
    if not table:
        table = [np.zeros(0, dtype=object) for _ in names]
    return Table(dict(zip(names, table, strict=True)), units)


def _ecsv_header(text: str) -> tuple[dict[str, str], str]:
    """Return units by column, and the delimiter, of an ECSV header without its hashes."""
    units = {}
    text = re.sub(r"\s+", " ", text)
    for entry in re.findall(r"\{\s*name:(.*?)\}", text):
        name = re.match(r"\s*('[^']*'|\"[^\"]*\"|[^,]+)", entry)
        unit = re.search(r"\bunit:\s*('[^']*'|\"[^\"]*\"|[^,]+)", entry)
        if name is not None:
            key = name[1].strip().strip("'\"")
            units[key] = unit[1].strip().strip("'\"") if unit else ""
    delimiter = re.search(r"delimiter:\s*'(.)'|delimiter:\s*\"(.)\"|delimiter:\s*(\S)", text)
    found = next((group for group in delimiter.groups() if group), " ") if delimiter else " "
    return units, found


def numbers(values: Array) -> NDArray[np.float64]:
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
        return float(value)
    except (ValueError, TypeError):
        return float("nan")
