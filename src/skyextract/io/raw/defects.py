"""Lists and masks of defects: FITS, DS9, IRAF and CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import U1
from skyextract.datamodel.header import header_number
from skyextract.datamodel.rawframe import RawFrame
from skyextract.errors import ConfigError, ImageError
from skyextract.io.fits.file import side_file
from skyextract.io.fits.pixels import Scaling, stored_numbers, to_float
from skyextract.io.images.images import select_units
from skyextract.io.names import parse_image_spec
from skyextract.io.textfiles import read_number_list, read_text
from skyextract.run import Run

_Box = tuple[int, int, int, int]
"""x1, x2, y1, y2: pixels, 1-based and inclusive."""

_DS9_WORDS = r"[+-]?(box|point|circle|ellipse|polygon|annulus)\b|(image|physical|global)\b"


def read_defects(names: Sequence[str], raw: RawFrame, run: Run) -> U1:
    """Read ISR_DEFECTS: FITS masks, DS9 regions, IRAF box lists, CSV tables.

    Positions are FITS pixels of the corrected frame.  A DS9 region counts if it is a box or a
    point in image coordinates, or in physical ones that are the same; an IRAF line holds
    ``x1 x2 y1 y2``; a CSV table has columns x1, x2, y1, y2 or x, y, width, height (x, y the lower
    left pixel).  A FITS mask (not 0: bad) has the size of the corrected or of the raw frame.  Of
    boxes off the frame the user is told.

    Returns
    -------
    (ny, nx) uint8
    """
    defects = np.zeros(raw.shape, dtype=np.uint8)
    for name in names:
        if _is_mask(name, run):
            defects |= _read_defect_mask(name, raw, run)
            continue
        boxes = _boxes(name, run, raw.header)
        n_off = sum(not _mark(defects, box) for box in boxes)
        if n_off:
            run.warn(
                f"{raw.name}: {n_off} of the {len(boxes)} boxes of ISR_DEFECTS {name} are off the "
                f"frame of {raw.shape[1]} x {raw.shape[0]} pixels"
            )
    return defects


def check_defects(names: Sequence[str], run: Run) -> None:
    """Check that lists of defects can be read, whatever the frame is.

    Raises
    ------
    ConfigError
        One of their lines is not understood.
    """
    for name in names:
        if not _is_mask(name, run):
            _boxes(name, run)


def _is_mask(name: str, run: Run) -> bool:
    path = parse_image_spec(name).path
    with Path(path).open("rb") as stream:
        start = stream.read(2880)
    run.note_opened(path)
    return start.startswith((b"SIMPLE", b"\x1f\x8b", b"BZh"))


def _mark(defects: U1, box: _Box) -> bool:
    """Mark the pixels of a box; False if it has none in the frame."""
    x1, x2, y1, y2 = box
    pixels = defects[max(y1 - 1, 0) : max(y2, 0), max(x1 - 1, 0) : max(x2, 0)]
    pixels[...] = 1
    return pixels.size > 0


def _read_defect_mask(name: str, raw: RawFrame, run: Run) -> U1:
    spec = parse_image_spec(name)
    with side_file(spec.path) as file:
        units = [unit for unit, _ in select_units(file, spec)]
        unit = units[raw.number if len(units) > 1 else 0] if raw.number < len(units) else units[0]
        scaling = Scaling.from_header(unit.header)
        values, bad = to_float(stored_numbers(file, unit), scaling, float("inf"), run)
    mask: U1 = ((values != 0.0) | (bad != 0)).astype(np.uint8)
    if mask.shape == raw.shape:
        return mask
    if len(raw.planes) == 1 and mask.shape == raw.planes[0].shape:
        assembled = np.zeros(raw.shape, dtype=np.uint8)
        for amplifier in raw.amplifiers:
            step_y, step_x = amplifier.step
            assembled[amplifier.place.slices] = mask[amplifier.data.slices][::step_y, ::step_x]
        return assembled
    raise ImageError(
        f"ISR_DEFECTS {name} has {mask.shape[1]} x {mask.shape[0]} pixels, {raw.name} has "
        f"{raw.shape[1]} x {raw.shape[0]} after trimming"
    )


def _boxes(name: str, run: Run, header: Mapping[str, Any] | None = None) -> list[_Box]:
    """Return the boxes of a text file, for the frame with a header if there is one yet."""
    lines = [line.strip() for line in read_text(name, "ISR_DEFECTS", run).splitlines()]
    content = [line for line in lines if line and not line.startswith("#")]
    if any(re.match(_DS9_WORDS, line, re.IGNORECASE) for line in content):
        return _ds9_boxes(lines, name, header)
    if content and re.match(r"[A-Za-z]", content[0]):
        return _csv_boxes(content, name)
    table = read_number_list(name, "ISR_DEFECTS", run)
    if table.size and (table.shape[1] < 4 or not np.isfinite(table[:, :4]).all()):
        raise ConfigError(f"ISR_DEFECTS {name}: lines of x1 x2 y1 y2 expected")
    boxes = []
    for row in table:
        box = int(row[0]), int(row[1]), int(row[2]), int(row[3])
        boxes.append(_checked(box, f"'{' '.join(f'{v:g}' for v in row[:4])}'", name))
    return boxes


def _checked(box: _Box, line: str, name: str) -> _Box:
    """Return a box; ConfigError if it ends before it begins."""
    x1, x2, y1, y2 = box
    if x2 < x1 or y2 < y1:
        raise ConfigError(f"ISR_DEFECTS {name}: line {line} is no box")
    return box


def _is_shifted(header: Mapping[str, Any]) -> bool:
    """Tell whether physical coordinates are others than those of the image: IRAF's LTM and LTV."""
    return any(
        (value := header_number(header.get(key))) is not None and value != usual
        for key, usual in (("LTV1", 0.0), ("LTV2", 0.0), ("LTM1_1", 1.0), ("LTM2_2", 1.0))
    )


