"""Colour mosaics (Bayer filters): which pixel has which colour, and a plane's place in the frame.

BAYERPAT (or COLORTYP of MaxIm) names the colours of the first 2 x 2 pixels, XBAYROFF and YBAYROFF
shift it; with ROWORDER BOTTOM-UP it begins at the last row of the file (the convention of
Siril and N.I.N.A.).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from skyextract.datamodel.catalog import Catalog
from skyextract.record import record

_PATTERN = re.compile(r"(?:BAYER[ _-]*)?([RGB]{4})(?:16|8)?$")
_KEYS = ("BAYERPAT", "BAYRPAT", "COLORTYP")
MOSAIC_CARDS = (*_KEYS, "XBAYROFF", "YBAYROFF", "ROWORDER")
_OWN = ("SKYBAYER", "SKYBAYX", "SKYBAYY")
STEP = 2
"""Pixels of the mosaic along a side of a pixel of a plane."""
_POSITION = re.compile(r"([XY])(PEAK|MIN|MAX|.*)_IMAGE(_DBL)?$")
_POWERS = {"pixel": 1, "pixel**2": 2, "pixel**(-2)": -2}
"""Units of columns in pixels, and the power of a pixel's size that they are."""


def mosaic_pattern(header: Mapping[str, Any], shape: tuple[int, int]) -> str:
    """Return the colours of the first 2 x 2 pixels as stored, RGGB ...; empty if none are known."""
    for key in _KEYS:
        match = _PATTERN.match(str(header.get(key) or "").strip().upper())
        if match and sorted(match[1]) == ["B", "G", "G", "R"]:
            break
    else:
        return ""
    x, y = (_offset(header.get(key)) for key in ("XBAYROFF", "YBAYROFF"))
    if str(header.get("ROWORDER") or "").strip().upper() == "BOTTOM-UP":
        y += shape[0] - 1  # rows count from the other end: row k has the colours of ny - 1 - k
    colours = match[1]
    return "".join(
        colours[2 * ((row + y) % 2) + (column + x) % 2] for row in (0, 1) for column in (0, 1)
    )


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
    """

    colour: str
    x0: float
    y0: float

    @classmethod
    def from_header(cls, header: Mapping[str, Any] | None) -> MosaicPlane | None:
        """Return the plane that a header says it is; None if it is of no mosaic."""
        if header is None or not isinstance(header.get("SKYBAYER"), str):
            return None
        x0, y0 = header.get("SKYBAYX"), header.get("SKYBAYY")
        if not isinstance(x0, int | float) or not isinstance(y0, int | float):
            return None
        return cls(str(header["SKYBAYER"]), float(x0), float(y0))

    def cards(self) -> dict[str, tuple[Any, str]]:
        """Return the header cards from which `from_header` reads it."""
        comments = (
            "colour of the mosaic",
            "column of the first pixel in the mosaic",
            "row of the first pixel in the mosaic",
        )
        values = (self.colour, self.x0, self.y0)
        return dict(zip(_OWN, zip(values, comments, strict=True), strict=True))

    def plane_wcs(self, cards: Mapping[str, Any]) -> dict[str, Any]:
        """Return the WCS cards of the full frame changed to those of the plane."""
        return _rescaled(cards, {1: self.x0, 2: self.y0}, STEP)

    def full_wcs(self, cards: Mapping[str, Any]) -> dict[str, Any]:
        """Return the WCS cards of the plane changed to those of the full frame."""
        first = {1: -self.x0 / STEP, 2: -self.y0 / STEP}
        return _rescaled(cards, first, 1.0 / STEP)

    def on_full_frame(self, catalog: Catalog, units: Mapping[str, str]) -> Catalog:
        """Return a catalogue with positions, sizes and their errors in pixels of the full frame.

        Parameters
        ----------
        units : mapping
            Unit of each column; those in other units than pixels stay as they are.
        """
        changed = {}
        for name, values in catalog.columns.items():
            unit = units.get(name, "")
            position = _POSITION.match(name) if unit == "pixel" else None
            if position is None and unit not in _POWERS:
                continue
            if position is None:
                new = values * float(STEP) ** _POWERS[unit]
            elif position[2] in ("MIN", "MAX", "PEAK"):
                whole = int(self.x0 if position[1] == "X" else self.y0)
                new = STEP * (values - 1) + whole + (STEP if position[2] == "MAX" else 1)
            else:
                first = self.x0 if position[1] == "X" else self.y0
                new = STEP * (values.astype("f8") - 1.0) + first + 1.0
            changed[name] = new.astype(values.dtype)
        return catalog.with_columns(**changed)


def frame_pixels(header: Mapping[str, Any] | None) -> int:
    """Return how many pixels of the full frame a pixel is along each axis: 2 of a plane, else 1."""
    return 1 if MosaicPlane.from_header(header) is None else STEP


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
