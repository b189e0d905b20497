"""The table of a night, an ECSV file that several processes may add to at once."""

from __future__ import annotations

import csv
import fcntl
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skyextract.errors import OutputError
from skyextract.io.atomic import atomic_output
from skyextract.messages import encoded

Row = dict[str, Any]

COLUMNS: dict[str, tuple[str, str, str]] = {
    "file": ("string", "", "image"),
    "extension": ("int32", "", "number of the extension"),
    "object": ("string", "", "of the header"),
    "filter": ("string", "", "of the header"),
    "date_obs": ("string", "", "of the header"),
    "mjd": ("float64", "d", "of the header"),
    "exposure_time": ("float64", "s", "of the header"),
    "airmass": ("float64", "", "of the header"),
    "moon_separation": ("float64", "deg", "from the pointing"),
    "moon_illumination": ("float64", "", "share of the disk that is lit"),
    "moon_altitude": ("float64", "deg", "above the horizon of the site"),
    "seeing": ("float64", "arcsec", "FWHM of the PSF"),
    "fwhm": ("float64", "pix", "FWHM of the PSF"),
    "ellipticity": ("float64", "", "1 - b/a of the PSF"),
    "sky_brightness": ("float64", "mag / arcsec2", "from the background"),
    "zero_point": ("float64", "mag", "fitted"),
    "zero_point_error": ("float64", "mag", "standard error"),
    "zero_point_1s": ("float64", "mag", "for one second"),
    "transparency": ("float64", "", "light relative to the best frame of the filter in this table"),
    "limiting_mag": ("float64", "mag", "5 sigma of a point source"),
    "pointing_offset": ("float64", "arcsec", "from the header to the solution"),
    "n_sources": ("int32", "", "sources"),
    "status": ("string", "", "complete, partial or failed"),
    "warnings": ("string", "", "all, with ; between them"),
    "report": ("string", "", "page of the frame"),
}
"""Column: type, unit and description."""

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "int32": (int,), "float64": (float, int)
}  # fmt: skip
_READ: dict[str, Callable[[str], Any]] = {"string": str, "int32": int, "float64": float}


def checked_row(row: Mapping[str, Any]) -> Row:
    """Return a row whose numbers are finite or None.

    Raises
    ------
    TypeError
        A value is not of the type of its column.
    """
    checked: Row = {}
    for name, (kind, _, _) in COLUMNS.items():
        value = row[name]
        if value is not None and not isinstance(value, _TYPES[kind]):
            raise TypeError(f"{name} = {value!r}")
        if isinstance(value, str):
            value = encoded(value).decode()
        unknown = isinstance(value, float) and not math.isfinite(value)
        checked[name] = None if unknown else value
    return checked


def read_night(path: Path) -> list[Row]:
    """Return the rows of the table of a night; none if there is no file.

    Raises
    ------
    OutputError
        The file is another table: it is not overwritten.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError):
        raise OutputError(f"{path}: is no table of a night, and is not overwritten") from None
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("#")]
    table = csv.DictReader(lines, delimiter=",")
    names = set(table.fieldnames or ())
    if not text.startswith("# %ECSV") or not {"file", "extension"} <= names <= set(COLUMNS):
        raise OutputError(f"{path}: is no table of a night, and is not overwritten")
    try:
        return [
            dict.fromkeys(COLUMNS)  # an older version had fewer
            | {
                name: _READ[COLUMNS[name][0]](value) if value else None
                for name, value in row.items()
            }
            for row in table
        ]
    except (KeyError, TypeError, ValueError):
        raise OutputError(f"{path}: is no table of a night, and is not overwritten") from None


def write_night(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table; what is None is masked."""
    text = io.StringIO()
    text.write("# %ECSV 1.0\n# ---\n# delimiter: ','\n# datatype:\n")
    for name, (kind, unit, description) in COLUMNS.items():
        unit_item = f"unit: {unit}, " if unit else ""
        text.write(
            f"# - {{name: {name}, {unit_item}datatype: {kind}, description: '{description}'}}\n"
        )
    text.write("# schema: astropy-2.0\n")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([_word(row.get(name)) for name in COLUMNS] for row in rows)
    with atomic_output(path) as stream:
        stream.write(encoded(text.getvalue()))


def _word(value: Any) -> str:
    """Return a value in one line; what is unknown is empty."""
    if value is None:
        return ""
    return " ".join(value.split()) if isinstance(value, str) else repr(value)


def update_night(path: Path, change: Callable[[list[Row]], list[Row]]) -> None:
    """Read, change and write the table while no other process does.

    Raises
    ------
    OutputError
        It cannot be written, or is another table.
    """
    with _locked(path):
        write_night(path, change(read_night(path)))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file: one beside it, because the file itself is replaced.

    The last to hold it takes it away; whoever waited for one that is gone makes it again.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        while True:
            with lock.open("a") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                if not _stands(lock, stream.fileno()):
                    continue
                try:
                    yield
                finally:
                    lock.unlink()
                return
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None


def _stands(path: Path, number: int) -> bool:
    """Tell whether an open file still has its name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except FileNotFoundError:
        return False