def _ds9_boxes(lines: Sequence[str], name: str, header: Mapping[str, Any] | None) -> list[_Box]:
    boxes = []
    for line in lines:
        for word in line.split("#", 1)[0].split(";"):
            shape = word.strip()
            if re.match(r"(fk[45]|icrs|galactic|ecliptic|wcs)\b", shape, re.IGNORECASE):
                raise ConfigError(f"ISR_DEFECTS {name}: regions must be in image coordinates")
            if shape.lower() == "physical" and header is not None and _is_shifted(header):
                raise ConfigError(
                    f"ISR_DEFECTS {name}: physical coordinates are not those of the image (LTV, "
                    "LTM): save the regions as image"
                )
            if shape and not re.match(r"(image|physical)$|global\b", shape, re.IGNORECASE):
                boxes.append(_ds9_box(shape, name))
    return boxes


def _ds9_box(line: str, name: str) -> _Box:
    """Return the pixels of a box or point: those whose centre lies in it, and one at least."""
    wrong = ConfigError(f"ISR_DEFECTS {name}: {line!r} is not understood")
    match = re.fullmatch(r"\+?(box|point)(?:\s*\(([^()]*)\)|\s([^()]*))", line, re.IGNORECASE)
    if match is None:
        raise wrong
    text = (match[2] if match[2] is not None else match[3]).strip()
    try:
        numbers = [float(word) for word in re.split(r"\s*,\s*|\s+", text)]
    except ValueError:
        raise wrong from None
    is_point = match[1].lower() == "point"
    if len(numbers) < (2 if is_point else 4) or not np.isfinite(numbers).all():
        raise wrong
    width, height = (1.0, 1.0) if is_point else numbers[2:4]
    if not (width > 0.0 and height > 0.0):
        raise ConfigError(f"ISR_DEFECTS {name}: line {line!r} is no box")
    angle = numbers[4] % 180.0 if len(numbers) > 4 and not is_point else 0.0
    if angle == 90.0:
        width, height = height, width
    elif angle:
        raise ConfigError(f"ISR_DEFECTS {name}: {line!r}: a rotated box")
    (x1, x2), (y1, y2) = _pixels(numbers[0], width), _pixels(numbers[1], height)
    return x1, x2, y1, y2


def _pixels(centre: float, length: float) -> tuple[int, int]:
    first = int(np.ceil(centre - 0.5 * length - 1e-9))
    return first, max(first, int(np.ceil(centre + 0.5 * length - 1e-9)) - 1)


def _csv_boxes(lines: Sequence[str], name: str) -> list[_Box]:
    boxes = []
    rows = csv.DictReader(lines, skipinitialspace=True)
    fields = {str(f).strip().lower() for f in rows.fieldnames or ()}
    corners = {"x1", "x2", "y1", "y2"} <= fields
    if not corners and not {"x", "y", "width", "height"} <= fields:
        raise ConfigError(f"ISR_DEFECTS {name}: columns x1,x2,y1,y2 or x,y,width,height expected")
    for number, row in enumerate(rows, start=2):
        try:
            cells = {str(k).strip().lower(): int(float(str(v))) for k, v in row.items() if k}
        except (ValueError, OverflowError):
            raise ConfigError(f"ISR_DEFECTS {name}: line {number} is no box") from None
        if corners:
            box = cells["x1"], cells["x2"], cells["y1"], cells["y2"]
        else:
            x, y = cells["x"], cells["y"]
            box = x, x + cells["width"] - 1, y, y + cells["height"] - 1
        boxes.append(_checked(box, str(number), name))
    return boxes
