"""Colour mosaics (Bayer filters): which pixel has which colour, and a plane's place in the frame.

BAYERPAT (or COLORTYP of MaxIm) names the colours of the first 2 x 2 pixels, XBAYROFF and YBAYROFF
shift it; with ROWORDER BOTTOM-UP it begins at the last row of the file (the convention of
Siril and N.I.N.A.).  Of 4 x 4 pixels it has 16 letters, of Fujifilm's X-Trans, 6 x 6, 36.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from skyextract.datamodel.arrays import F8, AnyArray
from skyextract.datamodel.catalog import Catalog
from skyextract.record import record

_PATTERN = re.compile(r"(?:BAYER[ _-]*)?((?:[RGB]{4}|[RGB]{16}|[RGB]{36}))(?:16|8)?$")
_KEYS = ("BAYERPAT", "BAYRPAT", "COLORTYP")
MOSAIC_CARDS = (*_KEYS, "XBAYROFF", "YBAYROFF", "ROWORDER")
_OWN = ("SKYBAYER", "SKYBAYX", "SKYBAYY")
_OF_CELLS = ("SKYBAYN", "SKYBAYC", "SKYBAYR")
STEP = 2
"""Pixels of the mosaic along a side of a pixel of a plane, with Bayer's filters."""
_POSITION = re.compile(r"([XY])(PEAK|MIN|MAX|.*)_IMAGE(_DBL)?$")
_POWERS = {"pixel": 1, "pixel**2": 2, "pixel**(-2)": -2}
"""Units of columns in pixels, and the power of a pixel's size that they are."""


def mosaic_pattern(header: Mapping[str, Any], shape: tuple[int, int]) -> str:
    """Return the colours of the first 2 x 2 pixels as stored, RGGB ...; empty if none are known.

    Row after row; of mosaics with another period of the first 4 x 4 or 6 x 6.
    """
    for key in _KEYS:
        match = _PATTERN.match(str(header.get(key) or "").strip().upper())
        if match and _is_mosaic(match[1]):
            break
    else:
        return ""
    x, y = (_offset(header.get(key)) for key in ("XBAYROFF", "YBAYROFF"))
    if str(header.get("ROWORDER") or "").strip().upper() == "BOTTOM-UP":
        y += shape[0] - 1  # rows count from the other end: row k has the colours of ny - 1 - k
    return shifted(match[1], y, x)


def _is_mosaic(colours: str) -> bool:
    """Tell whether these are all colours, green in the middle of the others or more often."""
    n = {colour: colours.count(colour) for colour in "RGB"}
    return 0 < n["R"] == n["B"] < n["G"]


def shifted(pattern: str, y: int, x: int) -> str:
    """Return the colours from row y and column x on."""
    n = math.isqrt(len(pattern))
    return "".join(
        pattern[n * ((row + y) % n) + (column + x) % n] for row in range(n) for column in range(n)
    )


def says_xtrans(header: Mapping[str, Any] | None) -> bool:
    """Tell whether a header says X-Trans without the colours of the pixels."""
    words = [] if header is None else [str(header.get(key) or "") for key in _KEYS]
    return any(re.fullmatch(r"X[ _-]?TRANS\b.*", word.strip().upper()) for word in words)


