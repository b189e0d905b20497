"""Lists of stars as people write them, made into text tables with a line of names.

A line of names may stand in a comment or be missing, positions may take six columns, and numbers
may have decimal commas.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

from skyextract.errors import ReferenceCatalogError
from skyextract.sky.angles import is_sexagesimal, parse_angle

_REGION = re.compile(
    r"(?i)\s*(#\s*region file|(fk[45]|icrs|galactic|ecliptic|image|physical)\s*(;|$)"
    r"|global \w+=|[+-]?(circle|ellipse|box|point|annulus|polygon)\s*\()"
)
_SIX = re.compile(
    r"(?<!\S)(\d{1,2})\s+([0-5]?\d)\s+([0-5]?\d(?:\.\d*)?)"
    r"\s+([+-]?\d{1,2})\s+([0-5]?\d)\s+([0-5]?\d(?:\.\d*)?)(?!\S)"
)
"""Hours, minutes, seconds, degrees, minutes and seconds in columns of their own."""
_COMMA = re.compile(r"[+-]?\d+,\d+")
_DECIMAL = re.compile(r"(?<![^;\t\s\"])([+-]?\d+),(\d+)(?![^;\t\s\"])")
_PLACES = 3
"""Decimals of degrees that columns without names have at least if they are positions."""
_BRIGHTEST, _FAINTEST = -2.0, 30.0


def check_no_regions(path: str, lines: Sequence[str]) -> None:
    """Raise a ReferenceCatalogError for a region file of DS9."""
    if any(_REGION.match(line) for line in lines[:3]):
        raise ReferenceCatalogError(
            f"{path}: a region file of DS9, no table: give a table with columns of RA, Dec and "
            "magnitude"
        )


def with_names(lines: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the lines of a text table with a line of names, and columns by their position.

    A line of names in a comment is that of numpy.savetxt and TOPCAT: the last comment before
    the rows, with as many words as they have fields.  Columns without names get their numbers.

    Returns
    -------
    list of str
    tuple of str
        Of columns without names those that can be RA, Dec and, if there is one, a magnitude.
    """
    lines = _with_points(_joined(list(lines)))
    first = next((k for k, line in enumerate(lines) if _is_row(line)), 0)
    delimiter = _delimiter(lines[first])
    fields = _fields(lines[first], delimiter)
    if not (fields[0] if fields else "").startswith(("\\", "|")) and _holds_values(fields):
        before = [k for k in range(first) if lines[k].lstrip("# \t")]
        names = lines[before[-1]].lstrip("# \t") if before else ""
        words = _fields(names, delimiter)
        if len(words) == len(fields) and not any(map(_is_number, words)):
            return [*lines[: before[-1]], names, *lines[before[-1] + 1 :]], ()
        if sum(_is_number(field) or is_sexagesimal(field) for field in fields) >= 2:
            rows = [_fields(line, delimiter) for line in lines[first:] if _is_row(line)]
            numbers = (delimiter or " ").join(str(k + 1) for k in range(len(fields)))
            return [*lines[:first], numbers, *lines[first:]], _by_position(rows)
    return lines, ()


def _is_row(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _last_row(lines: Sequence[str]) -> str:
    return next((line for line in reversed(lines) if _is_row(line)), "")


def _delimiter(row: str) -> str | None:
    return next((mark for mark in ",;\t|" if mark in row), None)


def _fields(row: str, delimiter: str | None) -> list[str]:
    return [field.strip().strip('"') for field in row.split(delimiter)]


def _is_number(field: str) -> bool:
    return math.isfinite(_number(field))


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        return math.nan


def _holds_values(fields: Sequence[str]) -> bool:
    return any(_is_number(field) or is_sexagesimal(field) for field in fields)


def _joined(lines: list[str]) -> list[str]:
    """Make two columns of positions in six, unless each of them has a name."""
    if not _SIX.search(_last_row(lines)):
        return lines
    places = [k for k, line in enumerate(lines) if _is_row(line)]
    rows = [k for k in places if _SIX.search(lines[k])]
    names = sorted(set(places).difference(rows))
    if names not in ([], places[:1]) or _delimiter(lines[rows[0]]):
        return lines
    if names and len(lines[names[0]].split()) > len(lines[rows[0]].split()) - 4:
        return lines
    for k in rows:
        lines[k] = _SIX.sub(r"\1:\2:\3 \4:\5:\6", lines[k], count=1)
    return lines


def _with_points(lines: list[str]) -> list[str]:
    """Make points of decimal commas where another mark parts the columns."""
    sample = re.split("[;\t]", _last_row(lines))
    if len(sample) < 2 or not any(_COMMA.fullmatch(field.strip(' "')) for field in sample):
        return lines
    return [_DECIMAL.sub(r"\1.\2", line) if _is_row(line) else line for line in lines]


def _by_position(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the first columns that can be RA, Dec, and behind them a magnitude, as numbers."""
    columns = list(zip(*rows, strict=False))
    for k, (ra, dec) in enumerate(pairwise(columns)):
        if _are_angles(ra, 0.0, 360.0, hours=True) and _are_angles(dec, -90.0, 90.0, hours=False):
            others = range(k + 2, len(columns))
            magnitudes = [j for j in others if _are_magnitudes(columns[j])]
            return tuple(str(j + 1) for j in (k, k + 1, *magnitudes[:1]))
    return ()


def _are_angles(column: Sequence[str], low: float, high: float, *, hours: bool) -> bool:
    if not all(is_sexagesimal(v) or len(v.partition(".")[2]) >= _PLACES for v in column[:1]):
        return False
    return all(low <= parse_angle(value, hours=hours) <= high for value in column)


def _are_magnitudes(column: Sequence[str]) -> bool:
    return all("." in v and _BRIGHTEST < _number(v) < _FAINTEST for v in column)
