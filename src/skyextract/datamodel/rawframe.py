"""The geometry of a raw frame: sections, amplifiers, and where their pixels belong.

Sections are written as in IRAF, ``[x1:x2,y1:y2]``, 1-based and inclusive; a range that runs
backwards is mirrored.  The meaning of BIASSEC, TRIMSEC, DATASEC, CCDSEC and DETSEC is that of
Valdes 1998, "Guide to the NOAO Mosaic Data Handling System", appendix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.header import Header
from skyextract.errors import ImageError
from skyextract.record import record

_SECTION = re.compile(r"\[\s*([^,\[\]]+?)\s*(?:,\s*([^,\[\]]+?)\s*)?\]$")
_RANGE = re.compile(r"(\d+)\s*:\s*(\d+)$")


@record
class Section:
    """A rectangle of pixels, 0-based and half-open.

    Attributes
    ----------
    x0, x1, y0, y1 : int
        Columns x0 .. x1 - 1, rows y0 .. y1 - 1.
    flip_x, flip_y : bool
        The range was written backwards: the pixels run the other way.
    """

    x0: int
    x1: int
    y0: int
    y1: int
    flip_x: bool = False
    flip_y: bool = False

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.y1 - self.y0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index [y, x] of an array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def __str__(self) -> str:
        x = (self.x0 + 1, self.x1) if not self.flip_x else (self.x1, self.x0 + 1)
        y = (self.y0 + 1, self.y1) if not self.flip_y else (self.y1, self.y0 + 1)
        return f"[{x[0]}:{x[1]},{y[0]}:{y[1]}]"


def whole(shape: tuple[int, int]) -> Section:
    """Return the section of a whole frame of shape (ny, nx)."""
    return Section(0, shape[1], 0, shape[0])


def parse_section(text: str, shape: tuple[int, int] | None = None) -> Section | None:
    """Parse ``[x1:x2,y1:y2]``, ``[x1:x2]`` (all rows) or ``[x1:x2, :]``.

    Parameters
    ----------
    text : str
        The section.
    shape : (ny, nx), optional
        Of the frame, which a bare colon means.

    Returns
    -------
    Section or None
        None for what cameras write when there is no section: empty, UNKNOWN, N/A, zeros.

    Raises
    ------
    ImageError
        Not a section.
    """
    stripped = text.strip().strip("'").strip()
    if stripped.upper() in ("", "UNKNOWN", "N/A", "NA", "NONE", "[0:0,0:0]"):
        return None
    match = _SECTION.match(stripped)
    if match is None:
        raise ImageError(f"{text!r} is no section [x1:x2,y1:y2]")
    x = _range(match[1], None if shape is None else shape[1], text)
    y = _range(match[2] or ":", None if shape is None else shape[0], text)
    return Section(x[0], x[1], y[0], y[1], x[2], y[2])


def _range(text: str, length: int | None, section: str) -> tuple[int, int, bool]:
    """Return first, past-last and whether the range runs backwards."""
    if text in (":", "*") and length is not None:
        return 0, length, False
    match = _RANGE.match(text) or re.match(r"(\d+)()$", text)
    first = int(match[1]) if match else 0
    last = int(match[2] or match[1]) if match else 0
    if min(first, last) < 1:
        raise ImageError(f"{section!r} is no section [x1:x2,y1:y2]")
    return min(first, last) - 1, max(first, last), last < first


def has_overscan(header: Mapping[str, Any], shape: tuple[int, int]) -> bool:
    """Tell whether a frame has pixels that saw no light, by BIASSEC and TRIMSEC or DATASEC.

    Frames that were trimmed often keep the cards: their sections do not fit any more, or are all.
    """

    def part(card: str) -> int:
        """Return the number of pixels of a section within the frame; 0 if it has none."""
        try:
            section = parse_section(str(header.get(card) or ""), shape)
        except ImageError:
            return 0
        if section is None or section.x1 > shape[1] or section.y1 > shape[0]:
            return 0
        return (section.x1 - section.x0) * (section.y1 - section.y0)

    n_pixels = shape[0] * shape[1]
    return part("BIASSEC") > 0 and any(0 < part(c) < n_pixels for c in ("TRIMSEC", "DATASEC"))


def check_fits(section: Section, shape: tuple[int, int], name: str) -> Section:
    """Return the section if it lies within the frame.

    Raises
    ------
    ImageError
        It does not; the message shows both.
    """
    if section.x1 > shape[1] or section.y1 > shape[0]:
        raise ImageError(
            f"{name} {section} does not fit the frame {whole(shape)}; set ISR_{name} to NONE "
            "or to the right section"
        )
    return section


@record
class Amplifier:
    """One amplifier: which raw pixels it gave, and where they belong.

    Attributes
    ----------
    name : str
        For messages and the summary.
    plane : int
        Which of the raw planes.
    data : Section
        The pixels to keep, in the raw plane; mirrored if they were written in another order
        than they were read out (only crosstalk needs to know).
    bias : Section or None
        The overscan in the raw plane.
    place : Section
        Where they belong in the assembled frame; mirrored if they must be turned round.
    gain, read_noise : float
        e-/ADU and electrons; 0 is unknown.
    saturation : float
        In raw ADU; inf is unknown.
    """

    name: str
    plane: int
    data: Section
    bias: Section | None
    place: Section
    gain: float = 0.0
    read_noise: float = 0.0
    saturation: float = float("inf")

    @property
    def step(self) -> tuple[int, int]:
        """Raw steps (y, x) per step in the assembled frame, 1 or -1."""
        return (
            -1 if self.data.flip_y != self.place.flip_y else 1,
            -1 if self.data.flip_x != self.place.flip_x else 1,
        )

    @property
    def first(self) -> tuple[int, int]:
        """Raw (y, x) of the lowest pixel of `place`."""
        step_y, step_x = self.step
        return (
            self.data.y0 if step_y > 0 else self.data.y1 - 1,
            self.data.x0 if step_x > 0 else self.data.x1 - 1,
        )


@record
class RawFrame:
    """The raw pixels of one detector.

    Attributes
    ----------
    planes : tuple of (ny, nx) float32
        As read out, ADU; NaN where there is no value.
    amplifiers : tuple of Amplifier
        In the order of the file.
    shape : (ny, nx)
        Of the assembled frame.
    header : Header
        Of the first plane, with what it inherits.
    wcs_amplifier : int or None
        The amplifier to whose raw plane the WCS of the header refers; None: it refers to the
        assembled frame.
    exposure_time : float
        Seconds; NaN if unknown.
    path, extension, extension_name, number
        Where it comes from; `number` counts the detectors of a file from 0.
    alone : bool
        It is the only detector that is read of its file.
    """

    planes: tuple[F4, ...]
    amplifiers: tuple[Amplifier, ...]
    shape: tuple[int, int]
    header: Header
    wcs_amplifier: int | None = 0
    exposure_time: float = float("nan")
    path: str = ""
    extension: int = 0
    extension_name: str = ""
    number: int = 0
    alone: bool = True

    @property
    def name(self) -> str:
        """File and extension, for messages."""
        return f"{self.path}[{self.extension}]"


def place_amplifiers(
    amplifiers: Sequence[Amplifier], detector: Sequence[Section]
) -> tuple[tuple[Amplifier, ...], tuple[int, int]] | None:
    """Put amplifiers where their detector sections say.

    Parameters
    ----------
    amplifiers : sequence of Amplifier
        Their `place` is not used.
    detector : sequence of Section
        DETSEC or CCDSEC of each, in unbinned pixels.

    Returns
    -------
    (amplifiers, shape) or None
        None if the sections do not tile a rectangle: these are no amplifiers of one detector.

    Raises
    ------
    ImageError
        A section is no multiple of the amplifier's data.
    """
    left = min(s.x0 for s in detector)
    bottom = min(s.y0 for s in detector)
    area = (max(s.x1 for s in detector) - left) * (max(s.y1 for s in detector) - bottom)
    if area != sum(s.width * s.height for s in detector) or _overlap(detector):
        return None
    binning = {
        (s.width / a.data.width, s.height / a.data.height)
        for s, a in zip(detector, amplifiers, strict=True)
    }
    bin_x, bin_y = next(iter(binning))
    if len(binning) > 1 or bin_x % 1 or bin_y % 1:
        pairs = ", ".join(
            f"{a.name}: {a.data} on {s}" for s, a in zip(detector, amplifiers, strict=True)
        )
        raise ImageError(f"data sections and detector sections do not agree in size ({pairs})")
    nx, ny = int(bin_x), int(bin_y)
    placed = []
    for section, amplifier in zip(detector, amplifiers, strict=True):
        x, y = (section.x0 - left) // nx, (section.y0 - bottom) // ny
        place = Section(
            x, x + amplifier.data.width, y, y + amplifier.data.height,
            section.flip_x, section.flip_y,
        )  # fmt: skip
        placed.append(replace(amplifier, place=place))
    return tuple(placed), (
        max(a.place.y1 for a in placed),
        max(a.place.x1 for a in placed),
    )


def _overlap(sections: Sequence[Section]) -> bool:
    return any(
        a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1
        for k, a in enumerate(sections)
        for b in sections[:k]
    )


def move_wcs(cards: dict[str, Any], amplifier: Amplifier) -> dict[str, Any]:
    """Return WCS cards of a raw plane changed to those of the assembled frame.

    The reference pixel moves with the pixels; where an axis is mirrored, the column of the
    CD or PC matrix and the odd terms of SIP change sign (Shupe et al. 2005, ASPC 347, 491).
    """
    y, x = amplifier.step
    first_y, first_x = amplifier.first
    sign = {1: x, 2: y}
    shift = {
        1: amplifier.place.x0 - x * first_x + 1 - x,
        2: amplifier.place.y0 - y * first_y + 1 - y,
    }
    moved = dict(cards)
    for axis in (1, 2):
        if f"CRPIX{axis}" in cards:
            moved[f"CRPIX{axis}"] = sign[axis] * float(cards[f"CRPIX{axis}"]) + shift[axis]
    if x == y == 1:
        return moved
    matrix = [k for k in cards if re.fullmatch(r"(CD|PC)\d_\d|PC\d{6}", k)]
    if not any(k.endswith(("1", "2")) for k in matrix) and "CDELT1" in cards:
        moved |= _matrix_of_cdelt(cards)
        matrix = ["PC1_1", "PC1_2", "PC2_1", "PC2_2"]
    for keyword in matrix:
        moved[keyword] = float(moved[keyword]) * sign.get(int(keyword[-1]), 1)
    if "CDELT1" in cards and any(k.startswith("PC") for k in matrix):
        # An element of the PC matrix that is not written is 1 on the diagonal.
        for axis in (1, 2):
            moved.setdefault(f"PC{axis}_{axis}", float(sign[axis]))
    for keyword, value in cards.items():
        match = re.fullmatch(r"([AB])P?_(\d+)_(\d+)", keyword)
        if match:
            own = sign[1] if match[1] == "A" else sign[2]
            moved[keyword] = float(value) * own * x ** int(match[2]) * y ** int(match[3])
    return moved


def _matrix_of_cdelt(cards: dict[str, Any]) -> dict[str, Any]:
    """Return the PC matrix of the old CROTA convention (FITS Standard 4.0, section 8.2)."""
    angle = np.radians(float(cards.get("CROTA2", 0.0)))
    ratio = float(cards["CDELT2"]) / float(cards["CDELT1"])
    return {
        "PC1_1": float(np.cos(angle)),
        "PC1_2": float(-np.sin(angle) * ratio),
        "PC2_1": float(np.sin(angle) / ratio),
        "PC2_2": float(np.cos(angle)),
        "CROTA2": 0.0,
    }