@record
class Cells:
    """Cells of a mosaic that are the pixels of a plane.

    Attributes
    ----------
    period : int
        Pixels after which the colours repeat, along both axes.
    step : int
        Pixels along a side of a cell.
    row, column : int
        Of the first cell.
    pixels : tuple
        The pixels (row, column) of the colour in each cell of one period, row after row.
    """

    period: int
    step: int
    row: int
    column: int
    pixels: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def n_pixels(self) -> int:
        """How many pixels of a cell have the colour."""
        return len(self.pixels[0])

    def shape(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the shape of the plane of a mosaic of this shape."""
        return (shape[0] - self.row) // self.step, (shape[1] - self.column) // self.step

    def middle(self) -> tuple[float, float]:
        """Return the mean place x, y of the pixels of the colour in the first cell."""
        rows, columns = zip(*self.pixels[0], strict=True)
        return sum(columns) / len(columns), sum(rows) / len(rows)

    def parts(self, array: AnyArray) -> Iterator[tuple[tuple[slice, slice], AnyArray]]:
        """Give pixels of one colour, and where in the plane they are."""
        ny, nx = self.shape(array.shape)
        turns = self.period // self.step
        for cell, pixels in enumerate(self.pixels):
            i, j = divmod(cell, turns)
            target = (slice(i, ny, turns), slice(j, nx, turns))
            n_rows, n_columns = len(range(i, ny, turns)), len(range(j, nx, turns))
            for row, column in pixels:
                part = array[row :: self.period, column :: self.period]
                yield target, part[:n_rows, :n_columns]


def cells_of(pattern: str, colour: str) -> Cells:
    """Return the smallest cells in each of which a colour has as many pixels with one centre.

    Of 4 x 4 that are four of each colour these are the 2 x 2 where four colours meet, and of
    X-Trans 3 x 3, five of which are green.

    Parameters
    ----------
    pattern : str
        Colours of the pixels of one period, row after row; those that are not known are signs
        of their own.
    colour : str
        GREEN, R, B or SUPERPIXEL: all, with as many of each in all cells.
    """
    period = math.isqrt(len(pattern))
    for step in range(STEP, period):
        if period % step:
            continue
        for first in range(step * step):
            row, column = divmod(first, step)
            cells = _cells_from(pattern, colour, step, row, column)
            if cells is not None:
                return cells
    whole = _cells_from(pattern, colour, period, 0, 0)
    if whole is None:
        raise ValueError(f"no {colour} in {pattern}")
    return whole


def _cells_from(pattern: str, colour: str, step: int, row: int, column: int) -> Cells | None:
    """Return cells that begin there; None if they are not alike."""
    period = math.isqrt(len(pattern))
    pixels, kinds = [], set()
    for top in range(row, row + period, step):
        for left in range(column, column + period, step):
            places = [(y, x) for y in range(top, top + step) for x in range(left, left + step)]
            letters = [pattern[period * (y % period) + x % period] for y, x in places]
            of_all = colour == "SUPERPIXEL"
            chosen = [
                place for place, letter in zip(places, letters, strict=True)
                if of_all or letter == colour[0]
            ]  # fmt: skip
            centre = sum(y - top for y, _ in chosen), sum(x - left for _, x in chosen)
            kinds.add((len(chosen), centre, *(sorted(letters) if of_all else ())))
            pixels.append(tuple(chosen))
    alike = len(kinds) == 1 and pixels[0]
    return Cells(period, step, row, column, tuple(pixels)) if alike else None


def _offset(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


@record
class MosaicPlane:
    """One colour of a mosaic, on a grid of half as many pixels along each axis.

    Attributes
    ----------
    colour : str
        GREEN, R, B or SUPERPIXEL.
    x0, y0 : float
        0-based place of the plane's first pixel in the full frame.
    step : int
        Pixels of the full frame along a side of one of the plane.
    column, row : int
        0-based first pixel of the full frame that is in the plane's first.
    """

    colour: str
    x0: float
    y0: float
    step: int = STEP
    column: int = 0
    row: int = 0

    @classmethod
    def from_header(cls, header: Mapping[str, Any] | None) -> MosaicPlane | None:
        """Return the plane that a header says it is; None if it is of no mosaic."""
        if header is None or not isinstance(header.get("SKYBAYER"), str):
            return None
        x0, y0 = header.get("SKYBAYX"), header.get("SKYBAYY")
        if not isinstance(x0, int | float) or not isinstance(y0, int | float):
            return None
        cells = [header.get(key) for key in _OF_CELLS]
        whole = [value for value in cells if isinstance(value, int) and value >= 0]
        step, column, row = whole if len(whole) == len(_OF_CELLS) else (STEP, 0, 0)
        return cls(str(header["SKYBAYER"]), float(x0), float(y0), max(step, 1), column, row)

    def cards(self) -> dict[str, tuple[Any, str]]:
        """Return the header cards from which `from_header` reads it."""
        comments = (
            "colour of the mosaic",
            "column of the first pixel in the mosaic",
            "row of the first pixel in the mosaic",
        )
        values = (self.colour, self.x0, self.y0)
        cards: dict[str, tuple[Any, str]] = dict(
            zip(_OWN, zip(values, comments, strict=True), strict=True)
        )
        if (self.step, self.column, self.row) != (STEP, 0, 0):
            comments = (
                "pixels of the mosaic along a side of a pixel",
                "its first column that is in the plane, from 0",
                "its first row that is in the plane, from 0",
            )
            values_of_cells = (self.step, self.column, self.row)
            cards |= zip(_OF_CELLS, zip(values_of_cells, comments, strict=True), strict=True)
        return cards

    def cells(self) -> Cells:
        """Return the cells with all their pixels."""
        rows, columns = (range(first, first + self.step) for first in (self.row, self.column))
        places = [(row, column) for row in rows for column in columns]
        return Cells(self.step, self.step, self.row, self.column, (tuple(places),))

    def full_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the shape of the full frame of a plane of this shape, as far as it is known."""
        return self.row + self.step * shape[0], self.column + self.step * shape[1]

    def plane_wcs(self, cards: Mapping[str, Any]) -> dict[str, Any]:
        """Return the WCS cards of the full frame changed to those of the plane."""
        return _rescaled(cards, {1: self.x0, 2: self.y0}, self.step)

    def full_wcs(self, cards: Mapping[str, Any]) -> dict[str, Any]:
        """Return the WCS cards of the plane changed to those of the full frame."""
        first = {1: -self.x0 / self.step, 2: -self.y0 / self.step}
        return _rescaled(cards, first, 1.0 / self.step)

    def on_full_frame(self, catalog: Catalog, units: Mapping[str, str]) -> Catalog:
        """Return a catalogue with positions, sizes and their errors in pixels of the full frame.

        Parameters
        ----------
        units : mapping
            Unit of each column; those in other units than pixels stay as they are.
        """
        changed, step = {}, self.step
        for name, values in catalog.columns.items():
            unit = units.get(name, "")
            position = _POSITION.match(name) if unit == "pixel" else None
            if position is None and unit not in _POWERS:
                continue
            if position is None:
                new = values * float(step) ** _POWERS[unit]
            elif position[2] in ("MIN", "MAX", "PEAK"):
                whole = self._first(position[1])
                new = step * (values - 1) + whole + (step if position[2] == "MAX" else 1)
            else:
                new = self.full_pixels(values.astype("f8"), position[1])
            changed[name] = new.astype(values.dtype)
        return catalog.with_columns(**changed)

    def full_pixels(self, values: F8, axis: str) -> F8:
        """Return FITS pixels of the full frame, along X or Y, of those of the plane."""
        first = self.x0 if axis == "X" else self.y0
        return self.step * (values - 1.0) + first + 1.0

    def _first(self, axis: str) -> int:
        """Return the first pixel of the full frame: of Bayer's filters that of the colour."""
        if self.step == STEP:
            return int(self.x0 if axis == "X" else self.y0)
        return self.column if axis == "X" else self.row


def frame_pixels(header: Mapping[str, Any] | None) -> int:
    """Return how many pixels of the full frame a pixel is along each axis: 1 if of no plane."""
    plane = MosaicPlane.from_header(header)
    return 1 if plane is None else plane.step


def on_full_frame(
    catalog: Catalog, header: Mapping[str, Any] | None, units: Mapping[str, str]
) -> Catalog:
    """Return a catalogue in pixels of the full frame, of the exposure that has this header."""
    plane = MosaicPlane.from_header(header)
    return catalog if plane is None else plane.on_full_frame(catalog, units)


def full_frame_cards(cards: Mapping[str, Any], header: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return WCS cards for the full frame, of the exposure that has this header."""
    plane = MosaicPlane.from_header(header)
    return dict(cards) if plane is None or not cards else plane.full_wcs(cards)


def _rescaled(cards: Mapping[str, Any], first: Mapping[int, float], step: float) -> dict[str, Any]:
    """Change WCS cards to pixels that are `step` old ones wide and begin at `first`, 0-based."""
    new = dict(cards)
    matrix = [key for key in cards if re.match(r"CD\d_\d$", key)]
    for axis in (1, 2):
        if f"CRPIX{axis}" in cards:
            new[f"CRPIX{axis}"] = (float(cards[f"CRPIX{axis}"]) - 1.0 - first[axis]) / step + 1.0
        scaled = [k for k in matrix if k.endswith(f"_{axis}")] or [f"CDELT{axis}"]
        if not matrix and f"CDELT{axis}" not in cards and "CTYPE1" in cards:
            new[f"CDELT{axis}"] = 1.0
        for key in scaled:
            if key in new:
                new[key] = float(new[key]) * step
    for key, value in cards.items():
        power = re.fullmatch(r"[AB]P?_(\d+)_(\d+)", key)
        if power:
            new[key] = float(value) * step ** (int(power[1]) + int(power[2]) - 1)
    return new
